//! Versions as semver.org orders them.

use std::cmp::Ordering;
use std::sync::Arc;

use super::opaque::Opaque;
use super::{Answer, Body, no_overload};
use crate::schema::cel::error::Error;
use crate::schema::cel::value::Value;

pub(super) fn body(name: &str) -> Option<Body> {
    Some(match name {
        "semver" => |args| {
            let version = parse(args)?;
            version
                .map(|version| Value::Opaque(Opaque::Semver(Arc::new(version))))
                .map_err(Error::new)
        },
        "isSemver" => |args| Ok(parse(args)?.is_ok().into()),
        "major" => |args| part(args, |version| version.numbers[0]),
        "minor" => |args| part(args, |version| version.numbers[1]),
        "patch" => |args| part(args, |version| version.numbers[2]),
        _ => return None,
    })
}

/// A version; what was built from does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Semver {
    numbers: [u64; 3],
    /// Identifiers of a pre-release; without them it is the release.
    pre: Vec<String>,
}

impl Semver {
    /// Parses `1.2.3-rc.1+build`.
    fn parse(text: &str) -> Result<Self, &'static str> {
        let (rest, build) = match text.split_once('+') {
            Some((rest, build)) => (rest, Some(build)),
            None => (text, None),
        };
        let (core, pre) = match rest.split_once('-') {
            Some((core, pre)) => (core, Some(pre)),
            None => (rest, None),
        };
        let parts: Vec<&str> = core.splitn(3, '.').collect();
        let [major, minor, patch] = parts[..] else {
            return Err("No Major.Minor.Patch elements found");
        };
        let numbers = [numeric(major)?, numeric(minor)?, numeric(patch)?];
        let identifiers = |text: Option<&str>| -> Vec<String> {
            text.map(|text| text.split('.').map(str::to_owned).collect()).unwrap_or_default()
        };
        let (pre, build) = (identifiers(pre), identifiers(build));
        let is_sound = |part: &String| {
            !part.is_empty()
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        if !pre.iter().chain(&build).all(is_sound) {
            return Err("Invalid character(s) found in prerelease or build metadata");
        }
        let has_leading_zero =
            |part: &String| part.len() > 1 && part.starts_with('0') && is_numeric(part);
        if pre.iter().any(has_leading_zero) {
            return Err("Numeric PreRelease version must not contain leading zeroes");
        }
        Ok(Self { numbers, pre })
    }

    /// Makes a version complete: without `v`, with all three numbers, without leading zeros.
    fn normalize(text: &str) -> String {
        let text = text.strip_prefix('v').unwrap_or(text);
        let end = text.find(['+', '-']).unwrap_or(text.len());
        let (core, rest) = text.split_at(end);
        let mut parts: Vec<&str> = core
            .splitn(3, '.')
            .map(|part| {
                let short = part.trim_start_matches('0');
                if short.is_empty() && !part.is_empty() { "0" } else { short }
            })
            .collect();
        while parts.len() < 3 {
            parts.push("0");
        }
        format!("{}{rest}", parts.join("."))
    }
}

fn is_numeric(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn numeric(text: &str) -> Result<u64, &'static str> {
    if text.is_empty() || !is_numeric(text) {
        return Err("Invalid character(s) found in version number");
    }
    if text.len() > 1 && text.starts_with('0') {
        return Err("Version number must not contain leading zeroes");
    }
    text.parse().map_err(|_| "Version number is out of range")
}

impl Ord for Semver {
    fn cmp(&self, other: &Self) -> Ordering {
        let release = |version: &Self| version.pre.is_empty();
        self.numbers
            .cmp(&other.numbers)
            .then_with(|| release(self).cmp(&release(other)))
            .then_with(|| compare_identifiers(&self.pre, &other.pre))
    }
}

impl PartialOrd for Semver {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn compare_identifiers(left: &[String], right: &[String]) -> Ordering {
    for (left, right) in left.iter().zip(right) {
        let order = match (left.parse::<u64>(), right.parse::<u64>()) {
            (Ok(left), Ok(right)) => left.cmp(&right),
            (Ok(_), Err(_)) => Ordering::Less,
            (Err(_), Ok(_)) => Ordering::Greater,
            (Err(_), Err(_)) => left.cmp(right),
        };
        if order.is_ne() {
            return order;
        }
    }
    left.len().cmp(&right.len())
}

/// Fails for arguments of other types; the inner result is that of the text.
fn parse(args: &[Value<'_>]) -> Result<Result<Semver, &'static str>, Error> {
    match args {
        [Value::String(text)] | [Value::String(text), Value::Bool(false)] => {
            Ok(Semver::parse(text.as_str()))
        }
        [Value::String(text), Value::Bool(true)] => {
            Ok(Semver::parse(&Semver::normalize(text.as_str())))
        }
        _ => Err(Error::no_such_overload()),
    }
}

fn part<'a>(args: &[Value<'a>], get: fn(&Semver) -> u64) -> Answer<'a> {
    let Value::Opaque(Opaque::Semver(version)) = &args[0] else { return no_overload() };
    i64::try_from(get(version)).map(Value::Int).map_err(|_| Error::new("integer overflow"))
}
