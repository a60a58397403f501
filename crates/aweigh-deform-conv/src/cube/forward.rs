//! The output of a call.

use burn_cubecl::tensor::CubeTensor;

use super::launch::{self, SampledChunk, Sampling};
use super::layout::as_map;
use super::plan::{Plan, Scratch, alignment};
use super::product::{OutputRows, Products, channels_last};
use super::reading::Reading;

/// `[B, C_out, H', W']`, with its channels last in memory, as those of Burn's convolutions.
pub(super) fn run(sampling: Sampling, x: &CubeTensor, weight: CubeTensor) -> CubeTensor {
    let call = sampling.call;
    let sizes = &call.sizes;
    let element = call.dtype.size();
    let row = sizes.channels_out * element;
    let out = call.buffer(
        sizes.batch * sizes.positions() * sizes.channels_out,
        call.dtype,
    );
    let [height, width] = sizes.output;
    let shape = [sizes.batch, sizes.channels_out, height, width];
    if sizes.batch == 0 {
        return as_map(&out, shape);
    }
    let weight = channels_last(weight);
    let reading = Reading::choose(x, call);
    let scratch = Scratch {
        fixed: call.weight_len() * element,
        image: reading.bytes(call),
        position: call.column_len() * element,
        copy: row,
    };
    let alignment = (call.options.weight_groups == 1).then(|| alignment(call, row));
    let plan = Plan::new(sizes, call.options.column_budget, &scratch, alignment);
    let columns = call.buffer(plan.chunk * call.column_len(), call.dtype);
    let copy = plan
        .copied
        .then(|| call.buffer(plan.chunk * sizes.channels_out, call.dtype));
    let outputs = OutputRows {
        rows: &out,
        copy: copy.as_ref(),
    };
    for images in plan.images() {
        let pixels = reading.pixels(x, &images, call);
        for chunk in plan.chunks(&images) {
            launch::sample(&SampledChunk {
                sampling,
                pixels: &pixels,
                columns: &columns,
                positions: &chunk,
            });
            let products = Products {
                call,
                columns: &columns,
                chunk: &chunk,
            };
            products.outputs(&weight, outputs);
        }
    }
    as_map(&out, shape)
}
