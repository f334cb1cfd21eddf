//! What an expression can cost at most, given the largest values that the schema lets in.

use super::cost::{AUTHORIZATION, CALL, LIST, MAP, SELECT};
use super::node::{Literal, Loop, Node, Op};
use super::types::Type;
use crate::schema::{Schema, SchemaRef, Type as Shape};

/// Most bytes of a request, which bounds what has no bound of its own.
const MAX_REQUEST_BYTES: u64 = 3 << 20;

/// Estimates an expression whose variables `self` and `oldSelf` have a schema.
pub(in crate::schema) fn estimate(root: &Node, schema: &SchemaRef) -> u64 {
    let mut estimator = Estimator { schema, locals: Vec::new() };
    estimator.node(root).cost
}

/// Returns how often values of a schema can occur in one object that nothing else bounds.
pub(in crate::schema) fn most_occurrences(schema: &Schema) -> u64 {
    MAX_REQUEST_BYTES / (least_bytes(schema) + 1)
}

/// Returns how many bytes a value takes at least when it is written as JSON.
pub(in crate::schema) fn least_bytes(schema: &Schema) -> u64 {
    match schema.type_ {
        Shape::Object => {
            let required = schema.required.iter().filter_map(|name| {
                let node = schema.properties.get(name)?;
                let has_default = node.default.is_some();
                (!has_default).then(|| name.len() as u64 + 4 + least_bytes(node))
            });
            2 + required.sum::<u64>()
        }
        Shape::String | Shape::Array => 2,
        Shape::Boolean => 4,
        Shape::Integer | Shape::Number | Shape::IntOrString | Shape::Any => 1,
    }
}

/// Returns how many elements, entries or bytes a value has at most.
fn most_elements(schema: &Schema) -> u64 {
    let constraints = schema.constraints.as_ref();
    match schema.type_ {
        Shape::Array => constraints.and_then(|known| known.max_items).unwrap_or_else(|| {
            let element = schema.items.as_ref().map_or(1, |items| least_bytes(items));
            (MAX_REQUEST_BYTES - 2) / (element + 1)
        }),
        Shape::Object => constraints.and_then(|known| known.max_properties).unwrap_or_else(|| {
            let value = schema.additional_properties.as_ref().map_or(1, |node| least_bytes(node));
            (MAX_REQUEST_BYTES - 2) / (value + 6)
        }),
        Shape::String => most_bytes(schema),
        Shape::IntOrString | Shape::Any => MAX_REQUEST_BYTES - 2,
        Shape::Boolean | Shape::Integer | Shape::Number => 1,
    }
}

/// A character takes at most four bytes.
fn most_bytes(schema: &Schema) -> u64 {
    let constraints = schema.constraints.as_ref();
    if let Some(most) = constraints.and_then(|known| known.max_length) {
        return most.saturating_mul(4);
    }
    let longest = constraints.and_then(|known| {
        known
            .enumeration
            .iter()
            .filter_map(|value| value.as_str())
            .map(|text| text.len() as u64)
            .max()
    });
    longest.unwrap_or(match schema.format.as_deref() {
        Some("duration") => 36,
        Some("date") => 12,
        Some("date-time") => 27,
        _ => MAX_REQUEST_BYTES - 2,
    })
}

/// What is known of a part of an expression.
#[derive(Clone, Debug)]
struct Estimate {
    cost: u64,
    /// Elements, entries or bytes of its value at most.
    size: u64,
    /// Where its value comes from.
    origin: Option<Origin>,
}

#[derive(Clone, Debug)]
enum Origin {
    /// A value of a schema.
    Schema(SchemaRef),
    /// The key of a map, or a text that nothing bounds.
    Key,
    /// A list whose elements come from somewhere.
    ListOf(Box<Estimate>),
}

impl Estimate {
    fn of(schema: &SchemaRef) -> Self {
        Self { cost: 0, size: most_elements(schema), origin: Some(Origin::Schema(schema.clone())) }
    }

    fn unknown(type_: &Type) -> Self {
        let size = match type_ {
            Type::Bool
            | Type::Int
            | Type::Uint
            | Type::Double
            | Type::Null
            | Type::TypeOf(_)
            | Type::Duration
            | Type::Timestamp
            | Type::Opaque(_) => 1,
            _ => MAX_REQUEST_BYTES,
        };
        Self { cost: 0, size, origin: None }
    }

    fn costing(self, cost: u64) -> Self {
        Self { cost, ..self }
    }

    fn sized(cost: u64, size: u64) -> Self {
        Self { cost, size, origin: None }
    }

    /// Returns what is known of the elements of a list or the values of a map.
    fn element(&self, type_: &Type) -> Self {
        match &self.origin {
            Some(Origin::Schema(schema)) => {
                let node = schema.items.as_ref().or(schema.additional_properties.as_ref());
                node.map_or_else(|| Self::unknown(type_), Self::of)
            }
            Some(Origin::ListOf(element)) => Self::clone(element),
            Some(Origin::Key) | None => Self::unknown(type_),
        }
    }
}

