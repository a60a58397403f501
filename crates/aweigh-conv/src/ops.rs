//! The operators as a Burn backend extension: what a backend has to provide.

use burn::backend::{
    Backend, backend_extension,
    tensor::{FloatTensor, IntTensor},
};

use crate::activation::Activation;
use crate::choice::Algorithm;
use crate::kernels::Over;
use crate::profile::Call;
use crate::{ConvSizes, MaxPool};

/// A convolution: its sizes and how it is computed.
///
/// Maps of one size are `[B, C, H, W]`. Maps of several sizes are one vector, the maps of a size
/// after those of the size before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvCall {
    /// Sizes and options for each size of maps; they differ in `input` alone.
    pub sizes: Vec<ConvSizes>,
    /// What follows the sum and the bias.
    pub activation: Activation,
    /// Which sums may be used.
    pub algorithm: Algorithm,
    /// The layer, in the [profile](crate::profile).
    pub layer: Option<u64>,
}

/// A normalisation, of maps as in a [`ConvCall`]; of maps of one size where it is over the batch.
#[derive(Debug, Clone, PartialEq)]
pub struct NormCall {
    /// What is normalised together.
    pub over: Over,
    /// Added to a variance before its square root.
    pub epsilon: f64,
    /// What follows.
    pub activation: Activation,
    /// The layer, in the [profile](crate::profile).
    pub layer: Option<u64>,
    /// `[B, C, H, W]` of each size of maps.
    pub maps: Vec<[usize; 4]>,
}

/// Options of [`focal_sum`](crate::focal_sum).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FocalCall {
    /// Exponent of `1 - p_t`.
    pub gamma: f64,
    /// Weight of classes that are present; those that are absent weigh `1 - alpha`. Without it both
    /// weigh 1.
    pub alpha: Option<f64>,
}

/// The operators on a backend. Users call the functions of this crate.
#[backend_extension(Flex: cfg(feature = "flex"), Autodiff)]
pub trait LayerOps: Backend {
    /// [`conv2d`](crate::conv2d) without bias.
    fn conv(x: FloatTensor<Self>, weight: FloatTensor<Self>, call: ConvCall) -> FloatTensor<Self>;

    /// [`conv2d`](crate::conv2d) with a bias.
    fn conv_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        call: ConvCall,
    ) -> FloatTensor<Self>;

    /// [`group_norm`](crate::group_norm) or [`batch_norm`](crate::batch_norm): the normalised maps,
    /// and the mean and biased variance of every set that is normalised together, `[sets, 2]`,
    /// which are never tracked.
    fn norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        call: NormCall,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// [`add`](crate::add()).
    fn add(a: FloatTensor<Self>, b: FloatTensor<Self>, activation: Activation)
    -> FloatTensor<Self>;

    /// [`max_pool2d`](crate::max_pool2d).
    fn max_pool(x: FloatTensor<Self>, pool: MaxPool) -> FloatTensor<Self>;

    /// [`upsample_add`](crate::upsample_add).
    fn upsample_add(fine: FloatTensor<Self>, coarse: FloatTensor<Self>) -> FloatTensor<Self>;

    /// [`focal_sum`](crate::focal_sum).
    fn focal_sum(
        logits: FloatTensor<Self>,
        labels: IntTensor<Self>,
        weights: FloatTensor<Self>,
        call: FocalCall,
    ) -> FloatTensor<Self>;
}

/// What the backward passes of [`LayerOps`] are made of, on a backend without autodiff.
pub trait LayerGradients: LayerOps {
    /// The gradient of what an activation was given, from that of what it gave, `y`; recorded as
    /// `call`.
    fn activation_gradient(
        grad: FloatTensor<Self>,
        y: FloatTensor<Self>,
        activation: Activation,
        call: Call,
    ) -> FloatTensor<Self>;

    /// Gradients of the sum before the bias, if it is needed, and of the bias `[K]`, given that of
    /// a convolution's output, and the output itself if an activation made it. Without one the
    /// former is `grad` itself.
    fn bias_gradients(
        grad: FloatTensor<Self>,
        y: Option<FloatTensor<Self>>,
        needs_sum: bool,
        call: &ConvCall,
    ) -> [FloatTensor<Self>; 2];

    /// Gradient of a convolution's input.
    fn conv_input_gradient(
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        call: &ConvCall,
    ) -> FloatTensor<Self>;

    /// Gradient of a convolution's weight.
    fn conv_weight_gradient(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        call: &ConvCall,
    ) -> FloatTensor<Self>;

    /// Gradients of the map, if it is needed, the weight and the bias.
    fn norm_gradients(
        saved: SavedNorm<FloatTensor<Self>>,
        grad: FloatTensor<Self>,
        call: NormCall,
        needs_x: bool,
    ) -> [Option<FloatTensor<Self>>; 3];

    /// The pooled map and the taps of its maxima, one byte each.
    fn max_pool_taps(x: FloatTensor<Self>, pool: MaxPool) -> (FloatTensor<Self>, Vec<u8>);

    /// Gradient of the map that was pooled, `[height, width]`.
    fn max_pool_gradient(
        taps: Vec<u8>,
        grad: FloatTensor<Self>,
        pool: MaxPool,
        size: [usize; 2],
    ) -> FloatTensor<Self>;

    /// Gradient of the coarse map, `[height, width]`; that of the fine one is `grad`.
    fn upsample_gradient(grad: FloatTensor<Self>, size: [usize; 2]) -> FloatTensor<Self>;

    /// The sum of the losses, `[1]`, and its derivative by each logit.
    fn focal_sum_slopes(
        logits: FloatTensor<Self>,
        labels: IntTensor<Self>,
        weights: FloatTensor<Self>,
        call: FocalCall,
    ) -> [FloatTensor<Self>; 2];
}

/// What the backward pass of a normalisation needs of the forward pass.
#[derive(Debug, Clone)]
pub struct SavedNorm<F> {
    /// The map.
    pub x: F,
    /// Scale of each channel.
    pub weight: F,
    /// Shift of each channel.
    pub bias: F,
    /// Mean and variance of every set that is normalised together.
    pub statistics: F,
}
