//! Checks of single arguments, before anything is sent.

use std::time::Duration;

use stolos_api::cluster::fleet::MAX_NAME_LENGTH;
use stolos_core::update::version::WantedVersion;

/// Most members of a stage that are updated at a time (update-run docs).
const MAX_CONCURRENCY: u32 = 50;

/// Takes the name of something within a fleet.
pub(super) fn name(text: &str) -> Result<String, String> {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let right = text.chars().all(|c| is_word(c) || c == '-')
        && text.starts_with(is_word)
        && text.ends_with(is_word)
        && text.len() <= MAX_NAME_LENGTH;
    right.then(|| text.to_owned()).ok_or_else(|| {
        format!(
            "`{text}` is not a name: 1 to {MAX_NAME_LENGTH} lower-case letters, digits and dashes, \
             with a letter or digit at both ends"
        )
    })
}

/// Takes `1.33.2`, or `1.33` for the newest patch of that minor version.
pub(super) fn kubernetes_version(text: &str) -> Result<String, String> {
    match text.parse::<WantedVersion>() {
        Ok(version) => Ok(version.to_string()),
        Err(_) => {
            Err(format!("`{text}` is not a version such as 1.33.2, or 1.33 for its newest patch"))
        }
    }
}

/// Takes a number of members or a percentage.
pub(super) fn concurrency(text: &str) -> Result<String, String> {
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

/// Takes a duration of whole seconds.
pub(super) fn wait_seconds(text: &str) -> Result<i32, String> {
    let wrong = || format!("`{text}` is not a duration of whole seconds such as 30s, 10m or 1h30m");
    let signed: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    let duration = Duration::try_from(signed).map_err(|_| wrong())?;
    if duration.subsec_nanos() != 0 {
        return Err(wrong());
    }
    i32::try_from(duration.as_secs()).map_err(|_| wrong())
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
    fn waits_are_whole_seconds() {
        assert_eq!(wait_seconds("1h30m"), Ok(5400));
        assert_eq!(wait_seconds("0s"), Ok(0));
        for wrong in ["", "30", "-1s", "100ms", "1000000000h"] {
            assert!(wait_seconds(wrong).is_err(), "{wrong}");
        }
    }
}