struct Estimator<'e> {
    schema: &'e SchemaRef,
    locals: Vec<Estimate>,
}

impl Estimator<'_> {
    fn node(&mut self, node: &Node) -> Estimate {
        match &node.op {
            Op::Constant(literal) => Estimate::sized(0, literal_size(literal)),
            Op::Variable(name) => {
                let known = match &**name {
                    "self" | "oldSelf" => Estimate::of(self.schema),
                    _ => Estimate::unknown(&node.type_),
                };
                known.costing(SELECT)
            }
            Op::Local(place) => match self.locals.get(*place) {
                Some(local) => local.clone().costing(SELECT),
                None => Estimate::unknown(&node.type_).costing(SELECT),
            },
            Op::Select { operand, field } | Op::SelectOptional { operand, field } => {
                let operand = self.node(operand);
                let cost = operand.cost.saturating_add(SELECT);
                field_of(&operand, field, &node.type_).costing(cost)
            }
            Op::Has { .. } => Estimate::sized(0, 1),
            Op::And(sides) | Op::Or(sides) => {
                let cost = sides.iter().map(|side| self.node(side).cost);
                Estimate::sized(cost.fold(0, u64::saturating_add), 1)
            }
            Op::Not(operand) | Op::NotStrictlyFalse(operand) => {
                let cost = self.node(operand).cost.saturating_add(CALL);
                Estimate::sized(cost, 1)
            }
            Op::Conditional(parts) => {
                let [test, yes, no] = &**parts;
                let (test, yes, no) = (self.node(test), self.node(yes), self.node(no));
                let cost = test.cost.saturating_add(yes.cost.max(no.cost));
                let size = yes.size.max(no.size);
                Estimate { cost, size, origin: yes.origin.or(no.origin) }
            }
            Op::Call { function, args, .. } => {
                let is_text = args.first().is_some_and(|first| first.type_ == Type::String);
                let args: Vec<Estimate> = args.iter().map(|arg| self.node(arg)).collect();
                // What lists and texts have in common costs differently.
                let name = match function.name {
                    "indexOf" | "lastIndexOf" if is_text => "charAt",
                    name => name,
                };
                call(name, &args, &node.type_)
            }
            Op::Append { list, .. } => {
                let added = self.node(list);
                Estimate { cost: added.cost.saturating_add(SELECT + CALL), ..added }
            }
            Op::List(items) => {
                let items: Vec<Estimate> = items.iter().map(|(item, _)| self.node(item)).collect();
                let cost = items.iter().map(|item| item.cost).fold(LIST, u64::saturating_add);
                let size = items.len() as u64;
                let largest = items.into_iter().max_by_key(|item| item.size);
                let origin = largest.map(|element| Origin::ListOf(Box::new(element.costing(0))));
                Estimate { cost, size, origin }
            }
            Op::Map(entries) => {
                let costs = entries.iter().map(|entry| {
                    self.node(&entry.key).cost.saturating_add(self.node(&entry.value).cost)
                });
                Estimate::sized(costs.fold(MAP, u64::saturating_add), entries.len() as u64)
            }
            Op::Loop(loop_) => self.loop_(loop_, &node.type_),
        }
    }

    fn loop_(&mut self, loop_: &Loop, type_: &Type) -> Estimate {
        let range = self.node(&loop_.range);
        let initial = self.node(&loop_.initial);
        let cost = range.cost.saturating_add(initial.cost);
        let (first, second) = match &loop_.range.type_ {
            Type::Map(_, value) => {
                // Upstream gives keys no length, so that rules over keys cost as much as there are keys.
                let key = Estimate { origin: Some(Origin::Key), ..Estimate::sized(0, 0) };
                (key, range.element(value))
            }
            Type::List(element) if loop_.has_two_variables => {
                (Estimate::sized(0, 1), range.element(element))
            }
            Type::List(element) => (range.element(element), Estimate::sized(0, 1)),
            other => (Estimate::unknown(other), Estimate::unknown(other)),
        };
        let depth = self.locals.len();
        let n_rounds = range.size;
        self.locals.push(initial.clone().costing(0));
        self.locals.extend([first, second]);
        if !loop_.has_two_variables {
            self.locals.truncate(depth + 2);
        }
        let condition = self.node(&loop_.condition);
        let step = self.node(&loop_.step);
        self.locals.truncate(depth + 1);
        let gathers = matches!(type_, Type::List(_) | Type::Map(..)) && n_rounds > 0;
        if gathers {
            // Each round adds one element at most.
            self.locals[depth] = Estimate { cost: 0, size: n_rounds, origin: step.origin.clone() };
        }
        let result = self.node(&loop_.result);
        self.locals.truncate(depth);
        let each = condition.cost.saturating_add(step.cost);
        let total = cost.saturating_add(n_rounds.saturating_mul(each)).saturating_add(result.cost);
        result.costing(total)
    }
}

