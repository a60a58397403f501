//! The gradients of a call.

use std::ops::Range;

use burn_cubecl::{CubeBackend, tensor::CubeTensor};

use super::kernels::ColumnsAfter;
use super::launch::{self, Adds, Gradients, InputGradient, SampledChunk, Sampling};
use super::layout::{PixelStrides, as_map, view};
use super::plan::{Plan, Scratch, alignment, most_parts};
use super::product::{GradientRows, Products, channels_last};
use super::reading::Reading;
use crate::ops::{DeformConvGradients, NeedsGrad};

/// What the gradients follow from.
pub(super) struct Backward<'a> {
    pub(super) sampling: Sampling<'a>,
    pub(super) x: &'a CubeTensor,
    pub(super) grad: &'a CubeTensor,
    pub(super) needs: NeedsGrad,
    /// How the input gradient is added up, if not as the device does it best.
    pub(super) forced_adds: Option<Adds>,
}

/// Memory of the results.
struct Results {
    x: Option<CubeTensor>,
    offset: Option<CubeTensor>,
    mask: Option<CubeTensor>,
    weight: Option<WeightGradient>,
}

/// Sum over the chunks, and the products of one.
struct WeightGradient {
    sum: CubeTensor,
    parts: CubeTensor,
}

/// Scratch memory of a call.
struct Memory {
    weight: CubeTensor,
    /// Column gradients of a chunk, and then its columns.
    columns: CubeTensor,
    /// Distance between rows of the output gradient as products read it.
    row: usize,
    /// A chunk's rows of it, if they are not read where they are.
    copy: Option<CubeTensor>,
}

