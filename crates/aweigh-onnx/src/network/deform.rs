//! Convolutions, deformable ones as an operator of their own or of simpler ones.

use aweigh_backbone::{ConvolutionConfig, DcnKind, Deformation};

use super::weights::Weights;
use super::{Layer, Network};
use crate::OnnxError;
use crate::graph::{DeformedInput, Element, Value, Window};
use crate::options::DeformConv;

/// A deformable convolution of offsets that are there, by module path.
pub(crate) struct Deformable<'a> {
    pub(crate) path: &'a str,
    /// Channels in and out.
    pub(crate) channels: [usize; 2],
    pub(crate) kernel: [usize; 2],
    /// Groups of channels that share one field of offsets.
    pub(crate) offset_groups: usize,
}

impl Network {
    /// The convolution of a layer, with the weights that are given.
    pub(super) fn convolution(
        &mut self,
        x: &Value,
        layer: &Layer<'_>,
        weights: &Weights,
    ) -> Result<Value, OnnxError> {
        let window = window(layer.conv);
        let Some(deformation) = layer.conv.deformation else {
            let weights = [&weights.weight, &weights.bias];
            return Ok(self.graph.conv(x, weights, &window));
        };
        let input = self.moving(x, layer, &deformation, &window)?;
        Ok(self.deform_conv(&input, weights, &window))
    }

    /// Predicts the offsets, and masks of version 2, of a layer from its own input: the first two
    /// thirds of the channels are the offsets, the last third the masks before their sigmoid.
    fn moving(
        &mut self,
        x: &Value,
        layer: &Layer<'_>,
        deformation: &Deformation,
        window: &Window,
    ) -> Result<DeformedInput, OnnxError> {
        let Deformation { kind, groups } = *deformation;
        let taps = groups * window.taps();
        let outputs = match kind {
            DcnKind::V1 => 2 * taps,
            DcnKind::V2 => 3 * taps,
        };
        let path = format!("{}.conv_offset", layer.path);
        let channels = layer.conv.channels[0];
        let [height, width] = window.kernel;
        let weight = self.parameter(
            &format!("{path}.weight"),
            &[outputs, channels, height, width],
        )?;
        let bias = self.parameter(&format!("{path}.bias"), &[outputs])?;
        let ungrouped = Window {
            groups: 1,
            ..*window
        };
        let predicted = self.graph.conv(x, [&weight, &bias], &ungrouped);
        let (offset, mask) = match kind {
            DcnKind::V1 => (predicted, None),
            DcnKind::V2 => {
                let [offsets, all] = [2 * taps as i64, 3 * taps as i64];
                let mask = self.graph.slice(&predicted, 1, [offsets, all], 1);
                let mask = self.graph.unary("Sigmoid", &mask);
                (self.graph.slice(&predicted, 1, [0, offsets], 1), Some(mask))
            }
        };
        Ok(DeformedInput {
            x: x.clone(),
            offset,
            mask,
            offset_groups: groups,
            channels,
        })
    }

    /// A deformable convolution without bias whose offsets come from elsewhere.
    pub(crate) fn deform_by(
        &mut self,
        x: &Value,
        offset: &Value,
        conv: &Deformable<'_>,
    ) -> Result<Value, OnnxError> {
        let [input, output] = conv.channels;
        let shape = [output, input, conv.kernel[0], conv.kernel[1]];
        let weights = Weights {
            weight: self.parameter(&format!("{}.weight", conv.path), &shape)?,
            bias: self.optional(&format!("{}.bias", conv.path), &[output])?,
        };
        let input = DeformedInput {
            x: x.clone(),
            offset: offset.clone(),
            mask: None,
            offset_groups: conv.offset_groups,
            channels: input,
        };
        Ok(self.deform_conv(&input, &weights, &Window::same(conv.kernel)))
    }

    fn deform_conv(&mut self, input: &DeformedInput, weights: &Weights, window: &Window) -> Value {
        self.deformable += 1;
        match self.deform_conv {
            DeformConv::Standard => {
                let weights = [&weights.weight, &weights.bias];
                self.graph.deform_conv(input, weights, window)
            }
            DeformConv::Decomposed => self.decomposed(input, weights, window),
        }
    }

    /// Samples the taps of every output, channel after channel, and multiplies them by the weight
    /// as a convolution of one pixel: `[B, C K, H', W']` by `[out, C K / groups, 1, 1]`.
    fn decomposed(&mut self, input: &DeformedInput, weights: &Weights, window: &Window) -> Value {
        let columns = self.columns(input, window); // [B, C, K, H' W']
        let taps = window.taps();
        let graph = &mut self.graph;
        let size = graph.shape(&input.offset, 2, 4);
        let channels = graph.ints(&[0, (input.channels * taps) as i64]);
        let shape = graph.concat(&[channels, size], 0);
        let columns = graph.reshape_to(&columns, &shape); // [B, C K, H', W']
        let weight = graph.reshape(
            &weights.weight,
            &[0, (input.channels * taps / window.groups) as i64, 1, 1],
        );
        let pixel = Window {
            groups: window.groups,
            ..Window::same([1, 1])
        };
        graph.conv(&columns, [&weight, &weights.bias], &pixel)
    }