fn field_of(operand: &Estimate, field: &str, type_: &Type) -> Estimate {
    let Some(Origin::Schema(schema)) = &operand.origin else { return Estimate::unknown(type_) };
    let name = super::names::unescape(field);
    let node = schema.properties.get(&name).or(schema.additional_properties.as_ref());
    match node {
        // Names of objects are bounded whatever the schema says.
        Some(_) if name == "metadata" => Estimate::sized(0, 2),
        Some(node) => Estimate::of(node),
        None => Estimate::unknown(type_),
    }
}

fn literal_size(literal: &Literal) -> u64 {
    match literal {
        Literal::String(text) => text.len() as u64,
        Literal::Bytes(bytes) => bytes.len() as u64,
        _ => 1,
    }
}

fn tenth(size: u64) -> u64 {
    size.div_ceil(10)
}

fn call(name: &str, args: &[Estimate], type_: &Type) -> Estimate {
    let own = args.iter().map(|arg| arg.cost).fold(0, u64::saturating_add);
    let first = args.first().map_or(0, |arg| arg.size);
    let second = args.get(1).map_or(0, |arg| arg.size);
    let (cost, size) = cost_and_size(name, args, first, second);
    let mut result = match size {
        Some(size) => Estimate::sized(0, size),
        None => Estimate::unknown(type_),
    };
    result.origin = match (name, args.first()) {
        ("_+_", Some(left)) => left.origin.clone(),
        ("_[_]" | "_[?_]" | "value" | "orValue" | "or" | "optional.of" | "dyn", Some(operand)) => {
            let element =
                if name.starts_with("_[") { operand.element(type_) } else { operand.clone() };
            result.size = element.size;
            element.origin
        }
        _ => None,
    };
    result.costing(own.saturating_add(cost))
}

/// Returns what a call itself costs, and how large its result is if that is known.
fn cost_and_size(name: &str, args: &[Estimate], first: u64, second: u64) -> (u64, Option<u64>) {
    match name {
        "check" => (AUTHORIZATION, None),
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => {
            let element = match args.first().and_then(|list| list.origin.as_ref()) {
                Some(Origin::ListOf(element)) => element.size,
                Some(Origin::Schema(schema)) => {
                    schema.items.as_ref().map_or(1, |items| most_elements(items))
                }
                Some(Origin::Key) | None => 1,
            };
            (first.saturating_mul(1 + tenth(element)), None)
        }
        "lowerAscii" | "upperAscii" | "substring" | "trim" => (tenth(first), Some(first)),
        "replace" => {
            let longest = args.get(2).map_or(1, |arg| arg.size.max(1));
            (tenth(first.saturating_mul(2)), Some(first.saturating_add(1).saturating_mul(longest)))
        }
        "split" => (tenth(first.saturating_mul(2)), Some(first)),
        "join" => {
            let element = match args.first().and_then(|list| list.origin.as_ref()) {
                Some(Origin::ListOf(element)) => element.size,
                Some(Origin::Schema(schema)) => {
                    schema.items.as_ref().map_or(1, |items| most_elements(items))
                }
                Some(Origin::Key) | None => 1,
            };
            let size = first.saturating_mul(element.saturating_add(second));
            (tenth(size), Some(size))
        }
        "matches" => (tenth(first.saturating_add(1)).saturating_mul(second.div_ceil(4)), None),
        "find" | "findAll" => {
            (tenth(first.saturating_add(1)).saturating_mul(second.div_ceil(4)), Some(first))
        }
        "url" | "isURL" | "cidr" | "isIP" | "isCIDR" | "ip" | "quantity" | "isQuantity"
        | "semver" | "isSemver" | "validate" => (tenth(first).max(CALL), None),
        "charAt" => (tenth(first), Some(1)),
        "ip.isCanonical" => (tenth(first.saturating_mul(2)), None),
        "bytes" | "string" => (tenth(first).max(CALL), Some(first)),
        "format" | "strings.quote" => (tenth(first), Some(first.saturating_mul(2))),
        "startsWith" | "endsWith" => (tenth(second), None),
        "contains" => (tenth(first).saturating_mul(tenth(second)), None),
        "@in" => (second, None),
        "_==_" | "_!=_" | "_<_" | "_<=_" | "_>_" | "_>=_" => {
            (tenth(first.min(second)).max(CALL), None)
        }
        "_+_" => {
            let size = first.saturating_add(second);
            (if size > 2 { tenth(size) } else { CALL }, Some(size))
        }
        "sets.contains" | "sets.intersects" => (CALL + first.saturating_mul(second), None),
        "sets.equivalent" => (CALL + first.saturating_mul(second).saturating_mul(2), None),
        "optional.none" => (CALL, Some(0)),
        _ => (CALL, None),
    }
}
