use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::kernels::gemm::testing::Algorithm;

const COLUMNS: Algorithm = Algorithm {
    forward,
    input_gradient,
    weight_gradient,
};

/// A kernel of 3 x 3 with a padding of 1.
fn three(batch: usize, channels: [usize; 2], input: [usize; 2]) -> ConvSizes {
    ConvSizes {
        batch,
        channels_in: channels[0],
        channels_out: channels[1],
        input,
        kernel: [3, 3],
        stride: [1, 1],
        padding: [1, 1],
        dilation: [1, 1],
        groups: 1,
    }
}

#[test]
fn equals_the_reference_for_any_sizes() {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    for seed in 0..300 {
        let mut any = |least: usize, most: usize| random.random_range(least..=most);
        let groups = if any(0, 3) == 0 { any(2, 5) } else { 1 };
        let sizes = ConvSizes {
            batch: any(1, 4),
            channels_in: any(1, 20) * groups,
            channels_out: any(1, 20) * groups,
            input: [any(1, 20), any(1, 40)],
            kernel: [any(1, 5), any(1, 5)],
            stride: [any(1, 3), any(1, 3)],
            padding: [any(0, 4), any(0, 4)],
            dilation: [any(1, 3), any(1, 3)],
            groups,
        };
        COLUMNS.check(sizes, seed);
    }
}

#[test]
fn equals_the_reference_for_usual_kernels() {
    let stem = ConvSizes {
        kernel: [7, 7],
        stride: [2, 2],
        padding: [3, 3],
        ..three(2, [3, 20], [33, 64])
    };
    let strided = |channels, input| ConvSizes {
        stride: [2, 2],
        ..three(2, channels, input)
    };
    let cases = [
        stem,
        three(2, [40, 33], [16, 16]),
        three(4, [100, 4], [3, 4]),
        three(1, [17, 64], [20, 48]),
        strided([32, 40], [32, 32]),
        strided([70, 20], [17, 35]),
        ConvSizes {
            padding: [2, 2],
            dilation: [2, 2],
            ..three(2, [20, 20], [14, 18])
        },
        ConvSizes {
            groups: 8,
            ..three(2, [32, 32], [12, 32])
        },
        ConvSizes {
            groups: 24,
            ..three(2, [24, 24], [12, 20])
        },
        ConvSizes {
            kernel: [1, 9],
            padding: [0, 4],
            ..three(2, [20, 18], [7, 30])
        },
        ConvSizes {
            kernel: [20, 17],
            padding: [9, 8],
            ..three(1, [2, 3], [20, 20])
        },
    ];
    for (seed, sizes) in (0..).zip(cases) {
        COLUMNS.check(sizes, seed);
    }
}

#[test]
fn equals_the_reference_for_few_outputs() {
    let grouped = |groups, channels: usize, input| ConvSizes {
        groups,
        ..three(2, [channels; 2], input)
    };
    let cases = [
        // Several strips, blocks of channels, and vectors that are not full.
        three(2, [130, 4], [40, 64]),
        three(1, [3, 1], [70, 47]),
        ConvSizes {
            kernel: [3, 7],
            padding: [1, 3],
            ..three(2, [5, 7], [30, 64])
        },
        grouped(6, 24, [34, 45]),
        grouped(3, 24, [20, 32]),
        grouped(2, 32, [16, 16]),
        ConvSizes {
            stride: [2, 2],
            ..grouped(4, 32, [33, 64])
        },
        ConvSizes {
            padding: [3, 3],
            dilation: [3, 3],
            ..grouped(4, 16, [20, 30])
        },
    ];
    for (seed, sizes) in (0..).zip(cases) {
        COLUMNS.check(sizes, seed);
    }
}

#[test]
fn a_kernel_larger_than_the_map_gives_zeros() {
    let sizes = ConvSizes {
        kernel: [5, 5],
        ..three(2, [4, 5], [2, 8])
    };
    assert_eq!(sizes.output_len(), 0);
    for stride in [[1, 1], [2, 2]] {
        COLUMNS.check(ConvSizes { stride, ..sizes }, 0);
    }
}

#[test]
fn threads_do_not_change_results() {
    let sizes = three(2, [30, 40], [40, 64]);
    COLUMNS.check_threads(sizes);
    COLUMNS.check_threads(ConvSizes {
        stride: [2, 2],
        ..sizes
    });
    COLUMNS.check_threads(ConvSizes { groups: 5, ..sizes });
    COLUMNS.check_threads(three(2, [100, 120], [6, 5]));
    COLUMNS.check_threads(three(2, [100, 3], [40, 64]));
}

#[test]
fn what_is_not_finite_shows() {
    let sizes = three(2, [6, 5], [7, 9]);
    for stride in [[1, 1], [2, 2], [3, 2]] {
        COLUMNS.check_not_finite(ConvSizes { stride, ..sizes });
    }
}
