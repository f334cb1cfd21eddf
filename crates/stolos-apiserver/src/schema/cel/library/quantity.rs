//! Kubernetes quantities.

use super::opaque::Opaque;
use super::{Answer, Body};
use crate::schema::cel::error::Error;
use crate::schema::cel::value::Value;
use crate::schema::quantity::Quantity;

pub(super) fn body(name: &str) -> Option<Body> {
    Some(match name {
        "quantity" => parse,
        "isQuantity" => |args| match &args[0] {
            Value::String(text) => Ok(Quantity::parse(text.as_str()).is_some().into()),
            _ => super::no_overload(),
        },
        "sign" => |args| Ok(Value::Int(quantity(&args[0])?.sign())),
        "isInteger" => |args| Ok(quantity(&args[0])?.as_integer().is_some().into()),
        "asInteger" => |args| {
            let whole = quantity(&args[0])?.as_integer();
            whole.map(Value::Int).ok_or_else(|| Error::new("cannot convert value to integer"))
        },
        "asApproximateFloat" => |args| Ok(Value::Double(quantity(&args[0])?.as_float())),
        "isGreaterThan" => |args| Ok((order(args)? > 0).into()),
        "isLessThan" => |args| Ok((order(args)? < 0).into()),
        "compareTo" => |args| Ok(Value::Int(order(args)?)),
        "add" => |args| Ok(wrap(quantity(&args[0])?.plus(operand(&args[1])?))),
        "sub" => |args| Ok(wrap(quantity(&args[0])?.minus(operand(&args[1])?))),
        _ => return None,
    })
}

fn wrap<'a>(quantity: Quantity) -> Value<'a> {
    Value::Opaque(Opaque::Quantity(quantity))
}

fn quantity(value: &Value<'_>) -> Result<Quantity, Error> {
    match value {
        Value::Opaque(Opaque::Quantity(quantity)) => Ok(*quantity),
        _ => Err(Error::no_such_overload()),
    }
}

fn operand(value: &Value<'_>) -> Result<Quantity, Error> {
    match value {
        Value::Int(whole) => Ok(Quantity::from_integer(*whole)),
        other => quantity(other),
    }
}

/// Compares two quantities, or two versions, which have functions of the same names.
fn order(args: &[Value<'_>]) -> Result<i64, Error> {
    let order = match args {
        [Value::Opaque(Opaque::Quantity(left)), Value::Opaque(Opaque::Quantity(right))] => {
            left.cmp(right)
        }
        [Value::Opaque(Opaque::Semver(left)), Value::Opaque(Opaque::Semver(right))] => {
            left.cmp(right)
        }
        _ => return Err(Error::no_such_overload()),
    };
    Ok(order as i64)
}

fn parse<'a>(args: &[Value<'a>]) -> Answer<'a> {
    let Value::String(text) = &args[0] else { return super::no_overload() };
    Quantity::parse(text.as_str()).map(wrap).ok_or_else(|| {
        Error::new(
            "quantities must match the regular expression \
             '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        )
    })
}