impl Backward<'_> {
    /// The needed gradients.
    pub(super) fn run(&self, weight: CubeTensor) -> DeformConvGradients<CubeBackend> {
        let results = self.results();
        let any = self.through_columns() || self.needs.weight;
        if self.sampling.call.sizes.batch > 0 && any {
            self.fill(weight, &results);
        }
        self.finish(results)
    }

    /// Whether the gradients of the columns are needed.
    fn through_columns(&self) -> bool {
        self.needs.x || self.needs.offset || self.needs.mask
    }

    /// Whether the input gradient is added up where it is returned.
    fn in_place(&self) -> bool {
        launch::accumulator(self.sampling.call) == self.x.dtype
    }

    fn results(&self) -> Results {
        let Sampling { call, offset, mask } = self.sampling;
        let needs = self.needs;
        let like = |tensor: &CubeTensor| {
            let [b, c, h, w] = tensor.meta.shape().dims();
            let memory = call.buffer(b * c * h * w, call.dtype);
            view(&memory, 0, [b, c, h, w], [c * h * w, h * w, w, 1])
        };
        let map = call.sizes.batch * call.map_len();
        Results {
            x: needs.x.then(|| {
                if self.in_place() {
                    call.zeros(map, call.dtype)
                } else {
                    call.buffer(map, call.dtype)
                }
            }),
            offset: needs.offset.then(|| like(offset)),
            mask: mask.filter(|_| needs.mask).map(like),
            weight: needs.weight.then(|| WeightGradient {
                sum: call.zeros(call.weight_len(), call.wide()),
                parts: call.buffer(most_parts(call) * call.weight_len(), call.wide()),
            }),
        }
    }

    fn plan(&self, reading: Reading, row: Option<usize>) -> Plan {
        let call = self.sampling.call;
        let element = call.dtype.size();
        let accumulated = if self.needs.x && !self.in_place() {
            call.map_len() * launch::accumulator(call).size()
        } else {
            0
        };
        // The parts of the weight's gradient, and their sum if it is not what is returned.
        let sums = most_parts(call) + usize::from(call.wide() != call.dtype);
        let products = if self.needs.weight {
            sums * call.wide().size()
        } else {
            0
        };
        let scratch = Scratch {
            fixed: call.weight_len() * (element + products),
            image: reading.bytes(call) + accumulated,
            position: call.column_len() * element,
            copy: call.sizes.channels_out * element,
        };
        let alignment = row.map(|row| alignment(call, row * element));
        Plan::new(&call.sizes, call.options.column_budget, &scratch, alignment)
    }

    fn fill(&self, weight: CubeTensor, results: &Results) {
        let call = self.sampling.call;
        let reading = Reading::choose(self.x, call);
        let row = match call.options.weight_groups {
            1 => PixelStrides::row(self.grad),
            _ => None,
        };
        let plan = self.plan(reading, row);
        let memory = self.memory(weight, row, &plan);
        for images in plan.images() {
            let pixels = reading.pixels(self.x, &images, call);
            let accumulated = self.accumulated(results, &images);
            let gradients = Gradients {
                x: accumulated.as_ref(),
                offset: results.offset.as_ref(),
                mask: results.mask.as_ref(),
            };
            for chunk in plan.chunks(&images) {
                let sampled = SampledChunk {
                    sampling: self.sampling,
                    pixels: &pixels,
                    columns: &memory.columns,
                    positions: &chunk,
                };
                self.chunk(&memory, &sampled, &gradients, results.weight.as_ref());
            }
            // Every image is in one group, so its gradient is whole now.
            if let (Some(accumulated), Some(x)) = (&accumulated, &results.x)
                && !self.in_place()
            {
                let first = accumulated.first_image * call.map_len();
                launch::convert(call, &accumulated.rows, x, first);
            }
        }
    }

    fn memory(&self, weight: CubeTensor, row: Option<usize>, plan: &Plan) -> Memory {
        let call = self.sampling.call;
        let buffer = |len: usize| call.buffer(plan.chunk * len, call.dtype);
        let (row, copy) = match row {
            Some(row) if !plan.copied => (row, None),
            _ => (call.group_outputs(), Some(buffer(call.sizes.channels_out))),
        };
        Memory {
            weight: channels_last(weight),
            columns: buffer(call.column_len()),
            row,
            copy,
        }
    }

    /// The gradients of a chunk. The columns' memory holds their gradients first and then, if the
    /// weight gradient needs them, the columns.
    fn chunk(
        &self,
        memory: &Memory,
        sampled: &SampledChunk,
        gradients: &Gradients,
        weight: Option<&WeightGradient>,
    ) {
        let call = self.sampling.call;
        let rows = self.gradient_rows(memory, sampled.positions);
        let products = Products {
            call,
            columns: sampled.columns,
            chunk: sampled.positions,
        };
        if self.through_columns() {
            let after = match weight {
                Some(_) => ColumnsAfter::Samples,
                None => ColumnsAfter::Gradient,
            };
            products.column_gradients(&rows, &memory.weight);
            launch::backward(sampled, after, gradients, self.forced_adds);
        } else {
            launch::sample(sampled);
        }
        if let Some(WeightGradient { sum, parts }) = weight {
            let number = products.weight_gradient(&rows, parts);
            launch::add_parts(call, parts, sum, number);
        }
    }

    /// Memory that the input gradient of some images is added up in: zeros, because kernels add.
    fn accumulated(&self, results: &Results, images: &Range<usize>) -> Option<InputGradient> {
        let call = self.sampling.call;
        let x = results.x.as_ref()?;
        Some(if self.in_place() {
            InputGradient {
                rows: x.clone(),
                first_image: 0,
            }
        } else {
            InputGradient {
                rows: call.zeros(images.len() * call.map_len(), launch::accumulator(call)),
                first_image: images.start,
            }
        })
    }

    /// The output gradient of a chunk: where it is, or in a copy in weight groups.
    fn gradient_rows(&self, memory: &Memory, chunk: &Range<usize>) -> GradientRows {
        let call = self.sampling.call;
        let (tensor, first) = match &memory.copy {
            None => (self.grad.clone(), chunk.start * memory.row),
            Some(copy) => {
                launch::to_rows(self.grad, copy, chunk.clone(), call.group_outputs());
                (copy.clone(), 0)
            }
        };
        GradientRows {
            tensor,
            first,
            row: memory.row,
        }
    }

    fn finish(&self, results: Results) -> DeformConvGradients<CubeBackend> {
        let x = results
            .x
            .map(|rows| as_map(&rows, self.x.meta.shape().dims()));
        let weight = results.weight.map(|weight| self.as_weight(weight.sum));
        DeformConvGradients {
            x: x.into(),
            offset: results.offset.into(),
            weight: weight.into(),
            mask: results.mask.into(),
        }
    }

    /// The summed weight gradient in the type and shape of the weight.
    fn as_weight(&self, sum: CubeTensor) -> CubeTensor {
        let call = self.sampling.call;
        let sum = if sum.dtype == call.dtype {
            sum
        } else {
            let out = call.buffer(call.weight_len(), call.dtype);
            launch::convert(call, &sum, &out, 0);
            out
        };
        let [kernel_h, kernel_w] = call.sizes.kernel;
        let [channels_out, channels] = [call.sizes.channels_out, call.group_channels()];
        as_map(&sum, [channels_out, channels, kernel_h, kernel_w])
    }
}
