//! Options of a deformable convolution.

/// Default bound on the scratch memory of one call: 64 MiB.
pub const DEFAULT_COLUMN_BUDGET: usize = 64 << 20;

/// Options of [`deform_conv2d`](crate::deform_conv2d). Pairs are (vertical, horizontal).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeformConvOptions {
    /// Step between sampling windows, in input pixels.
    pub stride: [usize; 2],
    /// Zeros around the input on each side, in pixels.
    pub padding: [usize; 2],
    /// Distance between neighbouring taps before displacement, in pixels.
    pub dilation: [usize; 2],
    /// Groups of input and output channels that only see each other.
    pub weight_groups: usize,
    /// Groups of input channels that share one field of offsets (mmcv's `deform_groups`).
    pub offset_groups: usize,
    /// Largest scratch memory of one call in bytes: sampled columns and the copies of the input
    /// and its gradient that they are made from. Columns are processed in as many chunks as this
    /// takes. A call whose smallest possible chunk is larger than the budget uses that chunk.
    pub column_budget: usize,
}

impl Default for DeformConvOptions {
    fn default() -> Self {
        Self {
            stride: [1, 1],
            padding: [0, 0],
            dilation: [1, 1],
            weight_groups: 1,
            offset_groups: 1,
            column_budget: DEFAULT_COLUMN_BUDGET,
        }
    }
}
