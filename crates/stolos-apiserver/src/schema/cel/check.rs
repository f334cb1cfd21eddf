//! Gives every part of an expression a type, and finds names that do not exist and types that do not meet.
//!
//! What it lets pass may still fail when evaluated, where types are known only then.

use std::sync::Arc;

use ::cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, ListExpr, LiteralValue, MapExpr,
    SelectExpr, operators as op,
};

use super::infer::{Inference, more_general};
use super::library::{self, Function};
use super::node::{Entry, Literal, Loop, Node, Op};
use super::source::{self, Issue, Parsed};
use super::types::Type;

/// Checks a parsed expression over variables.
pub(super) fn check(
    source: &str,
    parsed: &Parsed,
    variables: &[(Arc<str>, Type)],
) -> Result<Node, Vec<Issue>> {
    let mut checker = Checker {
        source,
        parsed,
        variables,
        locals: Vec::new(),
        inference: Inference::default(),
        issues: Vec::new(),
    };
    let mut node = checker.expression(&parsed.expression);
    if !checker.issues.is_empty() {
        return Err(checker.issues);
    }
    settle(&mut node, &checker.inference);
    Ok(node)
}

/// Replaces types that were found out only later.
fn settle(node: &mut Node, inference: &Inference) {
    node.type_ = inference.settle(&node.type_);
    match &mut node.op {
        Op::Constant(_) | Op::Variable(_) | Op::Local(_) => {}
        Op::Select { operand, .. }
        | Op::Has { operand, .. }
        | Op::SelectOptional { operand, .. }
        | Op::Not(operand)
        | Op::NotStrictlyFalse(operand)
        | Op::Append { list: operand, .. } => settle(operand, inference),
        Op::And(sides) | Op::Or(sides) => sides.iter_mut().for_each(|side| settle(side, inference)),
        Op::Conditional(parts) => parts.iter_mut().for_each(|part| settle(part, inference)),
        Op::Call { args, .. } => args.iter_mut().for_each(|arg| settle(arg, inference)),
        Op::List(items) => items.iter_mut().for_each(|(item, _)| settle(item, inference)),
        Op::Map(entries) => {
            for entry in entries {
                settle(&mut entry.key, inference);
                settle(&mut entry.value, inference);
            }
        }
        Op::Loop(loop_) => {
            for part in [
                &mut loop_.range,
                &mut loop_.initial,
                &mut loop_.condition,
                &mut loop_.step,
                &mut loop_.result,
            ] {
                settle(part, inference);
            }
        }
    }
}

struct Checker<'c> {
    source: &'c str,
    parsed: &'c Parsed,
    variables: &'c [(Arc<str>, Type)],
    /// Variables of the loops around, innermost last; a place on the stack of the evaluator each.
    locals: Vec<(String, Type)>,
    inference: Inference,
    issues: Vec<Issue>,
}

