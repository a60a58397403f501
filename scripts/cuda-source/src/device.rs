//! What CubeCL's CUDA runtime would find out about a GPU, as far as kernels are compiled by it.

use cubecl::features::{AtomicUsage, Plane, TypeUsage};
use cubecl::ir::{
    DeviceIdentity, DeviceProperties, ElemType, FloatKind, HardwareProperties,
    MemoryDeviceProperties, OpaqueType, Type, VectorSize,
};
use cubecl_core::profile::TimingMethod;
use cubecl_cpp::register_supported_types;
use cubecl_cpp::shared::{CompilationOptions, CppSupportedFeatures};

/// A generation of GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Architecture {
    /// Compute capability times ten.
    pub version: u32,
    /// Shared memory that a block may ask for, in bytes.
    shared_memory: usize,
}

impl Architecture {
    pub const ALL: [Self; 2] = [
        Self {
            version: 80,
            shared_memory: 163 << 10,
        },
        Self {
            version: 90,
            shared_memory: 227 << 10,
        },
    ];

    /// Properties that cubecl-cuda 0.11.3 `runtime.rs` registers with CUDA 12.9. Tensor cores and
    /// the tensor memory accelerator are left out.
    pub fn properties(self) -> DeviceProperties {
        let mut properties = DeviceProperties::new(
            Default::default(),
            MemoryDeviceProperties::new(8 << 30, 512),
            self.hardware(),
            TimingMethod::Device,
            DeviceIdentity {
                name: format!("sm_{}", self.version),
                fingerprint: format!("ptx_sm{}", self.version),
                physical: None,
            },
        );
        register_supported_types(&mut properties);
        self.register_atomics(&mut properties);
        properties.register_opaque_type(OpaqueType::Barrier);
        properties.register_type_usage(ElemType::Float(FloatKind::TF32), TypeUsage::Conversion);
        properties.features.plane = Plane::Sync | Plane::Ops | Plane::NonUniformControlFlow;
        properties.features.copy_async = true;
        properties.features.cube_cluster = self.version >= 90;
        properties.features.memory_reinterpret = true;
        properties.features.alignment = true;
        properties.features.device_memory_scope = true;
        properties
    }

    fn hardware(self) -> HardwareProperties {
        HardwareProperties {
            load_width: 128,
            vector_register_count: None,
            plane_size_min: 32,
            plane_size_max: 32,
            max_bindings: 1024,
            max_shared_memory_size: self.shared_memory,
            max_cube_count: (i32::MAX as u32, 65_535, 65_535),
            max_units_per_cube: 1024,
            max_cube_dim: (1024, 1024, 64),
            num_streaming_multiprocessors: Some(108),
            num_cpu_cores: None,
            last_level_cache_size: None,
            num_tensor_cores: Some(4),
            min_tensor_cores_dim: Some(8),
            max_vector_size: VectorSize::MAX,
            cube_mma_reserved_shared_memory: 0,
        }
    }

    /// Vectors are added by CubeCL's C++ compiler alone, not by the one that uses LLVM.
    fn register_atomics(self, properties: &mut DeviceProperties) {
        let add = AtomicUsage::Add | AtomicUsage::LoadStore | AtomicUsage::Exchange;
        let mut register = |kind: FloatKind, size: VectorSize| {
            let ty = Type::new(ElemType::Float(kind)).with_vector_size(size);
            properties.register_atomic_type_usage(Type::atomic(ty), add);
        };
        register(FloatKind::F64, 1);
        register(FloatKind::F16, 2);
        if self.version >= 90 {
            for size in [2, 4, 8] {
                register(FloatKind::BF16, size);
                register(FloatKind::F16, size);
            }
            register(FloatKind::F32, 2);
            register(FloatKind::F32, 4);
        }
    }

    /// Options that cubecl-cuda compiles with.
    pub fn options(self) -> CompilationOptions {
        CompilationOptions {
            warp_size: 32,
            supports_features: CppSupportedFeatures {
                grid_constants: true,
                clusters: self.version >= 90,
                fast_math: true,
                fast_tanh: true,
                elect_sync: self.version >= 90,
                dp4a: true,
            },
            amd_wmma: None,
        }
    }
}
