//! Functions over lists, and over lists as sets.

use std::cmp::Ordering;

use jiff::SignedDuration;

use super::{Answer, Body, no_overload, standard, strings};
use crate::schema::cel::error::Error;
use crate::schema::cel::list::List;
use crate::schema::cel::value::Value;

pub(super) fn body(name: &str) -> Option<Body> {
    Some(match name {
        "isSorted" => is_sorted,
        "sum" => sum,
        "min" => |args| extreme(args, "min", Ordering::Less),
        "max" => |args| extreme(args, "max", Ordering::Greater),
        "indexOf" => |args| match &args[0] {
            Value::List(list) => Ok(place(list.iter().position(|item| item.equals(&args[1])))),
            _ => strings::index_of(args),
        },
        "lastIndexOf" => |args| match &args[0] {
            Value::List(list) => Ok(place(list.iter().rposition(|item| item.equals(&args[1])))),
            _ => strings::last_index_of(args),
        },
        "sets.contains" => |args| {
            let (outer, inner) = two_lists(args)?;
            Ok(contains_all(outer, inner).into())
        },
        "sets.equivalent" => |args| {
            let (left, right) = two_lists(args)?;
            Ok((contains_all(left, right) && contains_all(right, left)).into())
        },
        "sets.intersects" => |args| {
            let (left, right) = two_lists(args)?;
            Ok(left.iter().any(|item| right.contains(&item)).into())
        },
        _ => return None,
    })
}

fn two_lists<'b, 'a>(args: &'b [Value<'a>]) -> Result<(&'b List<'a>, &'b List<'a>), Error> {
    match args {
        [Value::List(left), Value::List(right)] => Ok((left, right)),
        _ => Err(Error::no_such_overload()),
    }
}

fn contains_all<'a>(outer: &List<'a>, inner: &List<'a>) -> bool {
    inner.iter().all(|item| outer.contains(&item))
}

fn place<'a>(found: Option<usize>) -> Value<'a> {
    Value::Int(found.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1))
}

fn is_sorted<'a>(args: &[Value<'a>]) -> Answer<'a> {
    let Value::List(list) = &args[0] else { return no_overload() };
    let mut previous: Option<Value<'_>> = None;
    for item in list.iter() {
        if let Some(previous) = &previous
            && !previous.compare(&item)?.is_some_and(Ordering::is_le)
        {
            return Ok(false.into());
        }
        previous = Some(item);
    }
    Ok(true.into())
}

fn sum<'a>(args: &[Value<'a>]) -> Answer<'a> {
    let Value::List(list) = &args[0] else { return no_overload() };
    let mut items = list.iter();
    let Some(first) = items.next() else { return Ok(Value::Int(0)) };
    let zero = match first {
        Value::Int(_) => Value::Int(0),
        Value::Uint(_) => Value::Uint(0),
        Value::Double(_) => Value::Double(0.0),
        Value::Duration(_) => Value::Duration(SignedDuration::ZERO),
        _ => return no_overload(),
    };
    let Some(add) = standard::body("_+_") else { return no_overload() };
    let first = add(&[zero, first])?;
    items.try_fold(first, |total, item| add(&[total, item]))
}

fn extreme<'a>(args: &[Value<'a>], name: &str, wanted: Ordering) -> Answer<'a> {
    let Value::List(list) = &args[0] else { return no_overload() };
    let mut items = list.iter();
    let Some(mut best) = items.next() else {
        return Err(Error::new(format!("{name} called on empty list")));
    };
    for item in items {
        if item.compare(&best)? == Some(wanted) {
            best = item;
        }
    }
    Ok(best)
}