impl Checker<'_> {
    fn issue(&mut self, id: u64, text: String) {
        let (line, column) = source::place(self.source, &self.parsed.places, id);
        let issue = Issue { line, column, text };
        if !self.issues.contains(&issue) {
            self.issues.push(issue);
        }
    }

    fn mismatch(&mut self, id: u64, wanted: &Type, found: &Type) {
        let (wanted, found) = (self.inference.settle(wanted), self.inference.settle(found));
        self.issue(id, format!("expected type '{wanted}' but found '{found}'"));
    }

    fn undeclared(&mut self, id: u64, name: &str) {
        self.issue(id, format!("undeclared reference to '{name}' (in container '')"));
    }

    fn expression(&mut self, expression: &IdedExpr) -> Node {
        let id = expression.id;
        let (type_, op) = match &expression.expr {
            Expr::Literal(literal) => constant(literal),
            Expr::Ident(name) => self.ident(id, name),
            Expr::Select(select) => self.select(id, select),
            Expr::Call(call) => return self.call(id, call),
            Expr::List(list) => self.list(list),
            Expr::Map(map) => self.map(map),
            Expr::Struct(literal) => {
                self.undeclared(id, &literal.type_name);
                (Type::Error, Op::Constant(Literal::Null))
            }
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::Unspecified => (Type::Error, Op::Constant(Literal::Null)),
        };
        Node { id, type_, op }
    }

    fn ident(&mut self, id: u64, name: &str) -> (Type, Op) {
        self.lookup(name).unwrap_or_else(|| {
            self.undeclared(id, name);
            (Type::Error, Op::Constant(Literal::Null))
        })
    }

    fn lookup(&self, name: &str) -> Option<(Type, Op)> {
        if let Some(place) = self.locals.iter().rposition(|(local, _)| local == name) {
            return Some((self.locals[place].1.clone(), Op::Local(place)));
        }
        if let Some((name, type_)) = self.variables.iter().find(|(known, _)| **known == *name) {
            return Some((type_.clone(), Op::Variable(name.clone())));
        }
        let (name, type_) = library::named_type(name)?;
        Some((Type::TypeOf(Arc::new(type_)), Op::Constant(Literal::Type(name))))
    }

    fn select(&mut self, id: u64, select: &SelectExpr) -> (Type, Op) {
        if !select.test
            && let Some(name) = qualified(&select.operand, &select.field)
            && let Some(found) = self.lookup(&name)
        {
            return found;
        }
        let operand = self.expression(&select.operand);
        let type_ = self.field(id, &operand, &select.field, false);
        let (operand, field) = (Box::new(operand), Arc::from(select.field.as_str()));
        if select.test {
            (Type::Bool, Op::Has { operand, field })
        } else {
            (type_, Op::Select { operand, field })
        }
    }

    fn field(&mut self, id: u64, operand: &Node, field: &str, optional: bool) -> Type {
        let resolved = self.inference.resolve(&operand.type_);
        let (target, is_optional) = match &resolved {
            Type::Optional(inner) => (Type::clone(inner), true),
            other => (other.clone(), false),
        };
        let type_ = match &target {
            Type::Map(_, value) => Type::clone(value),
            Type::Object(object) => object.field(field).unwrap_or_else(|| {
                self.issue(id, format!("undefined field '{field}'"));
                Type::Error
            }),
            Type::Param(_) => {
                self.inference.fits(&Type::Dyn, &target);
                Type::Dyn
            }
            other if other.is_dyn() => Type::Dyn,
            other => {
                self.issue(id, format!("type '{other}' does not support field selection"));
                Type::Error
            }
        };
        if is_optional || optional { Type::optional(type_) } else { type_ }
    }

    fn call(&mut self, id: u64, call: &CallExpr) -> Node {
        if call.func_name == op::OPT_SELECT {
            return self.select_optional(id, call);
        }
        let args: Vec<Node> = call.args.iter().map(|arg| self.expression(arg)).collect();
        let Some(target) = &call.target else {
            let Some(function) = library::function(&call.func_name) else {
                return self.unknown(id, &call.func_name);
            };
            return self.resolve(id, function, false, args);
        };
        let name = qualified(target, &call.func_name);
        if let Some(function) = name.as_deref().and_then(library::function) {
            return self.resolve(id, function, false, args);
        }
        let target = self.expression(target);
        let Some(function) = library::function(&call.func_name) else {
            return self.unknown(id, &call.func_name);
        };
        self.resolve(id, function, true, std::iter::once(target).chain(args).collect())
    }

    fn unknown(&mut self, id: u64, name: &str) -> Node {
        self.undeclared(id, name);
        Node { id, type_: Type::Error, op: Op::Constant(Literal::Null) }
    }

    fn select_optional(&mut self, id: u64, call: &CallExpr) -> Node {
        let field = call.args.get(1).map(|field| &field.expr);
        let Some(Expr::Literal(LiteralValue::String(text))) = field else {
            self.issue(id, "unsupported optional field selection".to_owned());
            return Node { id, type_: Type::Error, op: Op::Constant(Literal::Null) };
        };
        let field = text.inner().to_owned();
        let operand = self.expression(&call.args[0]);
        let type_ = self.field(id, &operand, &field, true);
        let op = Op::SelectOptional { operand: Box::new(operand), field: field.into() };
        Node { id, type_, op }
    }

    /// Finds what a function can be applied to that fits the arguments.
    fn resolve(
        &mut self,
        id: u64,
        function: &'static Function,
        is_member: bool,
        args: Vec<Node>,
    ) -> Node {
        let types: Vec<Type> = args.iter().map(|arg| arg.type_.clone()).collect();
        if matches!(function.name, op::LOGICAL_AND | op::LOGICAL_OR) {
            for arg in &args {
                if !self.inference.fits(&arg.type_, &Type::Bool) {
                    self.mismatch(arg.id, &Type::Bool, &arg.type_);
                }
            }
            return Node { id, type_: Type::Bool, op: operation(function, is_member, args) };
        }
        let mut result: Option<Type> = None;
        for overload in &function.overloads {
            if overload.is_member != is_member {
                continue;
            }
            let mut wanted = overload.arguments.clone();
            wanted.push(overload.result.clone());
            self.inference.instantiate(overload.params, &mut wanted);
            let returned = wanted.pop().unwrap_or(Type::Dyn);
            if self.inference.all_fit(&types, &wanted) {
                let returned = self.inference.resolve(&returned);
                result = Some(match result {
                    None => returned,
                    Some(known) if known == returned || known == Type::Dyn => known,
                    Some(_) => Type::Dyn,
                });
            }
        }
        let type_ = result.unwrap_or_else(|| {
            let texts: Vec<String> =
                types.iter().map(|type_| self.inference.settle(type_).to_string()).collect();
            let applied = match texts.split_first() {
                Some((target, rest)) if is_member => format!("{target}.({})", rest.join(", ")),
                _ => format!("({})", texts.join(", ")),
            };
            self.issue(
                id,
                format!(
                    "found no matching overload for '{}' applied to '{applied}'",
                    function.name
                ),
            );
            Type::Error
        });
        Node { id, type_, op: operation(function, is_member, args) }
    }

    fn list(&mut self, list: &ListExpr) -> (Type, Op) {
        let mut element: Option<Type> = None;
        let mut items = Vec::with_capacity(list.elements.len());
        for (index, item) in list.elements.iter().enumerate() {
            let node = self.expression(item);
            let optional = list.optional_indices.contains(&index);
            let type_ = self.unwrapped(&node, optional);
            element = Some(self.join(element, type_));
            items.push((node, optional));
        }
        let element = element.unwrap_or_else(|| self.inference.fresh());
        (Type::list(element), Op::List(items))
    }

    /// Returns the type of an element or entry; that of an optional one is what it holds.
    fn unwrapped(&mut self, node: &Node, optional: bool) -> Type {
        if !optional {
            return node.type_.clone();
        }
        match self.inference.resolve(&node.type_) {
            Type::Optional(inner) => Type::clone(&inner),
            other if other.is_dyn() => Type::Dyn,
            other => {
                self.mismatch(node.id, &Type::optional(other.clone()), &other);
                Type::Error
            }
        }
    }

    /// Elements of several types make a list of dynamic ones; most such literals are refused later.
    fn join(&mut self, known: Option<Type>, type_: Type) -> Type {
        match known {
            None => type_,
            Some(known) if self.inference.fits(&known, &type_) => more_general(&known, &type_),
            Some(_) => Type::Dyn,
        }
    }

    fn map(&mut self, map: &MapExpr) -> (Type, Op) {
        let (mut key_type, mut value_type) = (None, None);
        let mut entries = Vec::with_capacity(map.entries.len());
        for entry in &map.entries {
            let EntryExpr::MapEntry(entry) = &entry.expr else { continue };
            let (key, value) = (self.expression(&entry.key), self.expression(&entry.value));
            key_type = Some(self.join(key_type, key.type_.clone()));
            let type_ = self.unwrapped(&value, entry.optional);
            value_type = Some(self.join(value_type, type_));
            entries.push(Entry { key, value, optional: entry.optional });
        }
        let key = key_type.unwrap_or_else(|| self.inference.fresh());
        let value = value_type.unwrap_or_else(|| self.inference.fresh());
        (Type::map(key, value), Op::Map(entries))
    }

    fn comprehension(&mut self, loop_: &ComprehensionExpr) -> (Type, Op) {
        let range = self.expression(&loop_.iter_range);
        let initial = self.expression(&loop_.accu_init);
        let two = loop_.iter_var2.is_some();
        let (first, second) = match self.inference.resolve(&range.type_) {
            Type::List(element) if two => (Type::Int, Type::clone(&element)),
            Type::List(element) => (Type::clone(&element), Type::Dyn),
            Type::Map(key, value) => (Type::clone(&key), Type::clone(&value)),
            Type::Param(param) => {
                self.inference.fits(&Type::Dyn, &Type::Param(param));
                (Type::Dyn, Type::Dyn)
            }
            other if other.is_dyn() => (Type::Dyn, Type::Dyn),
            other => {
                self.issue(
                    range.id,
                    format!(
                        "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                    ),
                );
                (Type::Error, Type::Error)
            }
        };
        let local = self.locals.len();
        let gathered = initial.type_.clone();
        self.locals.push((loop_.accu_var.clone(), gathered.clone()));
        self.locals.push((loop_.iter_var.clone(), first));
        if let Some(name) = &loop_.iter_var2 {
            self.locals.push((name.clone(), second));
        }
        let condition = self.expression(&loop_.loop_cond);
        self.expect(&condition, &Type::Bool);
        let step = self.expression(&loop_.loop_step);
        self.expect(&step, &gathered);
        self.locals.truncate(local + 1);
        let result = self.expression(&loop_.result);
        self.locals.truncate(local);
        let type_ = self.inference.resolve(&result.type_);
        let step = appending(step, local);
        let loop_ = Loop { range, has_two_variables: two, local, initial, condition, step, result };
        (type_, Op::Loop(Box::new(loop_)))
    }

    fn expect(&mut self, node: &Node, wanted: &Type) {
        if !self.inference.fits(wanted, &node.type_) {
            self.mismatch(node.id, wanted, &node.type_);
        }
    }
}

