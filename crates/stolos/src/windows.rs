//! Maintenance windows on the command line: `saturday 22:00+01:00/6h except 2026-12-20..2027-01-06`.
//!
//! First the days: `daily`, `saturday`, `day 15` of the month, `last friday` of the month; `every 2` and days, weeks or months
//! before them. Then the time of day with an offset from UTC, and after a slash how many hours the window stays open. Then,
//! where there are any, the first day with `from`, and with `except` days on which it is closed.

use std::path::Path;

use clap::Args;
use stolos_api::update::{
    AbsoluteMonthlySchedule, DailySchedule, DateSpan, Day, MaintenanceSchedule, MaintenanceWindow,
    MaintenanceWindows, RelativeMonthlySchedule, WeekIndex, WeeklySchedule,
};
use stolos_core::update::window::Window;

use crate::input;

const FORM: &str = "write it as in `saturday 22:00+01:00/6h`, `every 2 weeks monday 08:00/4h`, `daily 01:30/4h`, \
    `day 15 22:00/4h` or `last friday 20:00/8h from 2026-12-01 except 2026-12-20..2027-01-06`";

/// When a member may be upgraded.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Maintenance windows")]
pub(crate) struct WindowArgs {
    /// When the member may be upgraded, as in `saturday 22:00+01:00/6h`
    #[arg(long, value_name = "WINDOW", value_parser = parse, conflicts_with_all = ["kubernetes_window", "node_image_window", "windows_file"])]
    window: Option<MaintenanceWindow>,
    /// When its Kubernetes version may be upgraded
    #[arg(long, value_name = "WINDOW", value_parser = parse, conflicts_with = "windows_file")]
    kubernetes_window: Option<MaintenanceWindow>,
    /// When runs that are about node images alone may upgrade it
    #[arg(long, value_name = "WINDOW", value_parser = parse, conflicts_with = "windows_file")]
    node_image_window: Option<MaintenanceWindow>,
    /// File with `kubernetes` and `nodeImage` as in spec.maintenanceWindows, .json or .yaml; - reads standard input
    #[arg(long, value_name = "FILE", value_parser = from_file)]
    windows_file: Option<MaintenanceWindows>,
}

impl WindowArgs {
    /// Returns the windows that a member has after this, given those that it had.
    pub(crate) fn over(&self, before: Option<MaintenanceWindows>) -> Option<MaintenanceWindows> {
        if self.windows_file.is_some() {
            return self.windows_file.clone();
        }
        let kubernetes = self.window.as_ref().or(self.kubernetes_window.as_ref());
        let node_image = self.window.as_ref().or(self.node_image_window.as_ref());
        if kubernetes.is_none() && node_image.is_none() {
            return before;
        }
        let mut windows = before.unwrap_or_default();
        windows.kubernetes = kubernetes.cloned().or(windows.kubernetes);
        windows.node_image = node_image.cloned().or(windows.node_image);
        Some(windows)
    }
}

/// Reads the windows in a file, or says what is wrong with them.
fn from_file(path: &str) -> Result<MaintenanceWindows, String> {
    let text = input::text_of(Path::new(path)).map_err(|error| format!("{error:#}"))?;
    from_text(&text)
}

/// Reads windows as they stand in a member, and checks them.
fn from_text(text: &str) -> Result<MaintenanceWindows, String> {
    let wrong = |what: &str| {
        format!(
            "{what}; the file holds `kubernetes` and `nodeImage` as \
             `kubectl explain fleetmember.spec.maintenanceWindows` tells"
        )
    };
    let value: serde_json::Value =
        serde_saphyr::from_str(text).map_err(|_| wrong("it is neither YAML nor JSON"))?;
    let unknown = value.as_object().and_then(|fields| {
        fields.keys().find(|field| !["kubernetes", "nodeImage"].contains(&field.as_str()))
    });
    if let Some(field) = unknown {
        return Err(wrong(&format!("`{field}` is not a kind of window")));
    }
    let windows: MaintenanceWindows =
        serde_json::from_value(value).map_err(|error| wrong(&error.to_string()))?;
    let named = [("kubernetes", &windows.kubernetes), ("nodeImage", &windows.node_image)];
    for (name, window) in named {
        if let Some(problem) = window.as_ref().and_then(|window| Window::parse(window).err()) {
            return Err(wrong(&format!("{name}.{} {}", problem.field, problem.message)));
        }
    }
    Ok(windows)
}

