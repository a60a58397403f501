//! Tensors in host memory.

use half::{bf16, f16};

/// A tensor of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Extents, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
    /// Its elements in row-major order.
    pub values: Values,
}

/// The elements of a [`Tensor`].
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Of a floating-point tensor of any width.
    Float(Vec<f32>),
    /// Integers or booleans, which no weight is: they are named in reports, and not kept.
    Integer,
}

/// How a file stores an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    F64,
    F32,
    F16,
    Bf16,
    Integer,
}

impl Tensor {
    /// A tensor of floating-point values.
    ///
    /// # Panics
    ///
    /// When there are more or fewer values than `shape` says.
    pub fn new(shape: Vec<usize>, values: Vec<f32>) -> Self {
        let count: usize = shape.iter().product();
        assert_eq!(count, values.len(), "values of a tensor of shape {shape:?}");
        let values = Values::Float(values);
        Self { shape, values }
    }

    /// A tensor of one value, as often as `shape` says.
    pub fn filled(shape: Vec<usize>, value: f32) -> Self {
        let count = shape.iter().product();
        Self::new(shape, vec![value; count])
    }

    /// The values, of a floating-point tensor.
    pub fn floats(&self) -> Option<&[f32]> {
        match &self.values {
            Values::Float(values) => Some(values),
            Values::Integer => None,
        }
    }

    /// How many values are infinite or not a number.
    pub fn non_finite(&self) -> usize {
        let values = self.floats().unwrap_or_default();
        values.iter().filter(|value| !value.is_finite()).count()
    }
}

impl Element {
    /// Bytes of one element; 0 for integers, which are not read.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Integer => 0,
        }
    }

    /// Little-endian bytes as values.
    pub(crate) fn decode(self, bytes: &[u8]) -> Values {
        fn all<const N: usize>(bytes: &[u8], read: fn([u8; N]) -> f32) -> Values {
            let (elements, _) = bytes.as_chunks::<N>();
            Values::Float(elements.iter().map(|element| read(*element)).collect())
        }
        match self {
            Self::F64 => all(bytes, |b| f64::from_le_bytes(b) as f32),
            Self::F32 => all(bytes, f32::from_le_bytes),
            Self::F16 => all(bytes, |b| f16::from_le_bytes(b).to_f32()),
            Self::Bf16 => all(bytes, |b| bf16::from_le_bytes(b).to_f32()),
            Self::Integer => Values::Integer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(element: Element, bytes: &[u8], expected: &[f32]) {
        assert_eq!(element.decode(bytes), Values::Float(expected.to_vec()));
    }

    #[test]
    fn every_width_becomes_f32() {
        check(Element::F64, &1.5f64.to_le_bytes(), &[1.5]);
        check(Element::F32, &(-2.25f32).to_le_bytes(), &[-2.25]);
        check(Element::F16, &[0x00, 0x3c, 0x00, 0xc0], &[1.0, -2.0]);
        check(Element::Bf16, &[0x80, 0x3f], &[1.0]);
        assert_eq!(Element::Integer.decode(&[1, 2, 3]), Values::Integer);
    }

    #[test]
    fn infinities_and_nan_are_counted() {
        let tensor = Tensor::new(vec![4], vec![1.0, f32::NAN, f32::INFINITY, -0.0]);
        assert_eq!(tensor.non_finite(), 2);
    }

    #[test]
    #[should_panic(expected = "shape [2, 2]")]
    fn a_shape_of_another_count_panics() {
        Tensor::new(vec![2, 2], vec![0.0; 3]);
    }
}
