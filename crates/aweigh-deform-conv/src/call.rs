//! The rules that the shapes of a call obey, and the sizes that follow from them.

use burn::tensor::Shape;

use crate::options::DeformConvOptions;

/// The shapes of the tensors of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallShapes {
    /// Of the input, `[B, C, H, W]`.
    pub x: Shape,
    /// Of the offset, `[B, 2 * G * kh * kw, H', W']` for G offset groups.
    pub offset: Shape,
    /// Of the weight, `[C_out, C / weight_groups, kh, kw]`.
    pub weight: Shape,
    /// Of the mask, `[B, G * kh * kw, H', W']`, if there is one.
    pub mask: Option<Shape>,
}

/// Sizes and options of a call that obeys the rules of [`deform_conv2d`](crate::deform_conv2d).
///
/// The rules are checked where this is made and nowhere else: what autodiff, fusion and the
/// backends need to know of a call they read from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedCall {
    pub(crate) shapes: CallShapes,
    pub(crate) sizes: Sizes,
    pub(crate) options: DeformConvOptions,
}

impl CheckedCall {
    /// Checks a call.
    ///
    /// # Panics
    ///
    /// When a rule is broken; the message names the rule and every shape.
    pub fn new(shapes: CallShapes, options: DeformConvOptions) -> Self {
        match Sizes::new(&shapes, &options) {
            Ok(sizes) => Self {
                shapes,
                sizes,
                options,
            },
            Err(rule) => panic!(
                "deformable convolution: {rule}; got input {:?}, offset {:?}, weight {:?}, mask \
                 {:?}, {options:?}",
                shapes.x, shapes.offset, shapes.weight, shapes.mask
            ),
        }
    }

    /// The shapes of its tensors.
    pub fn shapes(&self) -> &CallShapes {
        &self.shapes
    }

    /// Its options.
    pub fn options(&self) -> &DeformConvOptions {
        &self.options
    }
}

/// Every size of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) batch: usize,
    pub(crate) channels_in: usize,
    pub(crate) channels_out: usize,
    /// Height and width of the input.
    pub(crate) input: [usize; 2],
    /// Height and width of the output.
    pub(crate) output: [usize; 2],
    /// Height and width of the kernel.
    pub(crate) kernel: [usize; 2],
}

impl Sizes {
    /// Taps of the kernel.
    pub(crate) fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Output positions of one image.
    pub(crate) fn positions(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// Pixels of one input map.
    pub(crate) fn pixels(&self) -> usize {
        self.input[0] * self.input[1]
    }

    /// Shape of the output, `[B, C_out, H', W']`.
    pub(crate) fn output_shape(&self) -> Shape {
        let [height, width] = self.output;
        Shape::new([self.batch, self.channels_out, height, width])
    }

    /// The sizes of a call, or the rule that it breaks.
    fn new(shapes: &CallShapes, options: &DeformConvOptions) -> Result<Self, &'static str> {
        let CallShapes {
            x,
            offset,
            weight,
            mask,
        } = shapes;
        let of_rank_4 = |shape: &Shape| shape.num_dims() == 4;
        need(
            [x, offset, weight].into_iter().chain(mask).all(of_rank_4),
            "every tensor has four dimensions",
        )?;
        let input = [x[2], x[3]];
        let kernel = [weight[2], weight[3]];
        let sizes = [x[1], weight[0], kernel[0], kernel[1], input[0], input[1]];
        need(!sizes.contains(&0), "no channel, kernel or map size is 0")?;
        check_options(shapes, options)?;
        let output = [0, 1].map(|axis| output_size(input[axis], kernel[axis], axis, options));
        need(
            !output.contains(&0),
            "the padded input is at least as large as the dilated kernel",
        )?;
        let fits = |shape: &Shape, per_tap: usize| {
            let channels = per_tap * options.offset_groups * kernel[0] * kernel[1];
            *shape == Shape::new([x[0], channels, output[0], output[1]])
        };
        need(
            fits(offset, 2),
            "the offset is [B, 2 * offset groups * kernel height * kernel width, H', W']",
        )?;
        need(
            mask.as_ref().is_none_or(|mask| fits(mask, 1)),
            "the mask is [B, offset groups * kernel height * kernel width, H', W']",
        )?;
        Ok(Self {
            batch: x[0],
            channels_in: x[1],
            channels_out: weight[0],
            input,
            output,
            kernel,
        })
    }
}

/// The options on their own, and against the channels.
fn check_options(shapes: &CallShapes, options: &DeformConvOptions) -> Result<(), &'static str> {
    let [channels_in, channels_out] = [shapes.x[1], shapes.weight[0]];
    let [weight_groups, offset_groups] = [options.weight_groups, options.offset_groups];
    need(
        !options.stride.contains(&0) && !options.dilation.contains(&0),
        "stride and dilation are at least 1",
    )?;
    need(
        weight_groups > 0
            && channels_in.is_multiple_of(weight_groups)
            && channels_out.is_multiple_of(weight_groups),
        "weight groups divide the input and the output channels",
    )?;
    need(
        offset_groups > 0 && channels_in.is_multiple_of(offset_groups),
        "offset groups divide the input channels",
    )?;
    need(
        shapes.weight[1] * weight_groups == channels_in,
        "the weight's second size times the weight groups is the input's channels",
    )
}

/// `Ok` if `holds`, otherwise the rule that does not hold.
fn need(holds: bool, rule: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(rule) }
}

/// Output size along one axis, or 0 where not even one window fits.
fn output_size(input: usize, kernel: usize, axis: usize, options: &DeformConvOptions) -> usize {
    let window = options.dilation[axis] * (kernel - 1) + 1;
    let padded = input + 2 * options.padding[axis];
    match padded.checked_sub(window) {
        Some(room) => room / options.stride[axis] + 1,
        None => 0,
    }
}