/// Reads a window, or says what is wrong with it.
pub(crate) fn parse(text: &str) -> Result<MaintenanceWindow, String> {
    let wrong = |what: &str| format!("`{text}` {what}; {FORM}");
    let lower = text.to_lowercase();
    let mut words = lower.split_whitespace().peekable();
    let mut days = Vec::new();
    while let Some(word) = words.next_if(|word| !word.contains('/')) {
        days.push(word);
    }
    let schedule = schedule(&days).ok_or_else(|| wrong("does not say on which days it opens"))?;
    let time = words.next().ok_or_else(|| wrong("does not say when it opens and for how long"))?;
    let (start_time, utc_offset, duration_hours) =
        time_of_day(time).ok_or_else(|| wrong("has no time such as 22:00+01:00/6h"))?;
    let mut window = MaintenanceWindow {
        schedule,
        duration_hours,
        utc_offset,
        start_date: None,
        start_time,
        not_allowed_dates: Vec::new(),
    };
    while let Some(word) = words.next() {
        let argument = words.next().ok_or_else(|| wrong("ends too early"))?;
        match word {
            "from" => window.start_date = Some(argument.to_owned()),
            "except" => {
                let (start, end) = argument.split_once("..").unwrap_or((argument, argument));
                let span = DateSpan { start: start.to_owned(), end: end.to_owned() };
                window.not_allowed_dates.push(span);
            }
            _ => return Err(wrong(&format!("has `{word}` where `from` or `except` would stand"))),
        }
    }
    match Window::parse(&window) {
        Ok(_) => Ok(window),
        Err(problem) => Err(wrong(&format!("has a {} that {}", problem.field, problem.message))),
    }
}

/// Reads the days; `None` when they are not of the form.
fn schedule(words: &[&str]) -> Option<MaintenanceSchedule> {
    let (interval, unit, words) = match words {
        ["every", number, unit, rest @ ..] => (number.parse::<i32>().ok()?, *unit, rest),
        rest => (1, "", rest),
    };
    let is = |units: [&str; 2]| unit.is_empty() || units.contains(&unit);
    match words {
        ["daily"] if unit.is_empty() => Some(daily(1)),
        [] if ["day", "days"].contains(&unit) => Some(daily(interval)),
        [name] if is(["week", "weeks"]) => Some(MaintenanceSchedule::Weekly(WeeklySchedule {
            interval_weeks: interval,
            day_of_week: day(name)?,
        })),
        ["day", number] if is(["month", "months"]) => {
            Some(MaintenanceSchedule::AbsoluteMonthly(AbsoluteMonthlySchedule {
                interval_months: interval,
                day_of_month: number.parse().ok()?,
            }))
        }
        [index, name] if is(["month", "months"]) => {
            Some(MaintenanceSchedule::RelativeMonthly(RelativeMonthlySchedule {
                interval_months: interval,
                week_index: week_index(index)?,
                day_of_week: day(name)?,
            }))
        }
        _ => None,
    }
}

fn daily(interval_days: i32) -> MaintenanceSchedule {
    MaintenanceSchedule::Daily(DailySchedule { interval_days })
}

const DAYS: [(&str, Day); 7] = [
    ("monday", Day::Monday),
    ("tuesday", Day::Tuesday),
    ("wednesday", Day::Wednesday),
    ("thursday", Day::Thursday),
    ("friday", Day::Friday),
    ("saturday", Day::Saturday),
    ("sunday", Day::Sunday),
];

const INDEXES: [(&str, WeekIndex); 5] = [
    ("first", WeekIndex::First),
    ("second", WeekIndex::Second),
    ("third", WeekIndex::Third),
    ("fourth", WeekIndex::Fourth),
    ("last", WeekIndex::Last),
];

