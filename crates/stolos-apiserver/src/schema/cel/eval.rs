//! Evaluates checked expressions, counting what that costs.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::cost;
use super::error::{Error, ErrorKind};
use super::library::Function;
use super::list::List;
use super::map::Map;
use super::node::{Entry, Loop, Node, Op};
use super::value::{MapKey, Value};

/// The variables of an expression.
pub trait Variables<'a> {
    /// Returns a variable.
    ///
    /// # Errors
    /// Fails when the variable has no value.
    fn variable(&self, name: &str) -> Result<Value<'a>, Error>;
}

impl<'a> Variables<'a> for [(&str, Value<'a>)] {
    fn variable(&self, name: &str) -> Result<Value<'a>, Error> {
        let found = self.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.clone()).ok_or_else(|| no_such_variable(name))
    }
}

impl<'a, const N: usize> Variables<'a> for [(&str, Value<'a>); N] {
    fn variable(&self, name: &str) -> Result<Value<'a>, Error> {
        self.as_slice().variable(name)
    }
}

impl<'a> Variables<'a> for BTreeMap<String, Value<'a>> {
    fn variable(&self, name: &str) -> Result<Value<'a>, Error> {
        self.get(name).cloned().ok_or_else(|| no_such_variable(name))
    }
}

fn no_such_variable(name: &str) -> Error {
    Error::new(format!("no such attribute(s): {name}"))
}

type Answer<'a> = Result<Value<'a>, Error>;

/// Evaluates an expression; it fails once it has cost more than `limit`. Returns the cost too.
pub(super) fn evaluate<'a>(
    node: &Node,
    variables: &dyn Variables<'a>,
    limit: u64,
) -> (Answer<'a>, u64) {
    let mut evaluator = Evaluator { variables, locals: Vec::new(), cost: 0, limit };
    let answer = evaluator.node(node);
    (answer, evaluator.cost)
}

struct Evaluator<'v, 'a> {
    variables: &'v dyn Variables<'a>,
    /// Variables of loops; the gathered value of a loop may be an error that a later step makes up for.
    locals: Vec<Answer<'a>>,
    cost: u64,
    limit: u64,
}

