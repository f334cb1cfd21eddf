//! Finds names in an expression that cannot exist, and types that cannot meet, before it is ever evaluated.
//!
//! It knows the types that schemas declare and those of the standard functions; everything else is dynamic. What it lets
//! pass may still fail when evaluated, and then fails the rule. It also counts the steps that the largest values would
//! take, so that no rule can occupy the server.

use std::fmt;

use ::cel::IdedExpr;
use ::cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, SelectExpr, operators,
};

use super::{Fields, library, values};
use crate::schema::{Schema, SchemaRef, Type};

/// Type of an expression, as far as it is known.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Bool,
    Int,
    Double,
    String,
    Bytes,
    Null,
    /// Elements, and how many there are at most.
    List(Box<Kind>, u64),
    /// Values, and how many there are at most.
    Map(Box<Kind>, u64),
    Object(SchemaRef),
    Dyn,
}

/// What an expression reads, and what it costs.
#[derive(Clone, Debug, Default)]
pub(super) struct Uses {
    pub(super) old_self: bool,
    /// Steps that the largest values would take.
    pub(super) steps: u64,
    /// Fields of `self` and `oldSelf`; none if either is read as a whole.
    pub(super) fields: Fields,
}

/// Checks an expression over `self` and `oldSelf` of a schema; returns its type and what it reads.
pub(super) fn check(
    expression: &IdedExpr,
    schema: &SchemaRef,
    optional_old_self: bool,
) -> Result<(Kind, Uses), String> {
    let this = Kind::of(schema);
    let old = if optional_old_self { Kind::Dyn } else { this.clone() };
    let scope = vec![("self".to_owned(), this), ("oldSelf".to_owned(), old)];
    let uses = Uses { fields: Some(std::collections::BTreeSet::new()), ..Uses::default() };
    let mut checker = Checker { scope, uses, repeats: 1 };
    let kind = checker.expression(expression)?;
    Ok((kind, checker.uses))
}

struct Checker {
    /// Variables, innermost last; the first two are `self` and `oldSelf`.
    scope: Vec<(String, Kind)>,
    uses: Uses,
    /// How often the enclosing loops go round at most.
    repeats: u64,
}