fn constant(literal: &LiteralValue) -> (Type, Op) {
    let (type_, literal) = match literal {
        LiteralValue::Boolean(value) => (Type::Bool, Literal::Bool(*value.inner())),
        LiteralValue::Bytes(value) => (Type::Bytes, Literal::Bytes(value.inner().into())),
        LiteralValue::Double(value) => (Type::Double, Literal::Double(*value.inner())),
        LiteralValue::Int(value) => (Type::Int, Literal::Int(*value.inner())),
        LiteralValue::Null => (Type::Null, Literal::Null),
        LiteralValue::String(value) => (Type::String, Literal::String(value.inner().into())),
        LiteralValue::UInt(value) => (Type::Uint, Literal::Uint(*value.inner())),
    };
    (type_, Op::Constant(literal))
}

/// Returns `a.b.c` for selections that spell a name.
fn qualified(operand: &IdedExpr, last: &str) -> Option<String> {
    match &operand.expr {
        Expr::Ident(name) => Some(format!("{name}.{last}")),
        Expr::Select(select) if !select.test => {
            Some(format!("{}.{last}", qualified(&select.operand, &select.field)?))
        }
        _ => None,
    }
}

/// Operators that do not evaluate all their arguments are operations of their own.
fn operation(function: &'static Function, is_member: bool, args: Vec<Node>) -> Op {
    let rest = |args: Vec<Node>| Op::Call { function, is_member, args };
    match function.name {
        op::LOGICAL_AND => match args.try_into() {
            Ok(sides) => Op::And(Box::new(sides)),
            Err(args) => rest(args),
        },
        op::LOGICAL_OR => match args.try_into() {
            Ok(sides) => Op::Or(Box::new(sides)),
            Err(args) => rest(args),
        },
        op::CONDITIONAL => match args.try_into() {
            Ok(parts) => Op::Conditional(Box::new(parts)),
            Err(args) => rest(args),
        },
        op::LOGICAL_NOT | op::NOT_STRICTLY_FALSE => match <[Node; 1]>::try_from(args) {
            Ok([operand]) if function.name == op::LOGICAL_NOT => Op::Not(Box::new(operand)),
            Ok([operand]) => Op::NotStrictlyFalse(Box::new(operand)),
            Err(args) => rest(args),
        },
        _ => rest(args),
    }
}

/// Recognises the steps of `map` and `filter`, which add to the gathered list, so that no step copies it.
fn appending(mut step: Node, local: usize) -> Node {
    match step.op {
        Op::Call { function, is_member, mut args }
            if function.name == op::ADD
                && args.len() == 2
                && matches!(args[0].op, Op::Local(place) if place == local)
                && matches!(args[1].op, Op::List(_)) =>
        {
            match args.pop() {
                Some(list) => step.op = Op::Append { local, list: Box::new(list) },
                None => step.op = Op::Call { function, is_member, args },
            }
            step
        }
        Op::Conditional(parts) => {
            let [test, added, same] = *parts;
            let added = appending(added, local);
            step.op = Op::Conditional(Box::new([test, added, same]));
            step
        }
        op => {
            step.op = op;
            step
        }
    }
}
