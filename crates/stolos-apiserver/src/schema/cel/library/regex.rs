//! Regular expressions.

use std::cell::RefCell;
use std::collections::HashMap;

use ::regex::Regex;

use super::{Answer, Body, no_overload};
use crate::schema::cel::error::Error;
use crate::schema::cel::value::Value;
use crate::schema::pattern;

/// Most compiled patterns that one thread keeps; rules name few, and a full cache is emptied.
const MAX_CACHED: usize = 256;

thread_local! {
    static COMPILED: RefCell<HashMap<String, Regex>> = RefCell::default();
}

pub(super) fn body(name: &str) -> Option<Body> {
    Some(match name {
        "matches" => |args| {
            let (text, pattern) = texts(args)?;
            Ok(compile(pattern)?.is_match(text).into())
        },
        "find" => |args| {
            let (text, pattern) = texts(args)?;
            Ok(Value::text(compile(pattern)?.find(text).map_or("", |found| found.as_str())))
        },
        "findAll" => find_all,
        _ => return None,
    })
}

fn texts<'b>(args: &'b [Value<'_>]) -> Result<(&'b str, &'b str), Error> {
    match args {
        [Value::String(text), Value::String(pattern), ..] => Ok((text.as_str(), pattern.as_str())),
        _ => Err(Error::no_such_overload()),
    }
}

fn find_all<'a>(args: &[Value<'a>]) -> Answer<'a> {
    let (text, pattern) = texts(args)?;
    let most = match args.get(2) {
        None => usize::MAX,
        Some(Value::Int(most)) => usize::try_from(*most).unwrap_or(usize::MAX),
        Some(_) => return no_overload(),
    };
    let regex = compile(pattern)?;
    let found = regex.find_iter(text).take(most).map(|found| Value::text(found.as_str()));
    Ok(Value::list(found.collect()))
}

/// Compiles a pattern, or takes it from the patterns of this thread.
pub(in crate::schema::cel) fn compile(pattern: &str) -> Result<Regex, Error> {
    COMPILED.with_borrow_mut(|compiled| {
        if let Some(regex) = compiled.get(pattern) {
            return Ok(regex.clone());
        }
        let regex = pattern::compile(pattern).map_err(Error::new)?;
        if compiled.len() >= MAX_CACHED {
            compiled.clear();
        }
        compiled.insert(pattern.to_owned(), regex.clone());
        Ok(regex)
    })
}
