//! Maps of several sizes that go through the same layers: the levels of a pyramid.

use burn::nn::conv::Conv2d;
use burn::tensor::Tensor;

use crate::activation::Activation;
use crate::choice::{Algorithm, algorithm, is_ours};
use crate::convolution::{Conv2dOptions, conv2d, dispatch, sizes_of};
use crate::norm::{self, GroupNorm, group_norm};
use crate::precision::cast_like;

/// Maps `[B, C, H_l, W_l]` of every level of a pyramid.
///
/// On the CPU they lie one after another in one tensor, and a layer is one operator for all levels:
/// it transforms its weights once, and the small maps of the upper levels share the work of the
/// large ones. Elsewhere, or where sums must be [exact](Algorithm::Exact), each level is on its own.
#[derive(Debug, Clone)]
pub struct Levels(Places);

#[derive(Debug, Clone)]
enum Places {
    Apart(Vec<Tensor<4>>),
    Together(Box<Together>),
}

/// Maps one after another.
#[derive(Debug, Clone)]
struct Together {
    values: Tensor<1>,
    /// `[B, C, H, W]` of each level.
    shapes: Vec<[usize; 4]>,
}

impl Together {
    fn into_levels(self) -> Levels {
        Levels(Places::Together(Box::new(self)))
    }
}

impl Levels {
    /// The levels with these maps.
    pub fn new(maps: Vec<Tensor<4>>) -> Self {
        let together = maps.len() > 1 && maps.iter().all(is_ours) && algorithm() == Algorithm::Fast;
        if !together {
            return Self(Places::Apart(maps));
        }
        let shapes = maps.iter().map(Tensor::dims).collect();
        let flat = maps.into_iter().map(|map| map.flatten::<1>(0, 3)).collect();
        let values = Tensor::cat(flat, 0);
        Together { values, shapes }.into_levels()
    }

    /// The map of each level.
    pub fn into_maps(self) -> Vec<Tensor<4>> {
        match self.0 {
            Places::Apart(maps) => maps,
            Places::Together(together) => {
                let Together { values, shapes } = *together;
                let mut at = 0;
                let map = |shape: [usize; 4]| {
                    let len = shape.iter().product::<usize>();
                    at += len;
                    values.clone().narrow(0, at - len, len).reshape(shape)
                };
                shapes.into_iter().map(map).collect()
            }
        }
    }
}

/// A map, or the maps of several levels, that layers are applied to.
///
/// # Shapes
///
/// Those of the functions, for every map.
///
/// # Panics
///
/// As the functions do.
pub trait Maps: Sized {
    /// [`conv2d`] of every map.
    fn conv2d(self, weight: Tensor<4>, bias: Option<Tensor<1>>, options: Conv2dOptions) -> Self;

    /// [`group_norm`] of every map.
    fn group_norm(self, weight: Tensor<1>, bias: Tensor<1>, norm: GroupNorm) -> Self;

    /// `f` of every map.
    fn each(self, f: impl FnMut(Tensor<4>) -> Tensor<4>) -> Self;
}

/// [`conv2d`] with the parameters and options of a module, in place of its own `forward`.
///
/// # Shapes
///
/// As [`conv2d`]'s, for every map.
///
/// # Panics
///
/// When the shapes do not fit each other, or the padding depends on the map (`Same`).
pub fn convolve<M: Maps>(conv: &Conv2d, x: M, activation: Activation) -> M {
    let bias = conv.bias.as_ref().map(|bias| bias.val());
    x.conv2d(conv.weight.val(), bias, Conv2dOptions::of(conv, activation))
}

impl Maps for Tensor<4> {
    fn conv2d(self, weight: Tensor<4>, bias: Option<Tensor<1>>, options: Conv2dOptions) -> Self {
        conv2d(self, weight, bias, options)
    }

    fn group_norm(self, weight: Tensor<1>, bias: Tensor<1>, norm: GroupNorm) -> Self {
        group_norm(self, weight, bias, norm)
    }

    fn each(self, mut f: impl FnMut(Tensor<4>) -> Tensor<4>) -> Self {
        f(self)
    }
}

impl Maps for Levels {
    fn each(self, f: impl FnMut(Tensor<4>) -> Tensor<4>) -> Self {
        Self::new(self.into_maps().into_iter().map(f).collect())
    }

    fn conv2d(self, weight: Tensor<4>, bias: Option<Tensor<1>>, options: Conv2dOptions) -> Self {
        let Together { values, shapes } = match self.0 {
            Places::Together(together) => *together,
            Places::Apart(maps) => {
                // Once for all levels.
                let weight = match maps.first() {
                    Some(x) => cast_like(weight, x),
                    None => weight,
                };
                let conv = |x| conv2d(x, weight.clone(), bias.clone(), options.clone());
                return Self(Places::Apart(maps.into_iter().map(conv).collect()));
            }
        };
        let sizes = shapes
            .iter()
            .map(|shape| sizes_of(*shape, &weight, &options.conv));
        let sizes: Option<Vec<_>> = sizes.collect();
        let Some(sizes) = sizes else {
            let levels = Together { values, shapes }.into_levels();
            return levels.each(|x| conv2d(x, weight.clone(), bias.clone(), options.clone()));
        };
        let shape = |sizes: &crate::ConvSizes| {
            let [height, width] = sizes.output();
            [sizes.batch, sizes.channels_out, height, width]
        };
        let shapes = sizes.iter().map(shape).collect();
        let values = dispatch(values, weight, bias, options.call(sizes));
        Together { values, shapes }.into_levels()
    }

    fn group_norm(self, weight: Tensor<1>, bias: Tensor<1>, norm: GroupNorm) -> Self {
        let Together { values, shapes } = match self.0 {
            Places::Together(together) => *together,
            Places::Apart(maps) => {
                let norm = |x| group_norm(x, weight.clone(), bias.clone(), norm);
                return Self(Places::Apart(maps.into_iter().map(norm).collect()));
            }
        };
        let call = norm.call(shapes.clone());
        let (values, _) = norm::dispatch(values, weight, bias, call);
        Together { values, shapes }.into_levels()
    }
}
