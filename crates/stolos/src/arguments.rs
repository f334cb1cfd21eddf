//! Checks of single arguments, before anything is sent.

use std::time::Duration;

use stolos_api::cluster::fleet::MAX_NAME_LENGTH;
use stolos_api::validation::{is_label_value, is_qualified_name};
use stolos_core::update::version::WantedVersion;

/// Most members of a stage that are updated at a time (update-run docs).
const MAX_CONCURRENCY: u32 = 50;

/// Longest name of a fleet: that of a DNS label.
const MAX_FLEET_NAME: usize = 63;

/// Takes the name of a fleet.
pub(crate) fn fleet_name(text: &str) -> Result<String, String> {
    is_name(text, MAX_FLEET_NAME)
        .then(|| text.to_owned())
        .ok_or_else(|| no_name(text, MAX_FLEET_NAME))
}

/// Takes the name of something within a fleet.
pub(crate) fn name(text: &str) -> Result<String, String> {
    is_name(text, MAX_NAME_LENGTH)
        .then(|| text.to_owned())
        .ok_or_else(|| no_name(text, MAX_NAME_LENGTH))
}

fn is_name(text: &str, most: usize) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.chars().all(|c| is_word(c) || c == '-')
        && text.starts_with(is_word)
        && text.ends_with(is_word)
        && text.len() <= most
}

fn no_name(text: &str, most: usize) -> String {
    format!(
        "`{text}` is not a name: 1 to {most} lower-case letters, digits and dashes, \
         with a letter or digit at both ends"
    )
}

/// Takes a label, `key=value`.
pub(crate) fn label(text: &str) -> Result<(String, String), String> {
    match label_change(text)? {
        Change::Set(key, value) => Ok((key, value)),
        Change::Remove(_) => Err(format!("`{text}` is not a label such as `region=europe`")),
    }
}

/// Takes `1.33.2`, or `1.33` for the newest patch of that minor version.
pub(crate) fn kubernetes_version(text: &str) -> Result<String, String> {
    match text.parse::<WantedVersion>() {
        Ok(version) => Ok(version.to_string()),
        Err(_) => {
            Err(format!("`{text}` is not a version such as 1.33.2, or 1.33 for its newest patch"))
        }
    }
}

/// Takes a number of members or a percentage.
pub(crate) fn concurrency(text: &str) -> Result<String, String> {
    let (digits, most) = match text.strip_suffix('%') {
        Some(percent) => (percent, 100),
        None => (text, MAX_CONCURRENCY),
    };
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    match digits.parse::<u32>() {
        Ok(number) if plain && number <= most => Ok(text.to_owned()),
        _ => Err(format!(
            "`{text}` is neither a number of members from 1 to {MAX_CONCURRENCY} nor a percentage from 1% to 100%"
        )),
    }
}

/// Takes a number of members that may fail or must succeed, or a percentage.
pub(crate) fn tolerance(text: &str) -> Result<String, String> {
    let (digits, most) = match text.strip_suffix('%') {
        Some(percent) => (percent, 100),
        None => (text, i32::MAX.unsigned_abs()),
    };
    let plain =
        digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    match digits.parse::<u32>() {
        Ok(number) if plain && number <= most => Ok(text.to_owned()),
        _ => {
            Err(format!("`{text}` is neither a number of members nor a percentage from 0% to 100%"))
        }
    }
}

/// Takes a duration of whole seconds.
pub(crate) fn wait_seconds(text: &str) -> Result<i32, String> {
    let wrong = || format!("`{text}` is not a duration of whole seconds such as 30s, 10m or 1h30m");
    let signed: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    let duration = Duration::try_from(signed).map_err(|_| wrong())?;
    if duration.subsec_nanos() != 0 {
        return Err(wrong());
    }
    i32::try_from(duration.as_secs()).map_err(|_| wrong())
}

/// A change of something with a key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change<T> {
    Set(String, T),
    Remove(String),
}

/// Takes `key=value` or `key-`.
pub(crate) fn label_change(text: &str) -> Result<Change<String>, String> {
    if let Some(key) = text.strip_suffix('-').filter(|key| !key.contains('=')) {
        return Ok(Change::Remove(checked_key(key)?));
    }
    let Some((key, value)) = text.split_once('=') else {
        return Err(format!("`{text}` is neither `key=value` nor `key-`"));
    };
    Ok(Change::Set(checked_key(key)?, checked_value(value)?))
}

/// Takes the key of a label or taint.
pub(crate) fn checked_key(key: &str) -> Result<String, String> {
    let wrong = || format!("`{key}` is not a key such as `region` or `example.com/region`");
    is_qualified_name(key).then(|| key.to_owned()).ok_or_else(wrong)
}

/// Takes the value of a label or taint.
pub(crate) fn checked_value(value: &str) -> Result<String, String> {
    let wrong =
        || format!("`{value}` is not a value: at most 63 letters, digits, `-`, `_` and `.`");
    is_label_value(value).then(|| value.to_owned()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_the_hub_takes() {
        for right in ["a", "june", "2026-06", &"a".repeat(50)] {
            assert_eq!(name(right).as_deref(), Ok(right));
        }
        for wrong in ["", "-a", "a-", "June", "local.june", "a_b", &"a".repeat(51)] {
            assert!(name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn versions_lose_a_leading_v() {
        assert_eq!(kubernetes_version("v1.35.0").as_deref(), Ok("1.35.0"));
        assert_eq!(kubernetes_version("1.35").as_deref(), Ok("1.35"));
        for wrong in ["", "1", "1.35.0.1", "latest", "1.35-rc"] {
            assert!(kubernetes_version(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn concurrency_is_a_number_or_a_percentage() {
        for right in ["1", "50", "1%", "100%"] {
            assert_eq!(concurrency(right).as_deref(), Ok(right));
        }
        for wrong in ["", "0", "51", "0%", "101%", "%", "-1", "+1", "01", "many"] {
            assert!(concurrency(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_tolerance_is_a_number_or_a_percentage() {
        for right in ["0", "1", "1000", "0%", "100%"] {
            assert_eq!(tolerance(right).as_deref(), Ok(right));
        }
        for wrong in ["", "101%", "%", "-1", "+1", "01", "many", "9999999999"] {
            assert!(tolerance(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn waits_are_whole_seconds() {
        assert_eq!(wait_seconds("1h30m"), Ok(5400));
        assert_eq!(wait_seconds("0s"), Ok(0));
        for wrong in ["", "30", "-1s", "100ms", "1000000000h"] {
            assert!(wait_seconds(wrong).is_err(), "{wrong}");
        }
    }
}
