//! The variants of each kernel that Aweigh launches on CUDA devices.
//!
//! They differ in the tensors' type, the vector size, the tensors that are there, and how the
//! input gradient is added up. Lengths are arguments and change no source.

use cubecl::features::AtomicUsage;
use cubecl::ir::{ElemType, FloatKind, Type};
use cubecl::prelude::{AddressType, CubeCount, CubeDim};

use crate::kernels::{self, AtomicAdd, ChunkLaunch, ColumnsAfter, GeometryLaunch};
use crate::memory::tensor;
use crate::writer::Writer;

/// Cubes of 256 units over tiles of 32 rows, as for 32 vectors or more in an offset group.
const LANES: usize = 32;
const ROWS: usize = 32;
const SAMPLING: CubeDim = CubeDim::new_2d(32, 8);

/// Cubes of kernels that treat every number alike.
const ELEMENTWISE: CubeDim = CubeDim::new_1d(256);

/// Side of the square that rows are made through.
const SIDE: usize = 32;

const COUNT: CubeCount = CubeCount::Static(1, 1, 1);

/// A type of tensors.
#[derive(Clone, Copy)]
struct Float {
    name: &'static str,
    kind: FloatKind,
    bytes: usize,
}

const F32: Float = Float {
    name: "f32",
    kind: FloatKind::F32,
    bytes: 4,
};

const FLOATS: [Float; 4] = [
    F32,
    Float {
        name: "f16",
        kind: FloatKind::F16,
        bytes: 2,
    },
    Float {
        name: "bf16",
        kind: FloatKind::BF16,
        bytes: 2,
    },
    Float {
        name: "f64",
        kind: FloatKind::F64,
        bytes: 8,
    },
];

impl Float {
    fn element(self) -> ElemType {
        ElemType::Float(self.kind)
    }

    /// Type of positions and sums.
    fn wide(self) -> Self {
        if self.bytes > F32.bytes { self } else { F32 }
    }

    /// Numbers of a load of 16 bytes.
    fn widest(self) -> usize {
        16 / self.bytes
    }
}

/// What a backward pass computes.
#[derive(Clone, Copy)]
struct Wanted {
    x: bool,
    offset: bool,
    mask: bool,
    weight: bool,
}

impl Wanted {
    fn all() -> impl Iterator<Item = Self> {
        (1..16u8).map(|bits| Self {
            x: bits & 1 != 0,
            offset: bits & 2 != 0,
            mask: bits & 4 != 0,
            weight: bits & 8 != 0,
        })
    }

    /// Every gradient, with or without those of the input and the weight.
    fn is_usual(self, masked: bool) -> bool {
        self.offset && self.mask == masked
    }

    fn name(self) -> String {
        let parts = [
            (self.x, "x"),
            (self.offset, "offset"),
            (self.mask, "mask"),
            (self.weight, "weight"),
        ];
        let names = parts.iter().filter(|(wanted, _)| *wanted);
        names.map(|(_, name)| *name).collect::<Vec<_>>().join("+")
    }
}

/// A variant of a sampling kernel.
#[derive(Clone, Copy)]
struct Sampling {
    float: Float,
    size: usize,
    masked: bool,
    address: AddressType,
}

impl Sampling {
    fn of(float: Float, size: usize, masked: bool) -> Self {
        Self {
            float,
            size,
            masked,
            address: AddressType::U32,
        }
    }

    fn name(self) -> String {
        let Self { float, size, .. } = self;
        let masked = if self.masked { "_masked" } else { "" };
        let address = match self.address {
            AddressType::U32 => "",
            AddressType::U64 => "_u64",
        };
        format!("{}x{size}{masked}{address}", float.name)
    }
}

/// Writes every variant of every kernel.
pub fn write_all(writer: &mut Writer) {
    for float in FLOATS {
        write_copies(writer, float);
        for masked in [false, true] {
            for size in [float.widest(), 1] {
                sample(writer, Sampling::of(float, size, masked));
            }
            write_backwards(writer, float, masked);
        }
    }
    // Tensors of more than 2^32 numbers.
    let large = Sampling {
        address: AddressType::U64,
        ..Sampling::of(F32, F32.widest(), true)
    };
    sample(writer, large);
    let large = Sampling { size: 1, ..large };
    for wanted in Wanted::all().filter(|wanted| wanted.is_usual(true)) {
        backward::<kernels::NativeAdd>(writer, large, F32, wanted, "native");
    }
}

/// Every combination of gradients in `f32`; in other types those that training asks for.
fn write_backwards(writer: &mut Writer, float: Float, masked: bool) {
    let possible = Wanted::all().filter(|wanted| masked || !wanted.mask);
    for wanted in possible.filter(|wanted| float.bytes == F32.bytes || wanted.is_usual(masked)) {
        if !wanted.x {
            let sampling = Sampling::of(float, float.widest(), masked);
            backward::<kernels::NativeAdd>(writer, sampling, float.wide(), wanted, "native");
            continue;
        }
        let wide = float.wide();
        for size in atomic_sizes(writer, float, wide) {
            let sampling = Sampling::of(float, size, masked);
            backward::<kernels::NativeAdd>(writer, sampling, wide, wanted, "native");
        }
        let sampling = Sampling::of(float, 1, masked);
        backward::<kernels::ExchangeAdd>(writer, sampling, F32, wanted, "exchange");
    }
}

