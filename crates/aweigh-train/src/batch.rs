//! From a batch in host memory to tensors.

use aweigh_data::HostBatch;
use aweigh_geometry::{GroundTruth, ImageFrame};
use burn::tensor::{Device, Tensor, TensorData};

/// A batch on a device.
#[derive(Debug, Clone)]
pub struct Batch {
    /// `[B, 3, H, W]`, normalised and padded, without autodiff.
    pub images: Tensor<4>,
    /// Padded ground truth, without autodiff.
    pub truth: GroundTruth,
}

impl Batch {
    /// Moves a batch to `device`, leaving what describes its images.
    pub fn upload(host: HostBatch, device: &Device) -> Self {
        let device = device.clone().inner();
        let sizes: Vec<[usize; 2]> = host.meta.iter().map(|meta| meta.padded).collect();
        Self {
            images: upload_images(host.images, host.shape, &device),
            truth: GroundTruth::from_host(&host.truth, &device).with_sizes(&sizes),
        }
    }
}

/// Moves images `[B, 3, H, W]` to a device.
pub(crate) fn upload_images(images: Vec<f32>, shape: [usize; 4], device: &Device) -> Tensor<4> {
    Tensor::from_data(TensorData::new(images, shape), device)
}

/// What decoding needs to return to original pixels.
pub(crate) fn image_frames(host: &HostBatch) -> Vec<ImageFrame> {
    host.meta.iter().map(|meta| meta.frame).collect()
}