impl<'a> Evaluator<'_, 'a> {
    fn charge(&mut self, cost: u64) -> Result<(), Error> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost > self.limit { Err(Error::over_budget()) } else { Ok(()) }
    }

    fn node(&mut self, node: &Node) -> Answer<'a> {
        match &node.op {
            Op::Constant(literal) => Ok(literal.value()),
            Op::Variable(name) => {
                self.charge(cost::SELECT)?;
                self.variables.variable(name)
            }
            Op::Local(place) => {
                self.charge(cost::SELECT)?;
                self.locals.get(*place).cloned().unwrap_or(Ok(Value::Null))
            }
            Op::Select { operand, field } => {
                let operand = self.node(operand)?;
                self.charge(cost::SELECT)?;
                select(&operand, field)
            }
            Op::Has { operand, field } => has(&self.node(operand)?, field),
            Op::SelectOptional { operand, field } => {
                let operand = self.node(operand)?;
                self.charge(cost::SELECT)?;
                select_optional(&operand, field)
            }
            Op::And(sides) => self.logical(sides, false),
            Op::Or(sides) => self.logical(sides, true),
            Op::Not(operand) => match self.node(operand)? {
                Value::Bool(value) => {
                    self.charge(cost::CALL)?;
                    Ok((!value).into())
                }
                _ => Err(Error::no_such_overload()),
            },
            Op::NotStrictlyFalse(operand) => {
                let answer = self.node(operand);
                self.charge(cost::CALL)?;
                match answer {
                    Ok(Value::Bool(false)) => Ok(false.into()),
                    Err(error) if error.kind() == ErrorKind::OverBudget => Err(error),
                    _ => Ok(true.into()),
                }
            }
            Op::Conditional(parts) => {
                let [test, yes, no] = &**parts;
                match self.node(test)? {
                    Value::Bool(true) => self.node(yes),
                    Value::Bool(false) => self.node(no),
                    _ => Err(Error::no_such_overload()),
                }
            }
            Op::Call { function, args, .. } => self.call(function, args),
            Op::Append { local, list } => self.append(*local, list),
            Op::List(items) => {
                let items = self.items(items)?;
                self.charge(cost::LIST)?;
                Ok(Value::list(items))
            }
            Op::Map(entries) => self.map(entries),
            Op::Loop(loop_) => self.loop_(loop_),
        }
    }

    /// `&&` and `||`: either side decides alone, even if the other has no value.
    fn logical(&mut self, sides: &[Node; 2], decisive: bool) -> Answer<'a> {
        let left = self.node(&sides[0]);
        match &left {
            Ok(Value::Bool(value)) if *value == decisive => return left,
            Err(error) if error.kind() == ErrorKind::OverBudget => return left,
            _ => {}
        }
        let right = self.node(&sides[1]);
        match (&left, &right) {
            (_, Ok(Value::Bool(value))) if *value == decisive => right,
            (_, Err(error)) if error.kind() == ErrorKind::OverBudget => right,
            (Err(_), _) => left,
            (_, Err(_)) => right,
            (Ok(Value::Bool(_)), Ok(Value::Bool(_))) => Ok((!decisive).into()),
            _ => Err(Error::no_such_overload()),
        }
    }

    fn call(&mut self, function: &Function, args: &[Node]) -> Answer<'a> {
        let mut values = Vec::with_capacity(args.len());
        for arg in args {
            values.push(self.node(arg)?);
        }
        let Some(body) = function.body else { return Err(Error::no_such_overload()) };
        // What is known to be dear is paid before it is done.
        self.charge(cost::before(function.name, &values))?;
        let answer = body(&values).map_err(|error| match error.kind() {
            ErrorKind::NoSuchOverload => no_overload(function.name, &values),
            _ => error,
        })?;
        self.charge(cost::after(function.name, &answer))?;
        Ok(answer)
    }

    fn append(&mut self, local: usize, list: &Node) -> Answer<'a> {
        let Op::List(items) = &list.op else { return Err(Error::no_such_overload()) };
        let added = self.items(items)?;
        self.charge(cost::SELECT + cost::LIST + cost::CALL)?;
        let gathered = std::mem::replace(&mut self.locals[local], Ok(Value::Null))?;
        let Value::List(List::Owned(mut gathered)) = gathered else {
            return Err(Error::no_such_overload());
        };
        Arc::make_mut(&mut gathered).extend(added);
        Ok(Value::List(List::Owned(gathered)))
    }

    fn items(&mut self, items: &[(Node, bool)]) -> Result<Vec<Value<'a>>, Error> {
        let mut values = Vec::with_capacity(items.len());
        for (item, optional) in items {
            match (self.node(item)?, optional) {
                (Value::Optional(value), true) => {
                    values.extend(value.map(|value| value.as_ref().clone()));
                }
                (_, true) => return Err(Error::no_such_overload()),
                (value, false) => values.push(value),
            }
        }
        Ok(values)
    }

    fn map(&mut self, entries: &[Entry]) -> Answer<'a> {
        let mut map = BTreeMap::new();
        for entry in entries {
            let key = self.node(&entry.key)?;
            let value = match (self.node(&entry.value)?, entry.optional) {
                (Value::Optional(Some(value)), true) => value.as_ref().clone(),
                (Value::Optional(None), true) => continue,
                (_, true) => return Err(Error::no_such_overload()),
                (value, false) => value,
            };
            let Some(known) = MapKey::of(&key) else {
                return Err(Error::new("unsupported key type"));
            };
            map.insert(known, value);
        }
        self.charge(cost::MAP)?;
        Ok(Value::map(map))
    }

    fn loop_(&mut self, loop_: &Loop) -> Answer<'a> {
        let range = self.node(&loop_.range)?;
        let initial = self.node(&loop_.initial);
        debug_assert_eq!(
            self.locals.len(),
            loop_.local,
            "the checker numbers places as they are used"
        );
        self.locals.push(initial);
        let answer = self.rounds(loop_, &range).and_then(|()| {
            self.locals.truncate(loop_.local + 1);
            self.node(&loop_.result)
        });
        self.locals.truncate(loop_.local);
        answer
    }

    fn rounds(&mut self, loop_: &Loop, range: &Value<'a>) -> Result<(), Error> {
        match range {
            Value::List(list) => {
                for (index, item) in list.iter().enumerate() {
                    let index = Value::Int(i64::try_from(index).unwrap_or(i64::MAX));
                    if !self.round(loop_, index, || Ok(item), true)? {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                for key in map.keys() {
                    let value = || Ok(map.get(&key)?.unwrap_or_default());
                    if !self.round(loop_, key.clone(), value, false)? {
                        break;
                    }
                }
            }
            other => {
                let kind = other.go_type();
                return Err(Error::new(format!("got '{kind}', expected iterable type")));
            }
        }
        Ok(())
    }

    /// Goes round once; returns false when the loop is over.
    fn round(
        &mut self,
        loop_: &Loop,
        key: Value<'a>,
        value: impl FnOnce() -> Answer<'a>,
        is_list: bool,
    ) -> Result<bool, Error> {
        self.locals.truncate(loop_.local + 1);
        match (loop_.has_two_variables, is_list) {
            (true, _) => {
                self.locals.push(Ok(key));
                self.locals.push(value());
            }
            (false, true) => self.locals.push(value()),
            (false, false) => self.locals.push(Ok(key)),
        }
        match self.node(&loop_.condition)? {
            Value::Bool(true) => {}
            _ => return Ok(false),
        }
        let step = self.node(&loop_.step);
        if let Err(error) = &step
            && error.kind() == ErrorKind::OverBudget
        {
            return Err(error.clone());
        }
        self.locals[loop_.local] = step;
        Ok(true)
    }
}

/// Says which call failed as far as cel-go says so: of operators and what texts can do it says nothing.
fn no_overload(name: &str, values: &[Value<'_>]) -> Error {
    const BARE: [&str; 6] =
        ["contains", "startsWith", "endsWith", "matches", "containsIP", "containsCIDR"];
    let are_lists = values.iter().all(|value| matches!(value, Value::List(_) | Value::Map(_)));
    let is_order = matches!(name, "_<_" | "_<=_" | "_>_" | "_>=_");
    if name == "size" || (is_order && are_lists) {
        Error::no_overload_of(name)
    } else if name.contains('_') || name.starts_with('@') || BARE.contains(&name) {
        Error::no_such_overload()
    } else {
        let types: Vec<&str> = values.iter().map(Value::type_name).collect();
        Error::no_overload_for(name, &types)
    }
}

fn select<'a>(operand: &Value<'a>, field: &str) -> Answer<'a> {
    match operand {
        Value::Map(map) => map.field(field)?.ok_or_else(|| Error::no_such_key(field)),
        Value::Optional(None) => Ok(Value::Optional(None)),
        Value::Optional(Some(inner)) => select_optional(inner, field),
        _ => Err(Error::no_such_key(field)),
    }
}

fn has<'a>(operand: &Value<'a>, field: &str) -> Answer<'a> {
    match operand {
        Value::Map(Map::Lazy(fields)) => Ok(fields.field(field)?.is_some().into()),
        Value::Map(map) => Ok(map.field(field)?.is_some().into()),
        Value::Optional(Some(inner)) => has(inner, field),
        _ => Ok(false.into()),
    }
}

fn select_optional<'a>(operand: &Value<'a>, field: &str) -> Answer<'a> {
    match operand {
        Value::Map(map) => Ok(map.field(field)?.map_or(Value::Optional(None), Value::some)),
        Value::Optional(None) => Ok(Value::Optional(None)),
        Value::Optional(Some(inner)) => select_optional(inner, field),
        _ => Err(Error::no_such_overload()),
    }
}
