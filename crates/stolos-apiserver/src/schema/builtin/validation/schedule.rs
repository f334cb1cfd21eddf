//! Cron jobs: schedules as five fields, limits that are not below nothing.

use jiff::tz;
use serde_json::Value;

use super::check_text;
use crate::schema::causes::invalid;
use crate::status::Cause;

/// Longest name: jobs add eleven characters.
const MAX_NAME: usize = 52;

/// Names of the fields' values, the least and the most of each.
const FIELDS: [(&[&str], i64, i64); 5] = [
    (&[], 0, 59),
    (&[], 0, 23),
    (&[], 1, 31),
    (&["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1, 12),
    (&["sun", "mon", "tue", "wed", "thu", "fri", "sat"], 0, 6),
];

const DESCRIPTORS: [&str; 7] =
    ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

pub(super) fn check(job: &Value, causes: &mut Vec<Cause>) {
    let spec = &job["spec"];
    check_text(spec, "schedule", "spec.schedule", causes);
    let schedule = spec["schedule"].as_str().unwrap_or_default();
    if !schedule.is_empty()
        && let Err(why) = parse(schedule)
    {
        causes.push(invalid("spec.schedule", &spec["schedule"], &why));
    }
    if let Some(zone) = spec["timeZone"].as_str() {
        let problem = zone_problem(zone);
        causes.extend(problem.map(|why| invalid("spec.timeZone", &spec["timeZone"], &why)));
    }
    for field in ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"]
    {
        if spec[field].as_i64().is_some_and(|number| number < 0) {
            let why = "must be greater than or equal to 0";
            causes.push(invalid(&format!("spec.{field}"), &spec[field], why));
        }
    }
    let name = &job["metadata"]["name"];
    if name.as_str().is_some_and(|name| name.len() > MAX_NAME) {
        let why = format!("must be no more than {MAX_NAME} characters");
        causes.push(invalid("metadata.name", name, &why));
    }
}

fn zone_problem(zone: &str) -> Option<String> {
    if zone.is_empty() {
        return Some("timeZone must be nil or non-empty string".to_owned());
    }
    if zone.eq_ignore_ascii_case("local") {
        let why =
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        return Some(why.to_owned());
    }
    // A machine without time zones cannot tell which there are.
    let is_known = tz::db().is_definitively_empty() || tz::TimeZone::get(zone).is_ok();
    (!is_known).then(|| format!("unknown time zone {zone}"))
}

/// Checks a schedule, in the words of the library that upstream uses.
fn parse(schedule: &str) -> Result<(), String> {
    if schedule.contains("TZ") {
        return Err("cannot use TZ or CRON_TZ in schedule, use timeZone field instead".to_owned());
    }
    if schedule.starts_with('@') {
        let is_known = DESCRIPTORS.contains(&schedule) || schedule.starts_with("@every ");
        return if is_known { Ok(()) } else { Err(format!("unrecognized descriptor: {schedule}")) };
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Err(format!(
            "expected exactly 5 fields, found {}: [{}]",
            fields.len(),
            fields.join(" ")
        ));
    }
    for (field, (names, least, most)) in fields.into_iter().zip(FIELDS) {
        for range in field.split(',').filter(|range| !range.is_empty()) {
            check_range(range, names, least, most)?;
        }
    }
    Ok(())
}

fn check_range(text: &str, names: &[&str], least: i64, most: i64) -> Result<(), String> {
    let parts: Vec<&str> = text.split('/').collect();
    let bounds: Vec<&str> = parts[0].split('-').collect();
    let number = |part: &str| {
        let named = names.iter().position(|name| part.eq_ignore_ascii_case(name));
        match named.and_then(|index| i64::try_from(index).ok()) {
            Some(index) => Ok(index + least),
            None => whole(part),
        }
    };
    let (start, mut end) = match bounds.as_slice() {
        ["*" | "?", ..] => (least, most),
        [only] => (number(only)?, number(only)?),
        [start, end] => (number(start)?, number(end)?),
        _ => return Err(format!("too many hyphens: {text}")),
    };
    let step = match parts.as_slice() {
        [_] => 1,
        [_, step] => {
            if bounds.len() == 1 {
                end = most;
            }
            whole(step)?
        }
        _ => return Err(format!("too many slashes: {text}")),
    };
    if start < least {
        return Err(format!("beginning of range ({start}) below minimum ({least}): {text}"));
    }
    if end > most {
        return Err(format!("end of range ({end}) above maximum ({most}): {text}"));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    Ok(())
}

fn whole(text: &str) -> Result<i64, String> {
    let number: i64 = text.parse().map_err(|_| {
        format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax")
    })?;
    if number < 0 {
        return Err(format!("negative number ({number}) not allowed: {text}"));
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_have_five_fields_or_a_name() {
        for good in
            ["* * * * *", "*/5 0-23/2 1,15 JAN-dec mon", "0 0 ? * 5/2", "@hourly", "@every 1h30m"]
        {
            assert_eq!(parse(good), Ok(()), "{good}");
        }
        for (bad, want) in [
            ("* * *", "expected exactly 5 fields, found 3: [* * *]"),
            ("61 * * * *", "end of range (61) above maximum (59): 61"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            (
                "x * * * *",
                "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax",
            ),
            ("@often", "unrecognized descriptor: @often"),
        ] {
            assert_eq!(parse(bad), Err(want.to_owned()), "{bad}");
        }
    }
}