/// Sizes of the vectors of sums that the device adds atomically: the widest, and 1.
fn atomic_sizes(writer: &Writer, float: Float, sum: Float) -> Vec<usize> {
    let native = |size: &usize| {
        let cell = Type::atomic(sum.element().with_vector_size(*size));
        let usage = writer.device.atomic_type_usage(cell);
        usage.contains(AtomicUsage::Add)
    };
    let widest = [8, 4, 2].into_iter().filter(|size| *size <= float.widest());
    widest.filter(native).take(1).chain([1]).collect()
}

fn geometry() -> GeometryLaunch {
    GeometryLaunch::new(16, 16, 256, 16, 9, 3, 1, 1, 1, 1, 1, 1, 1)
}

fn chunk() -> ChunkLaunch {
    ChunkLaunch::new(0, 256, 0, 0, 8192, 32, 1, 32)
}

fn sample(writer: &mut Writer, sampling: Sampling) {
    let Sampling { float, masked, .. } = sampling;
    let kernel = kernels::sample::create_dummy_kernel(
        writer.device.clone(),
        writer.target.clone(),
        COUNT,
        SAMPLING,
        sampling.address,
        sampling.size,
        tensor(),
        tensor(),
        masked.then(tensor).into(),
        tensor(),
        32,
        32,
        geometry(),
        chunk(),
        ROWS,
        [float, float.wide()].map(Float::element),
    );
    writer.write(&format!("sample_{}", sampling.name()), kernel);
}

fn backward<Add: AtomicAdd>(
    writer: &mut Writer,
    sampling: Sampling,
    sum: Float,
    wanted: Wanted,
    adds: &str,
) {
    let Sampling { float, masked, .. } = sampling;
    let after = match wanted.weight {
        true => ColumnsAfter::Samples,
        false => ColumnsAfter::Gradient,
    };
    let kernel = kernels::backward::create_dummy_kernel::<Add>(
        writer.device.clone(),
        writer.target.clone(),
        COUNT,
        SAMPLING,
        sampling.address,
        sampling.size,
        tensor(),
        tensor(),
        masked.then(tensor).into(),
        tensor(),
        wanted.x.then(tensor).into(),
        wanted.offset.then(tensor).into(),
        wanted.mask.then(tensor).into(),
        32,
        32,
        geometry(),
        chunk(),
        after,
        ROWS,
        LANES,
        [float, float.wide(), sum].map(Float::element),
    );
    let adds = if wanted.x {
        format!("_{adds}")
    } else {
        String::new()
    };
    let name = format!("backward_{}_{}{adds}", sampling.name(), wanted.name());
    writer.write(&name, kernel);
}

fn write_copies(writer: &mut Writer, float: Float) {
    let kernel = kernels::to_rows::create_dummy_kernel(
        writer.device.clone(),
        writer.target.clone(),
        COUNT,
        ELEMENTWISE,
        AddressType::U32,
        tensor(),
        tensor(),
        0,
        256,
        32,
        SIDE,
        float.element(),
    );
    writer.write(&format!("to_rows_{}", float.name), kernel);
    for size in [float.widest(), 1] {
        join_groups(writer, float, size);
        add_parts(writer, float, size);
    }
    for size in [float.wide().widest(), 1] {
        convert(writer, float, size);
    }
    small_product(writer, float, float);
    if float.wide().name != float.name {
        small_product(writer, float, float.wide());
    }
}

fn join_groups(writer: &mut Writer, float: Float, size: usize) {
    let kernel = kernels::join_groups::create_dummy_kernel(
        writer.device.clone(),
        writer.target.clone(),
        COUNT,
        ELEMENTWISE,
        AddressType::U32,
        size,
        tensor(),
        tensor(),
        0,
        256,
        2,
        32,
        float.element(),
    );
    writer.write(&format!("join_groups_{}x{size}", float.name), kernel);
}

fn add_parts(writer: &mut Writer, float: Float, size: usize) {
    let kernel = kernels::add_parts::create_dummy_kernel(
        writer.device.clone(),
        writer.target.clone(),
        COUNT,
        ELEMENTWISE,
        AddressType::U32,
        size,
        tensor(),
        tensor(),
        256,
        4,
        float.element(),
    );
    writer.write(&format!("add_parts_{}x{size}", float.name), kernel);
}

/// From the type of sums.
fn convert(writer: &mut Writer, float: Float, size: usize) {
    let kernel = kernels::convert::create_dummy_kernel(
        writer.device.clone(),
        writer.target.clone(),
        COUNT,
        ELEMENTWISE,
        AddressType::U32,
        size,
        tensor(),
        tensor(),
        0,
        256,
        [float.wide(), float].map(Float::element),
    );
    writer.write(&format!("convert_{}x{size}", float.name), kernel);
}

fn small_product(writer: &mut Writer, float: Float, out: Float) {
    let kernel = kernels::small_product::create_dummy_kernel(
        writer.device.clone(),
        writer.target.clone(),
        COUNT,
        ELEMENTWISE,
        AddressType::U32,
        tensor(),
        tensor(),
        tensor(),
        [float, out, float.wide()].map(Float::element),
    );
    writer.write(
        &format!("small_product_{}_to_{}", float.name, out.name),
        kernel,
    );
}