fn day(name: &str) -> Option<Day> {
    DAYS.iter().find(|(known, _)| *known == name).map(|(_, day)| *day)
}

fn week_index(name: &str) -> Option<WeekIndex> {
    INDEXES.iter().find(|(known, _)| *known == name).map(|(_, index)| *index)
}

/// Reads `22:00+01:00/6h`: time, offset and hours.
fn time_of_day(text: &str) -> Option<(String, String, i32)> {
    let (time, hours) = text.split_once('/')?;
    let hours = hours.strip_suffix('h')?.parse().ok()?;
    let (time, offset) = match time.find(['+', '-']) {
        Some(at) => time.split_at(at),
        None => (time, "+00:00"),
    };
    let offset = if offset.is_empty() { "+00:00" } else { offset };
    Some((time.to_owned(), offset.to_owned(), hours))
}

/// Writes a window as [`parse`] reads it.
pub(crate) fn text(window: &MaintenanceWindow) -> String {
    let MaintenanceWindow {
        schedule,
        duration_hours,
        utc_offset,
        start_date,
        start_time,
        not_allowed_dates,
    } = window;
    let offset = if utc_offset == "+00:00" { "" } else { utc_offset };
    let mut text = format!("{} {start_time}{offset}/{duration_hours}h", days(schedule));
    if let Some(date) = start_date {
        text.push_str(" from ");
        text.push_str(date);
    }
    for DateSpan { start, end } in not_allowed_dates {
        text.push_str(" except ");
        text.push_str(start);
        if start != end {
            text.push_str("..");
            text.push_str(end);
        }
    }
    text
}

