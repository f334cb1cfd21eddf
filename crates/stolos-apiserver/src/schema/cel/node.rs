//! Checked expressions, ready to be evaluated.

use std::sync::Arc;

use super::library::Function;
use super::types::Type;
use super::value::{Text, Value};

/// A checked expression.
pub(super) struct Node {
    /// Its place in the source.
    pub(super) id: u64,
    pub(super) type_: Type,
    pub(super) op: Op,
}

/// A value that is written in an expression.
pub(super) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Arc<str>),
    Bytes(Arc<[u8]>),
    /// Name of a type.
    Type(&'static str),
}

impl Literal {
    pub(super) fn value<'a>(&self) -> Value<'a> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::Int(*value),
            Self::Uint(value) => Value::Uint(*value),
            Self::Double(value) => Value::Double(*value),
            Self::String(text) => Value::String(Text::Shared(text.clone())),
            Self::Bytes(bytes) => Value::Bytes(bytes.clone()),
            Self::Type(name) => Value::Type(name),
        }
    }
}

/// What an expression does.
pub(super) enum Op {
    Constant(Literal),
    /// A variable that the caller of the expression gives.
    Variable(Arc<str>),
    /// A variable of a loop, by its place on the stack.
    Local(usize),
    Select {
        operand: Box<Node>,
        field: Arc<str>,
    },
    /// `has(operand.field)`.
    Has {
        operand: Box<Node>,
        field: Arc<str>,
    },
    /// `operand.?field`.
    SelectOptional {
        operand: Box<Node>,
        field: Arc<str>,
    },
    And(Box<[Node; 2]>),
    Or(Box<[Node; 2]>),
    Not(Box<Node>),
    NotStrictlyFalse(Box<Node>),
    Conditional(Box<[Node; 3]>),
    /// The first argument of a member call is its receiver.
    Call {
        function: &'static Function,
        is_member: bool,
        args: Vec<Node>,
    },
    /// Adds an element to the list that a loop gathers.
    Append {
        local: usize,
        list: Box<Node>,
    },
    /// Elements, and whether each is left out when absent.
    List(Vec<(Node, bool)>),
    Map(Vec<Entry>),
    Loop(Box<Loop>),
}

pub(super) struct Entry {
    pub(super) key: Node,
    pub(super) value: Node,
    /// Left out when the value is absent.
    pub(super) optional: bool,
}

/// A loop. Its variables lie on the stack in the order: gathered value, first, second variable.
pub(super) struct Loop {
    pub(super) range: Node,
    pub(super) has_two_variables: bool,
    /// Place of the gathered value on the stack.
    pub(super) local: usize,
    pub(super) initial: Node,
    pub(super) condition: Node,
    pub(super) step: Node,
    pub(super) result: Node,
}

impl Node {
    /// Returns the nodes below.
    pub(super) fn children(&self) -> Vec<&Self> {
        match &self.op {
            Op::Constant(_) | Op::Variable(_) | Op::Local(_) => Vec::new(),
            Op::Select { operand, .. }
            | Op::Has { operand, .. }
            | Op::SelectOptional { operand, .. }
            | Op::Not(operand)
            | Op::NotStrictlyFalse(operand)
            | Op::Append { list: operand, .. } => vec![&**operand],
            Op::And(sides) | Op::Or(sides) => sides.iter().collect(),
            Op::Conditional(parts) => parts.iter().collect(),
            Op::Call { args, .. } => args.iter().collect(),
            Op::List(items) => items.iter().map(|(item, _)| item).collect(),
            Op::Map(entries) => {
                entries.iter().flat_map(|entry| [&entry.key, &entry.value]).collect()
            }
            Op::Loop(loop_) => {
                vec![&loop_.range, &loop_.initial, &loop_.condition, &loop_.step, &loop_.result]
            }
        }
    }

    /// Visits the node and all below it.
    pub(super) fn walk<'n>(&'n self, visit: &mut impl FnMut(&'n Self)) {
        visit(self);
        for child in self.children() {
            child.walk(visit);
        }
    }
}

/// Returns how deep the deepest part of an expression is nested.
pub(super) fn depth(node: &Node) -> usize {
    1 + node.children().into_iter().map(depth).max().unwrap_or(0)
}
