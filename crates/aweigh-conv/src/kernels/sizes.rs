//! The sizes of a convolution.

/// Sizes and options of a convolution of `[B, C, H, W]` with `[K, C / groups, kh, kw]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvSizes {
    /// Images, B.
    pub batch: usize,
    /// Channels of the input, C.
    pub channels_in: usize,
    /// Channels of the output, K.
    pub channels_out: usize,
    /// Height and width of the input.
    pub input: [usize; 2],
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Step of the kernel, down and across.
    pub stride: [usize; 2],
    /// Zeros around the map, above as below, left as right.
    pub padding: [usize; 2],
    /// Distance of neighbouring taps.
    pub dilation: [usize; 2],
    /// Groups of channels that do not see each other.
    pub groups: usize,
}

impl ConvSizes {
    /// Height and width of the output: `(n + 2 padding - dilation (k - 1) - 1) / stride + 1`, 0
    /// where the kernel is larger than the padded map.
    pub fn output(&self) -> [usize; 2] {
        std::array::from_fn(|i| {
            let reach = self.dilation[i] * (self.kernel[i] - 1) + 1;
            match (self.input[i] + 2 * self.padding[i]).checked_sub(reach) {
                Some(room) => room / self.stride[i] + 1,
                None => 0,
            }
        })
    }

    /// Checks that no size is out of reach of the kernels' arithmetic.
    ///
    /// # Panics
    ///
    /// When a stride, dilation, kernel or number of groups is 0 or above 2^31, when groups do not
    /// divide the channels, or when a tensor would have more bytes than there are addresses.
    pub(crate) fn check(&self) {
        let parts = [self.kernel, self.stride, self.dilation]
            .into_iter()
            .flatten();
        let small = parts
            .chain([self.groups])
            .all(|part| (1..=1 << 31).contains(&part));
        let rest = self.padding.into_iter().chain(self.input);
        let small = small && rest.into_iter().all(|part| part <= 1 << 31);
        let divided = small
            && self.channels_in.is_multiple_of(self.groups)
            && self.channels_out.is_multiple_of(self.groups);
        let product = |parts: &[usize]| {
            let product = parts
                .iter()
                .try_fold(4usize, |all, part| all.checked_mul(*part));
            product.is_some_and(|bytes| bytes <= isize::MAX as usize)
        };
        let tensors = || {
            let ([h, w], [oh, ow]) = (self.input, self.output());
            let [kh, kw] = self.kernel;
            product(&[self.batch, self.channels_in, h, w])
                && product(&[self.batch, self.channels_out, oh, ow])
                && product(&[self.channels_out, self.channels_in / self.groups, kh, kw])
        };
        assert!(divided && tensors(), "sizes of a convolution: {self:?}");
    }

    /// Pixels of a channel of the input.
    pub fn pixels_in(&self) -> usize {
        self.input[0] * self.input[1]
    }

    /// Pixels of a channel of the output.
    pub fn pixels_out(&self) -> usize {
        let [height, width] = self.output();
        height * width
    }

    /// Taps of the kernel.
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Values of the input.
    pub fn input_len(&self) -> usize {
        self.batch * self.channels_in * self.pixels_in()
    }

    /// Values of the weight.
    pub fn weight_len(&self) -> usize {
        self.channels_out * self.channels_in / self.groups * self.taps()
    }

    /// Values of the output.
    pub fn output_len(&self) -> usize {
        self.batch * self.channels_out * self.pixels_out()
    }

    /// Multiplications and additions of a direct convolution, counted apart.
    pub fn flops(&self) -> u64 {
        let per_output = self.channels_in / self.groups * self.taps();
        2 * self.output_len() as u64 * per_output as u64
    }
}