fn days(schedule: &MaintenanceSchedule) -> String {
    let every = |interval: i32, units: &str| match interval {
        1 => String::new(),
        _ => format!("every {interval} {units} "),
    };
    let name = |day: &Day| DAYS.iter().find(|(_, known)| known == day).map_or("", |(name, _)| name);
    match schedule {
        MaintenanceSchedule::Daily(DailySchedule { interval_days: 1 }) => "daily".to_owned(),
        MaintenanceSchedule::Daily(DailySchedule { interval_days }) => {
            format!("every {interval_days} days")
        }
        MaintenanceSchedule::Weekly(WeeklySchedule { interval_weeks, day_of_week }) => {
            format!("{}{}", every(*interval_weeks, "weeks"), name(day_of_week))
        }
        MaintenanceSchedule::AbsoluteMonthly(AbsoluteMonthlySchedule {
            interval_months,
            day_of_month,
        }) => format!("{}day {day_of_month}", every(*interval_months, "months")),
        MaintenanceSchedule::RelativeMonthly(RelativeMonthlySchedule {
            interval_months,
            week_index,
            day_of_week,
        }) => {
            let index = INDEXES.iter().find(|(_, known)| known == week_index);
            let index = index.map_or("", |(name, _)| name);
            format!("{}{index} {}", every(*interval_months, "months"), name(day_of_week))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_form_is_read_and_written_alike() {
        for form in [
            "daily 01:30/4h",
            "every 3 days 01:30/4h",
            "saturday 22:00+01:00/6h",
            "every 2 weeks monday 08:00-05:30/4h",
            "day 31 22:00/4h",
            "every 3 months day 15 22:00/4h",
            "last friday 20:00/8h from 2026-12-01 except 2026-12-20..2027-01-06 except 2027-04-01",
            "every 2 months first sunday 00:00/24h",
        ] {
            assert_eq!(text(&parse(form).unwrap()), form);
        }
        assert_eq!(
            text(&parse("Every 2 Weeks MONDAY 08:00/4h").unwrap()),
            "every 2 weeks monday 08:00/4h"
        );
    }

    #[test]
    fn a_window_is_what_its_words_say() {
        let window =
            parse("every 2 months last saturday 22:00+01:00/6h except 2026-12-24").unwrap();
        assert_eq!(
            serde_json::to_value(window).unwrap(),
            json!({
                "schedule": {"relativeMonthly":
                    {"intervalMonths": 2, "weekIndex": "Last", "dayOfWeek": "Saturday"}},
                "startTime": "22:00", "durationHours": 6, "utcOffset": "+01:00",
                "notAllowedDates": [{"start": "2026-12-24", "end": "2026-12-24"}],
            })
        );
    }

    #[test]
    fn mistakes_are_named() {
        let errors = [
            "",
            "saturday",
            "22:00/6h",
            "someday 22:00/6h",
            "every 2 weeks daily 22:00/6h",
            "saturday 22:00/6",
            "saturday 25:00/6h",
            "saturday 22:00/25h",
            "saturday 22:00+25:00/6h",
            "saturday 22:00/6h from",
            "saturday 22:00/6h until 2026-12-01",
            "saturday 22:00/6h from soon",
            "every 9 weeks saturday 22:00/6h",
        ]
        .map(|form| {
            let error = parse(form).unwrap_err();
            error.split("; write").next().unwrap().to_owned()
        });
        insta::assert_snapshot!(errors.join("\n"), @r"
        `` does not say on which days it opens
        `saturday` does not say when it opens and for how long
        `22:00/6h` does not say on which days it opens
        `someday 22:00/6h` does not say on which days it opens
        `every 2 weeks daily 22:00/6h` does not say on which days it opens
        `saturday 22:00/6` has no time such as 22:00+01:00/6h
        `saturday 25:00/6h` has a startTime that is `25:00`, which is not a time of day such as 08:30
        `saturday 22:00/25h` has a durationHours that is `25`, which is not from 1 to 24
        `saturday 22:00+25:00/6h` has a utcOffset that is `+25:00`, which is not an offset from UTC such as +02:00
        `saturday 22:00/6h from` ends too early
        `saturday 22:00/6h until 2026-12-01` has `until` where `from` or `except` would stand
        `saturday 22:00/6h from soon` has a startDate that is `soon`, which is not a date such as 2026-03-31
        `every 9 weeks saturday 22:00/6h` has a schedule.weekly.intervalWeeks that is `9`, which is not from 1 to 4
        ");
    }

    #[test]
    fn what_is_not_given_stays() {
        let window = |text: &str| Some(parse(text).unwrap());
        let before = || {
            let (kubernetes, node_image) = (window("monday 01:00/4h"), window("tuesday 01:00/4h"));
            Some(MaintenanceWindows { kubernetes, node_image })
        };
        let none = WindowArgs::default();
        assert_eq!(none.over(before()), before());
        assert_eq!(none.over(None), None);
        let one =
            WindowArgs { node_image_window: window("daily 01:00/4h"), ..WindowArgs::default() };
        let after = one.over(before()).unwrap();
        assert_eq!(after.kubernetes, window("monday 01:00/4h"));
        assert_eq!(after.node_image, window("daily 01:00/4h"));
        let both = WindowArgs { window: window("daily 01:00/4h"), ..WindowArgs::default() };
        let after = both.over(before()).unwrap();
        assert_eq!(after.kubernetes, after.node_image);
    }

    #[test]
    fn a_file_holds_the_field_as_it_stands_in_a_member() {
        let windows = from_text(
            "nodeImage: {schedule: {daily: {intervalDays: 1}}, startTime: '01:00', durationHours: 4}",
        );
        let windows = windows.unwrap();
        assert_eq!(windows.kubernetes, None);
        assert_eq!(windows.node_image.as_ref().map(text).as_deref(), Some("daily 01:00/4h"));
        for (wrong, want) in [
            ("default: {}", "`default` is not a kind of window"),
            ("kubernetes: {startTime: x}", "missing field"),
            (
                "kubernetes: {schedule: {daily: {intervalDays: 1}}, startTime: x, durationHours: 4}",
                "kubernetes.startTime is `x`, which is not a time of day such as 08:30",
            ),
        ] {
            let error = from_text(wrong).unwrap_err();
            assert!(error.contains(want), "{error}");
        }
    }
}
