//! Layers whose maps are narrower than their parameters.
//!
//! Parameters are `f32`. A layer computes in the type of its maps: it casts its parameters to that
//! type, and their gradients come back as `f32`. Where both have one type nothing is cast.

use burn::tensor::{DType, FloatDType, Tensor};

/// `x` in the type of `other`, with its gradient in its own.
///
/// # Shapes
///
/// Any shape in, the same shape out.
pub fn cast_like<const D: usize, const E: usize>(x: Tensor<D>, other: &Tensor<E>) -> Tensor<D> {
    x.cast(other.dtype())
}

/// `x` in `f32` where its type is narrower: for what `f16` has no range for (exponentials, squares)
/// or `bf16` no digits (means, coordinates).
///
/// # Shapes
///
/// Any shape in, the same shape out.
pub fn widen<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    match x.dtype() {
        DType::F16 | DType::BF16 => x.cast(FloatDType::F32),
        _ => x,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aweigh_testkit::device;

    #[test]
    fn gradients_come_back_in_the_type_of_the_parameter() {
        let device = device().autodiff();
        let parameter = Tensor::<1>::from_floats([1.0, 2.0, -3.0], &device).require_grad();
        for narrow in [DType::F16, DType::BF16] {
            let x = Tensor::<1>::from_floats([0.5, 4.0, 2.0], &device).cast(narrow);
            let y = cast_like(parameter.clone(), &x) * x;
            assert_eq!(y.dtype(), narrow);
            let y = widen(y);
            assert_eq!(y.dtype(), DType::F32);
            let gradient = parameter.grad(&y.sum().backward()).expect("a gradient");
            assert_eq!(gradient.dtype(), DType::F32, "{narrow:?}");
            let gradient: Vec<f32> = gradient.try_into_vec_as().expect("values");
            assert_eq!(gradient, [0.5, 4.0, 2.0], "{narrow:?}");
        }
    }

    #[test]
    fn wider_types_stay() {
        for wide in [DType::F32, DType::F64] {
            let x = Tensor::<1>::zeros([2], (&device(), wide));
            assert_eq!(widen(x).dtype(), wide);
        }
    }
}
