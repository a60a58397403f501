//! Builds a graph: nodes in the order of their making, constants once each.

mod layers;
mod ops;

use std::collections::HashSet;

use crate::proto::{
    AttributeProto, Dimension, DimensionValue, GraphProto, NodeProto, TensorProto,
    TensorShapeProto, TensorType, TypeProto, TypeValue, ValueInfoProto, attribute_type, data_type,
};

pub(crate) use layers::{DeformedInput, Resize, Window};
pub(crate) use ops::Order;

/// A tensor of the graph, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Value(String);

/// An option of an operator.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Attribute {
    Int(i64),
    Ints(Vec<i64>),
    Float(f32),
    Text(&'static str),
}

/// Element types of inputs and outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    Float,
    Int64,
}

/// The length of an axis of an input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Axis {
    Known(usize),
    Named(String),
}

/// An input or output as its users see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) element: Element,
    pub(crate) shape: Vec<Axis>,
    pub(crate) doc: String,
}

/// A graph that grows.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    graph: GraphProto,
    constants: HashSet<String>,
    scope: String,
}

impl Value {
    /// An optional input that is left out.
    pub(crate) fn none() -> Self {
        Self(String::new())
    }
}

impl Axis {
    pub(crate) fn named(name: impl Into<String>) -> Self {
        Self::Named(name.into())
    }
}

impl Graph {
    /// The part of the model whose name the nodes from here on have: a module path.
    pub(crate) fn enter(&mut self, scope: impl Into<String>) {
        self.scope = scope.into();
    }

    /// Adds a node with one output.
    pub(crate) fn node(
        &mut self,
        operator: &str,
        inputs: &[&Value],
        attributes: Vec<(&str, Attribute)>,
    ) -> Value {
        let [output] = self.nodes(operator, inputs, attributes);
        output
    }

    /// Adds a node with N outputs.
    pub(crate) fn nodes<const N: usize>(
        &mut self,
        operator: &str,
        inputs: &[&Value],
        attributes: Vec<(&str, Attribute)>,
    ) -> [Value; N] {
        // Numbered over the whole graph: names are unique whatever the scope.
        let name = format!("{}/{operator}_{}", self.scope, self.graph.node.len());
        let outputs: [Value; N] = std::array::from_fn(|i| match N {
            1 => Value(name.clone()),
            _ => Value(format!("{name}:{i}")),
        });
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|input| input.0.clone()).collect(),
            output: outputs.iter().map(|output| output.0.clone()).collect(),
            name,
            op_type: operator.to_owned(),
            attribute: attributes.into_iter().map(attribute).collect(),
        });
        outputs
    }

    /// The constant of that name, if there is one.
    pub(crate) fn constant(&self, name: &str) -> Option<Value> {
        let known = self.constants.contains(name);
        known.then(|| Value(name.to_owned()))
    }

    /// A constant f32 tensor; the one there is if the name is known.
    ///
    /// # Panics
    ///
    /// When the shape is not that of the values.
    pub(crate) fn tensor(&mut self, name: &str, shape: &[usize], values: &[f32]) -> Value {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        self.add_constant(name, shape, data_type::FLOAT, bytes.collect())
    }

    /// A constant f32 vector, named after its values.
    pub(crate) fn floats(&mut self, values: &[f32]) -> Value {
        self.tensor(&format!("f32{values:?}"), &[values.len()], values)
    }

    /// A constant f32 scalar.
    pub(crate) fn float(&mut self, value: f32) -> Value {
        self.tensor(&format!("f32 {value:?}"), &[], &[value])
    }

    /// A constant i64 vector, named after its values.
    pub(crate) fn ints(&mut self, values: &[i64]) -> Value {
        self.int_tensor(&format!("i64{values:?}"), &[values.len()], values)
    }

    /// A constant i64 scalar.
    pub(crate) fn int(&mut self, value: i64) -> Value {
        self.int_tensor(&format!("i64 {value}"), &[], &[value])
    }

    /// A constant i64 tensor; the one there is if the name is known.
    pub(crate) fn int_tensor(&mut self, name: &str, shape: &[usize], values: &[i64]) -> Value {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        self.add_constant(name, shape, data_type::INT64, bytes.collect())
    }

    fn add_constant(&mut self, name: &str, shape: &[usize], element: i32, bytes: Vec<u8>) -> Value {
        let size = if element == data_type::FLOAT { 4 } else { 8 };
        let count: usize = shape.iter().product();
        assert_eq!(bytes.len(), count * size, "`{name}` of shape {shape:?}");
        if self.constants.insert(name.to_owned()) {
            self.graph.initializer.push(TensorProto {
                dims: shape.iter().map(|length| *length as i64).collect(),
                data_type: element,
                name: name.to_owned(),
                raw_data: bytes,
            });
        }
        Value(name.to_owned())
    }

    /// Adds an input of the graph.
    pub(crate) fn input(&mut self, port: Port) -> Value {
        let value = Value(port.name.clone());
        self.graph.input.push(port.into_proto());
        value
    }

    /// Makes a value an output of the graph, under the name of the port.
    pub(crate) fn output(&mut self, value: &Value, port: Port) {
        self.graph.node.push(NodeProto {
            input: vec![value.0.clone()],
            output: vec![port.name.clone()],
            name: format!("{}/Identity", port.name),
            op_type: "Identity".to_owned(),
            attribute: Vec::new(),
        });
        self.graph.output.push(port.into_proto());
    }

    /// The finished graph.
    pub(crate) fn finish(self, name: &str) -> GraphProto {
        GraphProto {
            name: name.to_owned(),
            ..self.graph
        }
    }
}

