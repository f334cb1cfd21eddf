//! Dates and times as the API writes them.

use jiff::civil::Weekday;
use jiff::tz::Offset;
use stolos_api::update::Day;

/// Reads an offset from UTC: `+02:00`.
pub(super) fn parse_offset(text: &str) -> Option<Offset> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+')?),
    };
    let (hours, minutes) = parse_hour_minute(rest)?;
    Offset::from_seconds(sign * (i32::from(hours) * 3600 + i32::from(minutes) * 60)).ok()
}

/// Reads hours and minutes: `08:30`.
pub(super) fn parse_hour_minute(text: &str) -> Option<(i8, i8)> {
    let (hours, minutes) = text.split_once(':')?;
    Some((hours.parse().ok()?, minutes.parse().ok()?))
}

pub(super) fn weekday(day: Day) -> Weekday {
    match day {
        Day::Monday => Weekday::Monday,
        Day::Tuesday => Weekday::Tuesday,
        Day::Wednesday => Weekday::Wednesday,
        Day::Thursday => Weekday::Thursday,
        Day::Friday => Weekday::Friday,
        Day::Saturday => Weekday::Saturday,
        Day::Sunday => Weekday::Sunday,
    }
}