impl Checker {
    fn expression(&mut self, expression: &IdedExpr) -> Result<Kind, String> {
        self.uses.steps = self.uses.steps.saturating_add(self.repeats);
        match &expression.expr {
            Expr::Unspecified => Ok(Kind::Dyn),
            Expr::Literal(literal) => Ok(Kind::of_literal(literal)),
            Expr::Ident(name) => {
                if name == "self" || name == "oldSelf" {
                    self.uses.fields = None;
                }
                self.variable(name)
            }
            Expr::Select(select) => self.select(select),
            Expr::Call(call) => self.call(call),
            Expr::List(list) => {
                let mut element = Kind::Dyn;
                for (index, item) in list.elements.iter().enumerate() {
                    let kind = self.expression(item)?;
                    element = if index == 0 { kind } else { element.join(kind) };
                }
                Ok(Kind::List(Box::new(element), list.elements.len() as u64))
            }
            Expr::Map(map) => {
                let mut values = None;
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        self.expression(&entry.key)?;
                        let kind = self.expression(&entry.value)?;
                        values = Some(values.map_or(kind.clone(), |known: Kind| known.join(kind)));
                    }
                }
                Ok(Kind::Map(Box::new(values.unwrap_or(Kind::Dyn)), map.entries.len() as u64))
            }
            Expr::Struct(literal) => {
                Err(format!("undeclared reference to '{}' (in container '')", literal.type_name))
            }
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
        }
    }

    fn variable(&mut self, name: &str) -> Result<Kind, String> {
        self.uses.old_self |= name == "oldSelf";
        if let Some((_, kind)) = self.scope.iter().rev().find(|(variable, _)| variable == name) {
            return Ok(kind.clone());
        }
        if library::TYPES.contains(&name) {
            return Ok(Kind::Dyn);
        }
        Err(format!("undeclared reference to '{name}' (in container '')"))
    }

    fn select(&mut self, select: &SelectExpr) -> Result<Kind, String> {
        let operand = match &select.operand.expr {
            Expr::Ident(name) if name == "self" || name == "oldSelf" => {
                if let Some(fields) = &mut self.uses.fields {
                    fields.insert(select.field.clone());
                }
                self.variable(name)?
            }
            _ => self.expression(&select.operand)?,
        };
        let field = operand.field(&select.field)?;
        Ok(if select.test { Kind::Bool } else { field })
    }

    fn call(&mut self, call: &CallExpr) -> Result<Kind, String> {
        let name = call.func_name.as_str();
        if let Some(target) = &call.target
            && let Expr::Ident(namespace) = &target.expr
            && !self.scope.iter().any(|(variable, _)| variable == namespace)
        {
            let qualified = format!("{namespace}.{name}");
            if !library::is_function(&qualified) {
                return Err(format!("undeclared reference to '{qualified}' (in container '')"));
            }
            self.arguments(&call.args)?;
            return Ok(library::result_of(&qualified, &[]));
        }
        if !library::is_function(name) {
            return Err(format!("undeclared reference to '{name}' (in container '')"));
        }
        let mut kinds = match &call.target {
            Some(target) => vec![self.expression(target)?],
            None => Vec::new(),
        };
        kinds.extend(self.arguments(&call.args)?);
        if name == operators::INDEX {
            return Ok(kinds[0].element());
        }
        if !library::accepts(name, call.target.is_some(), &kinds) {
            let texts: Vec<String> = kinds.iter().map(Kind::to_string).collect();
            return Err(format!(
                "found no matching overload for '{name}' applied to '({})'",
                texts.join(", ")
            ));
        }
        Ok(library::result_of(name, &kinds))
    }

    fn arguments(&mut self, arguments: &[IdedExpr]) -> Result<Vec<Kind>, String> {
        arguments.iter().map(|argument| self.expression(argument)).collect()
    }

    fn comprehension(&mut self, loop_: &ComprehensionExpr) -> Result<Kind, String> {
        let range = self.expression(&loop_.iter_range)?;
        let (first, second, most) = match &range {
            Kind::List(element, most) => (Kind::clone(element), Kind::clone(element), *most),
            Kind::Map(value, most) => (Kind::String, Kind::clone(value), *most),
            Kind::Dyn => (Kind::Dyn, Kind::Dyn, MAX_REQUEST_BYTES / 2),
            other => {
                return Err(format!(
                    "expression of type '{other}' cannot be range of a comprehension"
                ));
            }
        };
        let initial = self.expression(&loop_.accu_init)?;
        let depth = self.scope.len();
        match &loop_.iter_var2 {
            None => self.scope.push((loop_.iter_var.clone(), first)),
            Some(name) => {
                let index = if matches!(range, Kind::List(..)) { Kind::Int } else { first };
                self.scope.push((loop_.iter_var.clone(), index));
                self.scope.push((name.clone(), second));
            }
        }
        self.scope.push((loop_.accu_var.clone(), initial));
        let outside = self.repeats;
        self.repeats = outside.saturating_mul(most);
        let result = self.loop_body(loop_);
        self.repeats = outside;
        self.scope.truncate(depth);
        // A loop that gathers a list adds at most one element in each round.
        result.map(|kind| match kind {
            Kind::List(element, known) => Kind::List(element, known.max(most)),
            other => other,
        })
    }

    fn loop_body(&mut self, loop_: &ComprehensionExpr) -> Result<Kind, String> {
        self.expression(&loop_.loop_cond)?;
        let step = self.expression(&loop_.loop_step)?;
        if let Some(accumulated) = self.scope.last_mut() {
            accumulated.1 = step;
        }
        self.expression(&loop_.result)
    }
}

/// Most bytes of a request, which bounds lists that have no bound of their own.
const MAX_REQUEST_BYTES: u64 = 3 << 20;

/// Returns how many elements a list or map has at most.
fn most_elements(schema: &Schema) -> u64 {
    let declared = schema.constraints.as_ref().and_then(|constraints| match schema.type_ {
        Type::Array => constraints.max_items,
        _ => constraints.max_properties,
    });
    let element = schema.items.as_ref().or(schema.additional_properties.as_ref());
    declared
        .unwrap_or_else(|| MAX_REQUEST_BYTES / (1 + element.map_or(1, |node| least_bytes(node))))
}

