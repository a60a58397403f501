//! Arithmetic, and operators that move values.

use super::{Attribute, Element, Graph, Value};
use crate::proto::data_type;

/// A slice's end that is the end of every axis.
const TO_THE_END: i64 = i64::MAX;

/// An order of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// The largest first.
    Falling,
    /// The smallest first.
    Rising,
}

impl Graph {
    /// `a + b`, with broadcasting, as the three below.
    pub(crate) fn add(&mut self, a: &Value, b: &Value) -> Value {
        self.node("Add", &[a, b], vec![])
    }

    /// `a - b`.
    pub(crate) fn sub(&mut self, a: &Value, b: &Value) -> Value {
        self.node("Sub", &[a, b], vec![])
    }

    /// `a * b`.
    pub(crate) fn mul(&mut self, a: &Value, b: &Value) -> Value {
        self.node("Mul", &[a, b], vec![])
    }

    /// `a / b`.
    pub(crate) fn div(&mut self, a: &Value, b: &Value) -> Value {
        self.node("Div", &[a, b], vec![])
    }

    /// An operator of one input without options: `Relu`, `Sigmoid`, `Exp` and the like.
    pub(crate) fn unary(&mut self, operator: &str, x: &Value) -> Value {
        self.node(operator, &[x], vec![])
    }

    /// Values below `low` become `low`, values above `high` become `high`.
    pub(crate) fn clip(&mut self, x: &Value, low: Option<f32>, high: Option<f32>) -> Value {
        let mut limit = |limit: Option<f32>| match limit {
            Some(limit) => self.float(limit),
            None => Value::none(),
        };
        let (low, high) = (limit(low), limit(high));
        self.node("Clip", &[x, &low, &high], vec![])
    }

    /// Another shape: 0 keeps the length of the axis at its place, -1 takes what is left.
    pub(crate) fn reshape(&mut self, x: &Value, shape: &[i64]) -> Value {
        let shape = self.ints(shape);
        self.reshape_to(x, &shape)
    }

    /// Another shape that is computed.
    pub(crate) fn reshape_to(&mut self, x: &Value, shape: &Value) -> Value {
        self.node("Reshape", &[x, shape], vec![])
    }

    /// The axes in another order.
    pub(crate) fn transpose(&mut self, x: &Value, order: &[i64]) -> Value {
        let order = Attribute::Ints(order.to_vec());
        self.node("Transpose", &[x], vec![("perm", order)])
    }

    /// Several values one after the other along an axis; one stays as it is.
    pub(crate) fn concat(&mut self, parts: &[Value], axis: i64) -> Value {
        if let [only] = parts {
            return only.clone();
        }
        let parts: Vec<&Value> = parts.iter().collect();
        self.node("Concat", &parts, vec![("axis", Attribute::Int(axis))])
    }

    /// Every `step`th slice of an axis from `start` on, before `end`.
    pub(crate) fn slice(&mut self, x: &Value, axis: i64, range: [i64; 2], step: i64) -> Value {
        let [start, end, axis, step] = [range[0], range[1], axis, step].map(|i| self.ints(&[i]));
        self.node("Slice", &[x, &start, &end, &axis, &step], vec![])
    }

    /// Slices `start` and those `step` after one another, up to the end of the axis.
    pub(crate) fn every(&mut self, x: &Value, axis: i64, start: i64, step: i64) -> Value {
        self.slice(x, axis, [start, TO_THE_END], step)
    }

    /// The slices of an axis that `indices` name.
    pub(crate) fn gather(&mut self, x: &Value, indices: &Value, axis: i64) -> Value {
        let axis = vec![("axis", Attribute::Int(axis))];
        self.node("Gather", &[x, indices], axis)
    }

    /// [`gather`](Self::gather) of constant indices.
    pub(crate) fn pick(&mut self, x: &Value, indices: &[i64], axis: i64) -> Value {
        let indices = self.ints(indices);
        self.gather(x, &indices, axis)
    }

    /// Axes `from..to` of the shape of a value, i64.
    pub(crate) fn shape(&mut self, x: &Value, from: i64, to: i64) -> Value {
        let range = vec![("start", Attribute::Int(from)), ("end", Attribute::Int(to))];
        self.node("Shape", &[x], range)
    }

    /// The same values as another type.
    pub(crate) fn cast(&mut self, x: &Value, element: Element) -> Value {
        let to = match element {
            Element::Float => data_type::FLOAT,
            Element::Int64 => data_type::INT64,
        };
        self.node("Cast", &[x], vec![("to", Attribute::Int(to.into()))])
    }

    /// 0, 1, .. up to a count `[1]`, i64.
    pub(crate) fn count_up(&mut self, count: &Value) -> Value {
        let scalar = self.squeeze(count, 0);
        let (first, step) = (self.int(0), self.int(1));
        self.node("Range", &[&first, &scalar, &step], vec![])
    }

    /// Removes an axis of length 1.
    pub(crate) fn squeeze(&mut self, x: &Value, axis: i64) -> Value {
        let axes = self.ints(&[axis]);
        self.node("Squeeze", &[x, &axes], vec![])
    }

    /// Adds an axis of length 1.
    pub(crate) fn unsqueeze(&mut self, x: &Value, axis: i64) -> Value {
        let axes = self.ints(&[axis]);
        self.node("Unsqueeze", &[x, &axes], vec![])
    }

    /// A reduction such as `ReduceMin` over an axis, which stays with length 1.
    pub(crate) fn reduce(&mut self, operator: &str, x: &Value, axis: i64) -> Value {
        let axes = self.ints(&[axis]);
        self.node(operator, &[x, &axes], vec![])
    }

    /// The first `k` (`[1]`) values of a vector in this order, and their indices; of equal ones the
    /// first come first.
    pub(crate) fn top_k(&mut self, x: &Value, k: &Value, order: Order) -> [Value; 2] {
        let largest = match order {
            Order::Falling => 1,
            Order::Rising => 0,
        };
        let attributes = vec![
            ("axis", Attribute::Int(0)),
            ("largest", Attribute::Int(largest)),
            ("sorted", Attribute::Int(1)),
        ];
        self.nodes("TopK", &[x, k], attributes)
    }
}
