//! The gradients of a call.

use std::ops::Range;

use burn_cubecl::{CubeBackend, tensor::CubeTensor};

use super::kernels::ColumnsAfter;
use super::launch::{self, Adds, Gradients, Sampling};
use super::layout::{PixelStrides, Pixels, Reading, as_map, view};
use super::optional;
use super::plan::{Plan, Scratch, granule, most_parts};
use super::product::{self, GradientRows};
use crate::ops::{DeformConvGradients, Wanted};

/// What the gradients follow from.
pub(super) struct Backward<'a> {
    pub(super) sampling: Sampling<'a>,
    pub(super) x: &'a CubeTensor,
    pub(super) grad: &'a CubeTensor,
    pub(super) wanted: Wanted,
    /// How the input gradient is added up, if not as the device does it best.
    pub(super) adds: Option<Adds>,
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

/// Rows of the accumulated input gradient, and the image that they start with.
type Accumulated = (CubeTensor, usize);

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
    /// The wanted gradients.
    pub(super) fn run(&self, weight: CubeTensor) -> DeformConvGradients<CubeBackend> {
        let results = self.results();
        let any = self.through_columns() || self.wanted.weight;
        if self.sampling.call.sizes.batch > 0 && any {
            self.fill(weight, &results);
        }
        self.finish(results)
    }

    /// Whether the gradients of the columns are needed.
    fn through_columns(&self) -> bool {
        self.wanted.x || self.wanted.offset || self.wanted.mask
    }

    /// Whether the input gradient is added up where it is returned.
    fn in_place(&self) -> bool {
        launch::accumulator(self.sampling.call) == self.x.dtype
    }

    fn results(&self) -> Results {
        let Sampling { call, offset, mask } = self.sampling;
        let wanted = self.wanted;
        let like = |tensor: &CubeTensor| {
            let [b, c, h, w] = tensor.meta.shape().dims();
            let memory = call.buffer(b * c * h * w, call.dtype);
            view(&memory, 0, [b, c, h, w], [c * h * w, h * w, w, 1])
        };
        let map = call.sizes.batch * call.map_len();
        Results {
            x: wanted.x.then(|| match self.in_place() {
                true => call.zeros(map, call.dtype),
                false => call.buffer(map, call.dtype),
            }),
            offset: wanted.offset.then(|| like(offset)),
            mask: mask.filter(|_| wanted.mask).map(like),
            weight: wanted.weight.then(|| WeightGradient {
                sum: call.zeros(call.weight_len(), call.wide()),
                parts: call.buffer(most_parts(call) * call.weight_len(), call.wide()),
            }),
        }
    }

    fn plan(&self, reading: Reading, row: Option<usize>) -> Plan {
        let call = self.sampling.call;
        let element = call.dtype.size();
        let accumulated = match self.wanted.x && !self.in_place() {
            true => call.map_len() * launch::accumulator(call).size(),
            false => 0,
        };
        // The parts of the weight's gradient, and their sum if it is not what is returned.
        let sums = most_parts(call) + usize::from(call.wide() != call.dtype);
        let products = match self.wanted.weight {
            true => sums * call.wide().size(),
            false => 0,
        };
        let scratch = Scratch {
            fixed: call.weight_len() * (element + products),
            image: reading.bytes(call) + accumulated,
            position: call.column_len() * element,
            copy: call.sizes.channels_out * element,
        };
        let granule = row.map(|row| granule(call, row * element));
        Plan::new(&call.sizes, call.options.column_budget, &scratch, granule)
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
                x: accumulated.as_ref().map(|(rows, image)| (rows, *image)),
                offset: results.offset.as_ref(),
                mask: results.mask.as_ref(),
            };
            for chunk in plan.chunks(&images) {
                let rows = self.gradient_rows(&memory, &chunk);
                self.differentiate(&memory, &pixels, &rows, &gradients, &chunk);
                if let Some(WeightGradient { sum, parts }) = &results.weight {
                    let columns = &memory.columns;
                    let number = product::weight_gradient(call, &rows, columns, parts, &chunk);
                    launch::add_parts(call, parts, sum, number);
                }
            }
            if let (Some((rows, image)), Some(x), false) =
                (&accumulated, &results.x, self.in_place())
            {
                launch::convert(call, rows, x, image * call.map_len());
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
            weight: product::channels_last(weight),
            columns: buffer(call.column_len()),
            row,
            copy,
        }
    }

    /// Everything of a chunk but the weight gradient, and the columns that one needs.
    fn differentiate(
        &self,
        memory: &Memory,
        pixels: &Pixels,
        rows: &GradientRows,
        gradients: &Gradients,
        chunk: &Range<usize>,
    ) {
        let columns = &memory.columns;
        if !self.through_columns() {
            return launch::sample(self.sampling, pixels, columns, chunk);
        }
        let after = match self.wanted.weight {
            true => ColumnsAfter::Samples,
            false => ColumnsAfter::Gradient,
        };
        product::column_gradients(self.sampling.call, rows, &memory.weight, columns, chunk);
        launch::backward(
            self.sampling,
            pixels,
            (columns, after),
            chunk,
            gradients,
            self.adds,
        );
    }

    /// Memory that the input gradient of some images is added up in.
    fn accumulated(&self, results: &Results, images: &Range<usize>) -> Option<Accumulated> {
        let call = self.sampling.call;
        let x = results.x.as_ref()?;
        Some(match self.in_place() {
            true => (x.clone(), 0),
            false => {
                let len = images.len() * call.map_len();
                (call.zeros(len, launch::accumulator(call)), images.start)
            }
        })
    }

    /// The output gradient of a chunk: where it is, or in a copy in weight groups.
    fn gradient_rows(&self, memory: &Memory, chunk: &Range<usize>) -> GradientRows {
        let call = self.sampling.call;
        let (tensor, first) = match &memory.copy {
            None => (self.grad.clone(), chunk.start * memory.row),
            Some(copy) => {
                launch::to_rows(call, self.grad, copy, chunk.clone(), call.group_outputs());
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
        let call = self.sampling.call;
        let [b, c, h, w] = self.x.meta.shape().dims();
        let weight = results.weight.map(|WeightGradient { sum, .. }| {
            let sum = match sum.dtype == call.dtype {
                true => sum,
                false => {
                    let out = call.buffer(call.weight_len(), call.dtype);
                    launch::convert(call, &sum, &out, 0);
                    out
                }
            };
            let [kernel_h, kernel_w] = call.sizes.kernel;
            let shape = [
                call.sizes.channels_out,
                call.group_channels(),
                kernel_h,
                kernel_w,
            ];
            as_map(&sum, shape)
        });
        DeformConvGradients {
            x: optional(results.x.map(|rows| as_map(&rows, [b, c, h, w]))),
            offset: optional(results.offset),
            weight: optional(weight),
            mask: optional(results.mask),
        }
    }
}