/// Returns how many bytes a value takes at least when it is written as JSON.
pub(in crate::schema) fn least_bytes(schema: &Schema) -> u64 {
    match schema.type_ {
        Type::Object => {
            let required = schema.required.iter().filter_map(|name| {
                let node = schema.properties.get(name)?;
                Some(name.len() as u64 + 3 + least_bytes(node))
            });
            2 + required.sum::<u64>()
        }
        Type::String => {
            2 + schema
                .constraints
                .as_ref()
                .and_then(|constraints| constraints.min_length)
                .unwrap_or(0)
        }
        Type::Array => 2,
        Type::Boolean => 4,
        Type::Integer | Type::Number | Type::IntOrString | Type::Any => 1,
    }
}

/// Returns how often a rule is evaluated at most, if nothing bounds how often its value occurs.
pub(in crate::schema) fn most_occurrences(schema: &Schema) -> u64 {
    MAX_REQUEST_BYTES / (1 + least_bytes(schema))
}

impl Kind {
    fn of(schema: &SchemaRef) -> Self {
        match schema.type_ {
            Type::Boolean => Self::Bool,
            Type::Integer => Self::Int,
            Type::Number => Self::Double,
            Type::String if schema.format.as_deref() == Some("byte") => Self::Bytes,
            Type::String => Self::String,
            Type::Array => {
                let element = schema.items.as_ref().map_or(Self::Dyn, Self::of);
                Self::List(Box::new(element), most_elements(schema))
            }
            Type::Object => match &schema.additional_properties {
                Some(values) if schema.properties.is_empty() => {
                    Self::Map(Box::new(Self::of(values)), most_elements(schema))
                }
                _ => Self::Object(schema.clone()),
            },
            Type::IntOrString | Type::Any => Self::Dyn,
        }
    }

    fn of_literal(literal: &LiteralValue) -> Self {
        match literal {
            LiteralValue::Boolean(_) => Self::Bool,
            LiteralValue::Bytes(_) => Self::Bytes,
            LiteralValue::Double(_) => Self::Double,
            LiteralValue::Int(_) => Self::Int,
            LiteralValue::Null => Self::Null,
            LiteralValue::String(_) => Self::String,
            LiteralValue::UInt(_) => Self::Dyn,
        }
    }

    fn field(&self, name: &str) -> Result<Self, String> {
        match self {
            Self::Dyn => Ok(Self::Dyn),
            Self::Map(value, _) => Ok(Self::clone(value)),
            Self::Object(schema) => {
                let declared = |schema: &Schema| {
                    let mut fields = schema.properties.iter();
                    let found = fields.find(|(field, node)| {
                        values::visible(schema, field, node).as_deref() == Some(name)
                    });
                    found.map(|(_, node)| Self::of(node))
                };
                declared(schema).ok_or_else(|| format!("undefined field '{name}'"))
            }
            other => Err(format!("type '{other}' does not support field selection")),
        }
    }

    fn element(&self) -> Self {
        match self {
            Self::List(element, _) | Self::Map(element, _) => Self::clone(element),
            _ => Self::Dyn,
        }
    }

    /// Returns a type that both fit.
    pub(super) fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::List(left, n), Self::List(right, m)) => {
                let element = match (*left, *right) {
                    // An empty list literal takes the type of what is added to it.
                    (Self::Dyn, known) | (known, Self::Dyn) => known,
                    (left, right) => left.join(right),
                };
                Self::List(Box::new(element), n.saturating_add(m))
            }
            (left, right) if left == right => left,
            _ => Self::Dyn,
        }
    }

    pub(super) fn is_number(&self) -> bool {
        matches!(self, Self::Int | Self::Double)
    }
}

/// Equal as far as scalars go; objects of two schemas are never held to be the same.
impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::List(left, _), Self::List(right, _))
            | (Self::Map(left, _), Self::Map(right, _)) => left == right,
            (Self::Object(_), _) | (_, Self::Object(_)) => false,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Double => f.write_str("double"),
            Self::String => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::Null => f.write_str("null"),
            Self::List(element, _) => write!(f, "list({element})"),
            Self::Map(value, _) => write!(f, "map(string, {value})"),
            Self::Object(_) => f.write_str("object"),
            Self::Dyn => f.write_str("dyn"),
        }
    }
}
