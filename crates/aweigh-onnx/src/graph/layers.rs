//! Layers of a network: convolution, normalisation, pooling, resizing.

use super::{Attribute, Graph, Value};

/// Window of a convolution or pooling. Pairs are (vertical, horizontal).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) padding: [usize; 2],
    pub(crate) dilation: [usize; 2],
    /// Groups of input and output channels that only see each other.
    pub(crate) groups: usize,
}

impl Window {
    /// A window that moves by one and keeps the size of its map, for odd sides.
    pub(crate) fn same(kernel: [usize; 2]) -> Self {
        Self {
            kernel,
            stride: [1, 1],
            padding: kernel.map(|side| side / 2),
            dilation: [1, 1],
            groups: 1,
        }
    }

    /// Taps of the kernel.
    pub(crate) fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    fn attributes(&self) -> Vec<(&'static str, Attribute)> {
        vec![
            ("dilations", ints(&self.dilation)),
            ("group", Attribute::Int(self.groups as i64)),
            ("kernel_shape", ints(&self.kernel)),
            ("pads", self.pads()),
            ("strides", ints(&self.stride)),
        ]
    }

    fn pads(&self) -> Attribute {
        let [vertical, horizontal] = self.padding;
        ints(&[vertical, horizontal, vertical, horizontal])
    }
}

fn ints(values: &[usize]) -> Attribute {
    Attribute::Ints(values.iter().map(|value| *value as i64).collect())
}

/// What a deformable convolution takes: a map, its offsets `[B, 2 G K, H', W']` (y before x for
/// each of K taps) and masks `[B, G K, H', W']`.
#[derive(Debug, Clone)]
pub(crate) struct DeformedInput {
    pub(crate) x: Value,
    pub(crate) offset: Value,
    pub(crate) mask: Option<Value>,
    /// G, groups of channels that share one field of offsets.
    pub(crate) offset_groups: usize,
    /// Channels of `x`.
    pub(crate) channels: usize,
}

/// How values between those of a map are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resize {
    /// `floor(i * in / out)`.
    Nearest,
    /// Bilinear between pixel centres.
    Bilinear,
}

impl Graph {
    /// A convolution with a weight `[out, in / groups, kh, kw]`.
    pub(crate) fn conv(
        &mut self,
        x: &Value,
        [weight, bias]: [&Value; 2],
        window: &Window,
    ) -> Value {
        self.node("Conv", &[x, weight, bias], window.attributes())
    }

    /// The operator `DeformConv`.
    pub(crate) fn deform_conv(
        &mut self,
        input: &DeformedInput,
        [weight, bias]: [&Value; 2],
        window: &Window,
    ) -> Value {
        let mut attributes = window.attributes();
        let groups = Attribute::Int(input.offset_groups as i64);
        attributes.push(("offset_group", groups));
        let mut inputs = vec![&input.x, weight, &input.offset, bias];
        inputs.extend(&input.mask);
        self.node("DeformConv", &inputs, attributes)
    }

    /// Group normalisation with a scale and a shift per channel.
    pub(crate) fn group_norm(
        &mut self,
        x: &Value,
        [scale, shift]: [&Value; 2],
        groups: usize,
        epsilon: f32,
    ) -> Value {
        let attributes = vec![
            ("epsilon", Attribute::Float(epsilon)),
            ("num_groups", Attribute::Int(groups as i64)),
        ];
        self.node("GroupNormalization", &[x, scale, shift], attributes)
    }

    /// The largest value of each window.
    pub(crate) fn max_pool(&mut self, x: &Value, window: &Window) -> Value {
        let attributes = vec![
            ("kernel_shape", ints(&window.kernel)),
            ("pads", window.pads()),
            ("strides", ints(&window.stride)),
        ];
        self.node("MaxPool", &[x], attributes)
    }

    /// Makes a map of the height and width `size` `[2]`.
    pub(crate) fn resize(&mut self, x: &Value, size: &Value, how: Resize) -> Value {
        let (mode, coordinates) = match how {
            Resize::Nearest => ("nearest", "asymmetric"),
            Resize::Bilinear => ("linear", "half_pixel"),
        };
        let mut attributes = vec![
            ("axes", Attribute::Ints(vec![2, 3])),
            (
                "coordinate_transformation_mode",
                Attribute::Text(coordinates),
            ),
            ("mode", Attribute::Text(mode)),
        ];
        if how == Resize::Nearest {
            attributes.push(("nearest_mode", Attribute::Text("floor")));
        }
        let none = Value::none();
        self.node("Resize", &[x, &none, &none, size], attributes)
    }

    /// Bilinear samples `[B, C, h, w]` of a map at `grid` `[B, h, w, 2]`, x before y, where -1 and 1
    /// are the edges of the map; 0 outside.
    pub(crate) fn grid_sample(&mut self, x: &Value, grid: &Value) -> Value {
        let attributes = vec![
            ("align_corners", Attribute::Int(0)),
            ("mode", Attribute::Text("linear")),
            ("padding_mode", Attribute::Text("zeros")),
        ];
        self.node("GridSample", &[x, grid], attributes)
    }
}
