//! Moments and lengths of time.

use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp, Zoned};

use super::{Answer, Body, no_overload};
use crate::schema::cel::error::Error;
use crate::schema::cel::value::Value;

pub(super) fn body(name: &str) -> Option<Body> {
    Some(match name {
        "duration" => to_duration,
        "timestamp" => to_timestamp,
        "getFullYear" => |args| part(args, |at| i64::from(at.year())),
        "getMonth" => |args| part(args, |at| i64::from(at.month()) - 1),
        "getDayOfYear" => |args| part(args, |at| i64::from(at.day_of_year()) - 1),
        "getDayOfMonth" => |args| part(args, |at| i64::from(at.day()) - 1),
        "getDate" => |args| part(args, |at| i64::from(at.day())),
        "getDayOfWeek" => |args| part(args, |at| i64::from(at.weekday().to_sunday_zero_offset())),
        "getHours" => |args| {
            of_duration(args, SignedDuration::as_hours)
                .unwrap_or_else(|| part(args, |at| at.hour().into()))
        },
        "getMinutes" => |args| {
            of_duration(args, SignedDuration::as_mins)
                .unwrap_or_else(|| part(args, |at| at.minute().into()))
        },
        "getSeconds" => |args| {
            of_duration(args, SignedDuration::as_secs)
                .unwrap_or_else(|| part(args, |at| at.second().into()))
        },
        "getMilliseconds" => |args| {
            let of_duration =
                of_duration(args, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX));
            of_duration.unwrap_or_else(|| part(args, |at| at.millisecond().into()))
        },
        _ => return None,
    })
}

/// Wraps a result within the range that 64 bits of nanoseconds span, as in Go.
pub(super) fn duration<'a>(result: Option<SignedDuration>) -> Answer<'a> {
    result
        .filter(|duration| i64::try_from(duration.as_nanos()).is_ok())
        .map(Value::Duration)
        .ok_or_else(|| Error::new("duration overflow"))
}

/// Adds a length of time to a moment.
pub(super) fn shift<'a>(at: Timestamp, by: SignedDuration) -> Answer<'a> {
    at.checked_add(by).map(Value::Timestamp).map_err(|_| Error::new("timestamp overflow"))
}

fn to_duration<'a>(args: &[Value<'a>]) -> Answer<'a> {
    match &args[0] {
        Value::Duration(value) => Ok(Value::Duration(*value)),
        Value::Int(nanos) => Ok(Value::Duration(SignedDuration::from_nanos(*nanos))),
        Value::String(text) => {
            let parsed = parse_duration(text.as_str()).map(Value::Duration);
            parsed.ok_or_else(|| {
                Error::new("type conversion error from 'string' to 'google.protobuf.Duration'")
            })
        }
        _ => no_overload(),
    }
}

fn to_timestamp<'a>(args: &[Value<'a>]) -> Answer<'a> {
    match &args[0] {
        Value::Timestamp(value) => Ok(Value::Timestamp(*value)),
        Value::Int(seconds) => Timestamp::from_second(*seconds)
            .map(Value::Timestamp)
            .map_err(|_| Error::new("timestamp overflow")),
        Value::String(text) => {
            let parsed = parse_timestamp(text.as_str()).map(Value::Timestamp);
            parsed.ok_or_else(|| {
                Error::new("type conversion error from 'string' to 'google.protobuf.Timestamp'")
            })
        }
        _ => no_overload(),
    }
}

fn of_duration<'a>(args: &[Value<'a>], get: fn(&SignedDuration) -> i64) -> Option<Answer<'a>> {
    let Value::Duration(duration) = &args[0] else { return None };
    Some(Ok(Value::Int(get(duration))))
}

fn part<'a>(args: &[Value<'a>], get: fn(&Zoned) -> i64) -> Answer<'a> {
    let Value::Timestamp(moment) = &args[0] else { return no_overload() };
    let zone = match args.get(1) {
        None => TimeZone::UTC,
        Some(Value::String(name)) => zone(name.as_str())?,
        Some(_) => return no_overload(),
    };
    Ok(Value::Int(get(&moment.to_zoned(zone))))
}

/// Finds a time zone by name or by its offset such as `-08:00`.
fn zone(name: &str) -> Result<TimeZone, Error> {
    let unknown = || Error::new(format!("unknown time zone {name}"));
    let Some((hours, minutes)) = name.split_once(':') else {
        return TimeZone::get(name).map_err(|_| unknown());
    };
    let hours_number: i32 = hours.parse().map_err(|_| unknown())?;
    let minutes: i32 = minutes.parse().map_err(|_| unknown())?;
    let minutes = if hours.starts_with('-') { -minutes } else { minutes };
    let seconds = (hours_number * 60 + minutes) * 60;
    Offset::from_seconds(seconds).map(TimeZone::fixed).map_err(|_| unknown())
}

const UNITS: &[(&str, i128)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Parses a length of time as Go writes it, such as `1h30m` or `-1.5s`.
pub(in crate::schema::cel) fn parse_duration(text: &str) -> Option<SignedDuration> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    let mut nanos: i128 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
        nanos = nanos.checked_add(scaled(number, *factor)?)?;
        rest = after;
    }
    let nanos = i64::try_from(if negative { -nanos } else { nanos }).ok()?;
    Some(SignedDuration::from_nanos(nanos))
}

/// Multiplies a decimal number with a unit.
fn scaled(number: &str, factor: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || whole.len() > 19 || fraction.contains('.') {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let digits = &fraction[..fraction.len().min(15)];
    let part: i128 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    let power = 10_i128.checked_pow(u32::try_from(digits.len()).ok()?)?;
    Some(whole * factor + part * factor / power)
}

/// Parses a moment as RFC 3339 writes it.
pub(in crate::schema::cel) fn parse_timestamp(text: &str) -> Option<Timestamp> {
    // A date alone, or a date and time without offset, is no moment.
    let is_moment = text.len() >= 20
        && text.as_bytes()[10].eq_ignore_ascii_case(&b'T')
        && text.as_bytes()[4] == b'-';
    if is_moment { text.parse().ok() } else { None }
}

/// Writes a length of time in seconds, such as `1.5s`.
pub(in crate::schema::cel) fn duration_text(duration: SignedDuration) -> String {
    let nanos = duration.as_nanos();
    let sign = if nanos < 0 { "-" } else { "" };
    let (whole, part) =
        (nanos.unsigned_abs() / 1_000_000_000, nanos.unsigned_abs() % 1_000_000_000);
    let fraction = format!("{part:09}");
    let fraction = fraction.trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{whole}{dot}{fraction}s")
}

/// Writes a moment as RFC 3339 does, with as many digits as it needs.
pub(in crate::schema::cel) fn timestamp_text(moment: Timestamp) -> String {
    moment.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_as_go_reads_them() {
        for (text, want) in [
            ("1h30m", Some("5400s")),
            ("-1.5s", Some("-1.5s")),
            ("1ms", Some("0.001s")),
            ("0", Some("0s")),
            ("1h2", None),
            ("", None),
            ("1d", None),
            ("9999999h", None),
        ] {
            assert_eq!(parse_duration(text).map(duration_text).as_deref(), want, "{text}");
        }
    }
}
