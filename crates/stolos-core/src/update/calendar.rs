//! Dates and times as the API writes them.

use jiff::civil::Weekday;
use jiff::tz::Offset;
use stolos_api::update::Day;

/// The farthest offset from UTC that there is, in seconds.
const MAX_OFFSET: i32 = 14 * 3600;

/// Reads an offset from UTC: `+02:00`.
pub(super) fn parse_offset(text: &str) -> Option<Offset> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+')?),
    };
    let (hours, minutes) = parse_hour_minute(rest)?;
    let seconds = i32::from(hours) * 3600 + i32::from(minutes) * 60;
    let exists = hours >= 0 && (0..60).contains(&minutes) && seconds <= MAX_OFFSET;
    exists.then(|| Offset::from_seconds(sign * seconds).ok())?
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

#[cfg(test)]
mod tests {
    use super::parse_offset;

    #[test]
    fn offsets_are_those_that_exist() {
        for (text, want) in [("+00:00", 0), ("-03:30", -12600), ("+14:00", 50400)] {
            assert_eq!(parse_offset(text).unwrap().seconds(), want, "{text}");
        }
        for wrong in ["", "02:00", "+14:01", "+25:00", "+02:60", "+-2:00", "+02", "CET"] {
            assert_eq!(parse_offset(wrong), None, "{wrong}");
        }
    }
}