    /// The values at the taps, `[B, C, K, H' W']`, times their masks.
    fn columns(&mut self, input: &DeformedInput, window: &Window) -> Value {
        let groups = input.offset_groups;
        let taps = window.taps() as i64;
        let width = (input.channels / groups) as i64;
        let places = self.places(input, window); // [B, G K, H' W', 2]
        let graph = &mut self.graph;
        let mask = input.mask.as_ref();
        let mask = mask.map(|mask| graph.reshape(mask, &[0, 1, groups as i64 * taps, -1]));
        let part =
            |graph: &mut crate::graph::Graph, whole: &Value, axis, group, length| match groups {
                1 => whole.clone(),
                _ => graph.slice(whole, axis, [group * length, (group + 1) * length], 1),
            };
        let mut sampled = Vec::new();
        for group in 0..groups as i64 {
            let x = part(graph, &input.x, 1, group, width);
            let grid = part(graph, &places, 1, group, taps);
            let mut values = graph.grid_sample(&x, &grid); // [B, C / G, K, H' W']
            if let Some(mask) = &mask {
                let mask = part(graph, mask, 2, group, taps);
                values = graph.mul(&values, &mask);
            }
            sampled.push(values);
        }
        graph.concat(&sampled, 1)
    }

    /// Where the taps lie, `[B, G K, H' W', 2]`, x before y, from -1 at the first edge of the map to
    /// 1 at the last: pixel `i` of `n` is at `(2 i + 1) / n - 1`.
    fn places(&mut self, input: &DeformedInput, window: &Window) -> Value {
        let all_taps = (input.offset_groups * window.taps()) as i64;
        let grid = self.grid(input, window); // [K, H' W', 2]
        let graph = &mut self.graph;
        let offset = graph.reshape(&input.offset, &[0, all_taps, 2, -1]);
        let offset = graph.transpose(&offset, &[0, 1, 3, 2]); // [B, G K, H' W', 2]
        let places = graph.add(&grid, &offset);
        let size = graph.shape(&input.x, 2, 4);
        let size = graph.cast(&size, Element::Float);
        let two = graph.float(2.0);
        let step = graph.div(&two, &size);
        let one = graph.float(1.0);
        let first = graph.div(&one, &size);
        let first = graph.sub(&first, &one);
        let places = graph.mul(&places, &step);
        let places = graph.add(&places, &first);
        graph.pick(&places, &[1, 0], 3)
    }

    /// The pixel of each tap before displacement, `[G K, H' W', 2]`, y before x.
    fn grid(&mut self, input: &DeformedInput, window: &Window) -> Value {
        let [rows, columns] = [0, 1].map(|axis| {
            let graph = &mut self.graph;
            let count = graph.shape(&input.offset, 2 + axis as i64, 3 + axis as i64);
            let index = graph.count_up(&count);
            let index = graph.cast(&index, Element::Float);
            let stride = graph.float(window.stride[axis] as f32);
            graph.mul(&index, &stride)
        });
        let graph = &mut self.graph;
        let rows = graph.reshape(&rows, &[-1, 1]);
        let size = graph.shape(&input.offset, 2, 4);
        let axes = [rows, columns].map(|axis| {
            let spread = graph.node("Expand", &[&axis, &size], vec![]); // [H', W']
            graph.reshape(&spread, &[1, -1, 1])
        });
        let windows = graph.concat(&axes, 2); // [1, H' W', 2]
        let name = format!("taps {window:?} x {}", input.offset_groups);
        let taps = taps(window).repeat(input.offset_groups);
        let taps = graph.tensor(&name, &[taps.len() / 2, 1, 2], &taps);
        graph.add(&windows, &taps)
    }
}

/// The taps of a window from its upper left pixel in the unpadded map, y before x.
fn taps(window: &Window) -> Vec<f32> {
    let [height, width] = window.kernel;
    let at = |axis: usize, tap: usize| {
        (tap * window.dilation[axis]) as f32 - window.padding[axis] as f32
    };
    let of_row = |y: usize| (0..width).flat_map(move |x| [at(0, y), at(1, x)]);
    (0..height).flat_map(of_row).collect()
}

/// The window of a convolution.
fn window(conv: &ConvolutionConfig) -> Window {
    Window {
        kernel: conv.kernel,
        stride: [conv.stride; 2],
        padding: conv.padding(),
        dilation: [conv.dilation; 2],
        groups: conv.groups,
    }
}