fn attribute((name, value): (&str, Attribute)) -> AttributeProto {
    let named = AttributeProto {
        name: name.to_owned(),
        ..AttributeProto::default()
    };
    match value {
        Attribute::Int(value) => AttributeProto {
            i: Some(value),
            r#type: attribute_type::INT,
            ..named
        },
        Attribute::Ints(values) => AttributeProto {
            ints: values,
            r#type: attribute_type::INTS,
            ..named
        },
        Attribute::Float(value) => AttributeProto {
            f: Some(value),
            r#type: attribute_type::FLOAT,
            ..named
        },
        Attribute::Text(text) => AttributeProto {
            s: Some(text.as_bytes().to_vec()),
            r#type: attribute_type::STRING,
            ..named
        },
    }
}

impl Port {
    fn into_proto(self) -> ValueInfoProto {
        let dimension = |axis: Axis| Dimension {
            value: Some(match axis {
                Axis::Known(length) => DimensionValue::DimValue(length as i64),
                Axis::Named(name) => DimensionValue::DimParam(name),
            }),
        };
        let tensor = TensorType {
            elem_type: match self.element {
                Element::Float => data_type::FLOAT,
                Element::Int64 => data_type::INT64,
            },
            shape: Some(TensorShapeProto {
                dim: self.shape.into_iter().map(dimension).collect(),
            }),
        };
        ValueInfoProto {
            name: self.name,
            r#type: Some(TypeProto {
                value: Some(TypeValue::TensorType(tensor)),
            }),
            doc_string: self.doc,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(graph: &GraphProto) -> Vec<&str> {
        graph.node.iter().map(|node| node.name.as_str()).collect()
    }

    #[test]
    fn nodes_are_named_after_their_part() {
        let mut graph = Graph::default();
        let x = graph.float(1.0);
        graph.enter("neck");
        let y = graph.unary("Relu", &x);
        graph.enter("bbox_head.level0");
        let [_, _]: [Value; 2] = graph.nodes("TopK", &[&y, &x], vec![]);
        let graph = graph.finish("test");
        assert_eq!(names(&graph), ["neck/Relu_0", "bbox_head.level0/TopK_1"]);
        let outputs = ["bbox_head.level0/TopK_1:0", "bbox_head.level0/TopK_1:1"];
        assert_eq!(graph.node[1].output, outputs);
        assert_eq!(graph.node[1].input, ["neck/Relu_0", "f32 1.0"]);
    }

    #[test]
    fn equal_constants_are_one() {
        let mut graph = Graph::default();
        let first = graph.ints(&[1, -1]);
        assert_eq!(graph.ints(&[1, -1]), first);
        assert_ne!(graph.ints(&[1, 0]), first);
        assert_ne!(graph.int(1), graph.ints(&[1]));
        // A zero's sign matters to what divides by it.
        assert_ne!(graph.float(0.0), graph.float(-0.0));
        let constants = graph.finish("test").initializer;
        assert_eq!(constants.len(), 6);
        let bytes: Vec<u8> = [1_i64, -1].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(
            (&constants[0].dims, &constants[0].raw_data),
            (&vec![2], &bytes)
        );
    }

    #[test]
    fn options_that_are_0_are_written() {
        let mut graph = Graph::default();
        let x = graph.float(1.0);
        graph.node("Cast", &[&x], vec![("to", Attribute::Int(0))]);
        let graph = graph.finish("test");
        assert_eq!(graph.node[0].attribute[0].i, Some(0));
    }

    #[test]
    #[should_panic(expected = "`w` of shape [2, 2]")]
    fn constants_have_their_shape() {
        Graph::default().tensor("w", &[2, 2], &[0.0; 3]);
    }
}
