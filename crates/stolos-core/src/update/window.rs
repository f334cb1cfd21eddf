//! Maintenance windows: whether one is open, and when it opens and closes (section 7).

use jiff::civil::{Date, Time};
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp, ToSpan};
use stolos_api::update::{
    AbsoluteMonthlySchedule, DailySchedule, DateSpan, MaintenanceSchedule, MaintenanceWindow,
    RelativeMonthlySchedule, WeekIndex, WeeklySchedule,
};

use super::calendar::{parse_hour_minute, parse_offset, weekday};
use super::problem::Problem;

/// A member whose window opens within this time is taken before those without a window (maintenance window docs).
pub const OPENS_SOON: SignedDuration = SignedDuration::from_hours(4);

/// A day's window is open for at most a day, so that only today's and yesterday's can be open.
const MAX_DURATION_HOURS: i32 = 24;

/// A maintenance window, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    schedule: MaintenanceSchedule,
    duration: SignedDuration,
    offset: Offset,
    /// Intervals are counted from this day.
    anchor: Date,
    /// The window does not open before this day.
    first_day: Date,
    time: Time,
    /// Days on which the window is closed.
    closed: Vec<(Date, Date)>,
}

/// How a window stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// It is open, and closes then.
    OpenUntil(Timestamp),
    /// It is closed, and opens then.
    OpensAt(Timestamp),
    /// It never opens again.
    Never,
}

impl Window {
    /// Checks a window.
    ///
    /// # Errors
    ///
    /// Names the first field, within the window, that is not of its form.
    pub fn parse(window: &MaintenanceWindow) -> Result<Self, Problem> {
        let problem = |field: &str, is: &str, must: &str| {
            Problem::new(field, format!("is `{is}`, which is not {must}"))
        };
        let hours = window.duration_hours;
        if !(1..=MAX_DURATION_HOURS).contains(&hours) {
            let must = format!("from 1 to {MAX_DURATION_HOURS}");
            return Err(problem("durationHours", &hours.to_string(), &must));
        }
        check_schedule(&window.schedule)?;
        let offset = parse_offset(&window.utc_offset).ok_or_else(|| {
            problem("utcOffset", &window.utc_offset, "an offset from UTC such as +02:00")
        })?;
        let time = parse_hour_minute(&window.start_time)
            .and_then(|(hour, minute)| Time::new(hour, minute, 0, 0).ok())
            .ok_or_else(|| {
                problem("startTime", &window.start_time, "a time of day such as 08:30")
            })?;
        let date = |field: &str, text: &str| {
            text.parse::<Date>().map_err(|_| problem(field, text, "a date such as 2026-03-31"))
        };
        let start = window.start_date.as_ref().map(|text| date("startDate", text)).transpose()?;
        let span = |span: &DateSpan| {
            let field = "notAllowedDates";
            Ok((date(field, &span.start)?, date(field, &span.end)?))
        };
        Ok(Self {
            schedule: window.schedule.clone(),
            duration: SignedDuration::from_hours(hours.into()),
            offset,
            anchor: start.unwrap_or(Date::constant(1970, 1, 1)),
            first_day: start.unwrap_or(Date::MIN),
            time,
            closed: window.not_allowed_dates.iter().map(span).collect::<Result<_, _>>()?,
        })
    }

    /// Tells how the window stands at a moment.
    pub fn at(&self, now: Timestamp) -> Opening {
        match self.spans(now).next() {
            Some((start, end)) if start <= now => Opening::OpenUntil(end),
            Some((start, _)) => Opening::OpensAt(start),
            None => Opening::Never,
        }
    }

    /// Returns the times, each with its beginning and end, at which the window is open from `from` on. What is open at
    /// `from` begins there. Times that touch are one.
    pub fn spans(&self, from: Timestamp) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        let mut pieces = Pieces { window: self, position: from, occurrence: None }.peekable();
        std::iter::from_fn(move || {
            let (start, mut end) = pieces.next()?;
            // More than a year without a break is as good as open for ever.
            for _ in 0..400 {
                match pieces.next_if(|(next, _)| *next == end) {
                    Some((_, later)) => end = later,
                    None => break,
                }
            }
            Some((start, end))
        })
    }

    /// Returns the first day from `day` on at which the schedule opens the window.
    fn occurrence_from(&self, day: Date) -> Option<Date> {
        let day = day.max(self.first_day).max(self.anchor);
        match &self.schedule {
            MaintenanceSchedule::Daily(DailySchedule { interval_days }) => {
                next_step(self.anchor, *interval_days, day)
            }
            MaintenanceSchedule::Weekly(WeeklySchedule { interval_weeks, day_of_week }) => {
                let days = self.anchor.weekday().until(weekday(*day_of_week));
                let first = self.anchor.checked_add(i64::from(days).days()).ok()?;
                next_step(first, interval_weeks * 7, day)
            }
            MaintenanceSchedule::AbsoluteMonthly(AbsoluteMonthlySchedule {
                interval_months,
                day_of_month,
            }) => self.next_month(*interval_months, day, |month| {
                let last = month.days_in_month();
                let wanted = i8::try_from(*day_of_month).unwrap_or(last);
                Date::new(month.year(), month.month(), wanted.min(last)).ok()
            }),
            MaintenanceSchedule::RelativeMonthly(RelativeMonthlySchedule {
                interval_months,
                week_index,
                day_of_week,
            }) => self.next_month(*interval_months, day, |month| {
                month.nth_weekday_of_month(nth(*week_index), weekday(*day_of_week)).ok()
            }),
        }
    }

    /// Goes through the months of the schedule from the month of `day` on.
    fn next_month(
        &self,
        interval: i32,
        day: Date,
        day_of_month: impl Fn(Date) -> Option<Date>,
    ) -> Option<Date> {
        let index = |date: Date| i32::from(date.year()) * 12 + i32::from(date.month()) - 1;
        let late_by = (index(day) - index(self.anchor)).rem_euclid(interval);
        let first = day.first_of_month();
        let ahead = if late_by == 0 { 0 } else { interval - late_by };
        // The month of `day` may have had its day already; the one after it has not.
        [ahead, ahead + interval].into_iter().find_map(|months| {
            let month = first.checked_add(months.months()).ok()?;
            day_of_month(month).filter(|found| *found >= day)
        })
    }

    /// Returns the last of the days on which the window is closed and of which `day` is one.
    fn closed_until(&self, day: Date) -> Option<Date> {
        let span = self.closed.iter().find(|(start, end)| (*start..=*end).contains(&day))?;
        Some(span.1)
    }

    fn moment(&self, day: Date, time: Time) -> Option<Timestamp> {
        self.offset.to_timestamp(day.to_datetime(time)).ok()
    }

    fn day(&self, moment: Timestamp) -> Date {
        self.offset.to_datetime(moment).date()
    }
}

/// The times at which a window is open, cut where one occurrence ends or a closed day begins.
struct Pieces<'a> {
    window: &'a Window,
    position: Timestamp,
    /// The day whose occurrence is looked at.
    occurrence: Option<Date>,
}

impl Iterator for Pieces<'_> {
    type Item = (Timestamp, Timestamp);

    fn next(&mut self) -> Option<Self::Item> {
        let window = self.window;
        // Each turn ends an occurrence or one of the closed spans, and no closed span is met twice.
        for _ in 0..2 * window.closed.len() + 4 {
            let today = window.day(self.position);
            let from = self.occurrence.unwrap_or_else(|| today.yesterday().unwrap_or(today));
            let day = window.occurrence_from(from)?;
            self.occurrence = Some(day);
            let start = window.moment(day, window.time)?;
            let end = start.checked_add(window.duration).ok()?;
            if end <= self.position {
                self.occurrence = Some(day.tomorrow().ok()?);
                continue;
            }
            let position = self.position.max(start);
            let day = window.day(position);
            if let Some(last_closed) = window.closed_until(day) {
                self.position = window.moment(last_closed.tomorrow().ok()?, Time::midnight())?;
                self.occurrence = self.occurrence.map(|current| current.max(last_closed));
                continue;
            }
            let tomorrow = day.tomorrow().ok()?;
            let end = match window.closed_until(tomorrow) {
                Some(_) => end.min(window.moment(tomorrow, Time::midnight())?),
                None => end,
            };
            self.position = end;
            return Some((position, end));
        }
        None
    }
}

/// Returns the first of `first`, `first + days`, `first + 2 days`… that is not before `day`.
fn next_step(first: Date, days: i32, day: Date) -> Option<Date> {
    let passed = i64::from((day - first).get_days());
    let days = i64::from(days);
    let steps = passed.max(0).div_euclid(days) + i64::from(passed.max(0).rem_euclid(days) > 0);
    first.checked_add((steps * days).days()).ok()
}

fn nth(index: WeekIndex) -> i8 {
    match index {
        WeekIndex::First => 1,
        WeekIndex::Second => 2,
        WeekIndex::Third => 3,
        WeekIndex::Fourth => 4,
        WeekIndex::Last => -1,
    }
}

fn check_schedule(schedule: &MaintenanceSchedule) -> Result<(), Problem> {
    let (field, is, most) = match schedule {
        MaintenanceSchedule::Daily(daily) => {
            ("schedule.daily.intervalDays", daily.interval_days, 7)
        }
        MaintenanceSchedule::Weekly(weekly) => {
            ("schedule.weekly.intervalWeeks", weekly.interval_weeks, 4)
        }
        MaintenanceSchedule::AbsoluteMonthly(monthly) => {
            if !(1..=31).contains(&monthly.day_of_month) {
                let text = format!("is `{}`, which is not from 1 to 31", monthly.day_of_month);
                return Err(Problem::new("schedule.absoluteMonthly.dayOfMonth", text));
            }
            ("schedule.absoluteMonthly.intervalMonths", monthly.interval_months, 6)
        }
        MaintenanceSchedule::RelativeMonthly(monthly) => {
            ("schedule.relativeMonthly.intervalMonths", monthly.interval_months, 6)
        }
    };
    if (1..=most).contains(&is) {
        return Ok(());
    }
    Err(Problem::new(field, format!("is `{is}`, which is not from 1 to {most}")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn window(json: Value) -> Window {
        Window::parse(&serde_json::from_value(json).unwrap()).unwrap()
    }

    fn at(window: &Window, now: &str) -> String {
        match window.at(now.parse().unwrap()) {
            Opening::OpenUntil(end) => format!("until {end}"),
            Opening::OpensAt(start) => format!("at {start}"),
            Opening::Never => "never".into(),
        }
    }

    #[test]
    fn windows_open_when_their_schedule_says() {
        // 2026-03-04 is a Wednesday.
        let daily = json!({"daily": {"intervalDays": 1}});
        let second_day = json!({"daily": {"intervalDays": 2}});
        let friday = json!({"weekly": {"intervalWeeks": 2, "dayOfWeek": "Friday"}});
        let last_day = json!({"absoluteMonthly": {"intervalMonths": 1, "dayOfMonth": 31}});
        let last_monday = json!({"relativeMonthly": {"intervalMonths": 2, "weekIndex": "Last", "dayOfWeek": "Monday"}});
        let first_monday = json!({"relativeMonthly": {"intervalMonths": 1, "weekIndex": "First", "dayOfWeek": "Monday"}});
        for (schedule, more, now, want) in [
            (&daily, json!({}), "2026-03-04T10:00:00Z", "at 2026-03-04T22:00:00Z"),
            (&daily, json!({}), "2026-03-04T22:00:00Z", "until 2026-03-05T02:00:00Z"),
            (&daily, json!({}), "2026-03-05T01:59:59Z", "until 2026-03-05T02:00:00Z"),
            (&daily, json!({}), "2026-03-05T02:00:00Z", "at 2026-03-05T22:00:00Z"),
            (
                &daily,
                json!({"utcOffset": "+05:30"}),
                "2026-03-04T10:00:00Z",
                "at 2026-03-04T16:30:00Z",
            ),
            (
                &daily,
                json!({"utcOffset": "-08:00"}),
                "2026-03-04T10:00:00Z",
                "at 2026-03-05T06:00:00Z",
            ),
            (
                &daily,
                json!({"startDate": "2026-05-01"}),
                "2026-03-04T10:00:00Z",
                "at 2026-05-01T22:00:00Z",
            ),
            (
                &second_day,
                json!({"startDate": "2026-03-01"}),
                "2026-03-04T10:00:00Z",
                "at 2026-03-05T22:00:00Z",
            ),
            (
                &friday,
                json!({"startDate": "2026-03-01"}),
                "2026-03-04T10:00:00Z",
                "at 2026-03-06T22:00:00Z",
            ),
            (
                &friday,
                json!({"startDate": "2026-03-01"}),
                "2026-03-08T10:00:00Z",
                "at 2026-03-20T22:00:00Z",
            ),
            (&last_day, json!({}), "2026-02-04T10:00:00Z", "at 2026-02-28T22:00:00Z"),
            (&last_day, json!({}), "2026-03-01T01:00:00Z", "until 2026-03-01T02:00:00Z"),
            (
                &last_monday,
                json!({"startDate": "2026-03-31"}),
                "2026-03-04T10:00:00Z",
                "at 2026-05-25T22:00:00Z",
            ),
            (&first_monday, json!({}), "2026-03-04T10:00:00Z", "at 2026-04-06T22:00:00Z"),
            // Closed days cut what they touch, also what began the day before.
            (
                &daily,
                json!({"notAllowedDates": [{"start": "2026-03-05", "end": "2026-03-06"}]}),
                "2026-03-04T23:00:00Z",
                "until 2026-03-05T00:00:00Z",
            ),
            (
                &daily,
                json!({"notAllowedDates": [{"start": "2026-03-05", "end": "2026-03-06"}]}),
                "2026-03-05T01:00:00Z",
                "at 2026-03-07T00:00:00Z",
            ),
            (
                &daily,
                json!({"notAllowedDates": [{"start": "2026-03-04", "end": "2026-03-04"}]}),
                "2026-03-04T22:30:00Z",
                "at 2026-03-05T00:00:00Z",
            ),
            (
                &daily,
                json!({"notAllowedDates": [{"start": "2026-01-01", "end": "9999-12-31"}]}),
                "2026-03-04T22:30:00Z",
                "never",
            ),
        ] {
            let mut json = json!({"schedule": schedule, "durationHours": 4, "startTime": "22:00"});
            json.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            assert_eq!(at(&window(json.clone()), now), want, "{json} at {now}");
        }
    }

    #[test]
    fn times_that_touch_are_one() {
        let always = window(
            json!({"schedule": {"daily": {"intervalDays": 1}}, "durationHours": 24, "startTime": "06:00",
                   "notAllowedDates": [{"start": "2026-03-06", "end": "2026-03-06"}]}),
        );
        assert_eq!(at(&always, "2026-03-04T10:00:00Z"), "until 2026-03-06T00:00:00Z");
    }

    #[test]
    fn a_window_that_is_written_wrong_is_named_with_its_field() {
        for (change, want) in [
            (json!({"durationHours": 25}), "durationHours is `25`, which is not from 1 to 24"),
            (
                json!({"utcOffset": "2"}),
                "utcOffset is `2`, which is not an offset from UTC such as +02:00",
            ),
            (
                json!({"startTime": "24:00"}),
                "startTime is `24:00`, which is not a time of day such as 08:30",
            ),
            (
                json!({"startDate": "2026-02-30"}),
                "startDate is `2026-02-30`, which is not a date such as 2026-03-31",
            ),
            (
                json!({"schedule": {"daily": {"intervalDays": 0}}}),
                "schedule.daily.intervalDays is `0`, which is not from 1 to 7",
            ),
        ] {
            let mut json = json!({"schedule": {"daily": {"intervalDays": 1}}, "durationHours": 4, "startTime": "22:00"});
            json.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            let problem = Window::parse(&serde_json::from_value(json).unwrap()).unwrap_err();
            assert_eq!(format!("{} {}", problem.field, problem.message), want);
        }
    }

    /// A second, simpler definition: whether a window opens on a day.
    fn opens_on(window: &MaintenanceWindow, day: Date) -> bool {
        let start: Option<Date> = window.start_date.as_ref().map(|text| text.parse().unwrap());
        if start.is_some_and(|start| day < start) {
            return false;
        }
        let anchor = start.unwrap_or(Date::constant(1970, 1, 1));
        let days = (day - anchor).get_days();
        let months = (i32::from(day.year()) - i32::from(anchor.year())) * 12
            + i32::from(day.month())
            - i32::from(anchor.month());
        match &window.schedule {
            MaintenanceSchedule::Daily(daily) => days % daily.interval_days == 0,
            MaintenanceSchedule::Weekly(weekly) => {
                day.weekday() == weekday(weekly.day_of_week)
                    && (days / 7) % weekly.interval_weeks == 0
            }
            MaintenanceSchedule::AbsoluteMonthly(monthly) => {
                months % monthly.interval_months == 0
                    && i32::from(day.day()) == monthly.day_of_month.min(day.days_in_month().into())
            }
            MaintenanceSchedule::RelativeMonthly(monthly) => {
                let week = (day.day() - 1) / 7;
                let is_last = day.day() + 7 > day.days_in_month();
                let fits = match monthly.week_index {
                    WeekIndex::First => week == 0,
                    WeekIndex::Second => week == 1,
                    WeekIndex::Third => week == 2,
                    WeekIndex::Fourth => week == 3,
                    WeekIndex::Last => is_last,
                };
                months % monthly.interval_months == 0
                    && day.weekday() == weekday(monthly.day_of_week)
                    && fits
            }
        }
    }

    fn is_open(window: &MaintenanceWindow, moment: Timestamp) -> bool {
        let local = parse_offset(&window.utc_offset).unwrap().to_datetime(moment);
        let today = local.date();
        let closed = window
            .not_allowed_dates
            .iter()
            .any(|span| (span.start.parse().unwrap()..=span.end.parse().unwrap()).contains(&today));
        let (hour, minute) = parse_hour_minute(&window.start_time).unwrap();
        let minutes = i32::from(local.hour()) * 60 + i32::from(local.minute());
        let since = minutes - (i32::from(hour) * 60 + i32::from(minute));
        let length = window.duration_hours * 60;
        let open_today = opens_on(window, today) && (0..length).contains(&since);
        let open_since_yesterday =
            opens_on(window, today.yesterday().unwrap()) && (0..length).contains(&(since + 1440));
        !closed && (open_today || open_since_yesterday)
    }

    /// Walks through time, half an hour a step.
    fn walk(window: &MaintenanceWindow, now: Timestamp, open: bool) -> Option<Timestamp> {
        const STEP: SignedDuration = SignedDuration::from_mins(30);
        let mut moment = now;
        for _ in 0..48 * 400 {
            if is_open(window, moment) == open {
                return Some(moment);
            }
            moment = moment.checked_add(STEP).unwrap();
        }
        None
    }

    fn days() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just("Monday"),
            Just("Tuesday"),
            Just("Wednesday"),
            Just("Thursday"),
            Just("Friday"),
            Just("Saturday"),
            Just("Sunday"),
        ]
        .prop_map(Value::from)
    }

    fn windows() -> impl Strategy<Value = MaintenanceWindow> {
        let week = prop_oneof![
            Just("First"),
            Just("Second"),
            Just("Third"),
            Just("Fourth"),
            Just("Last"),
        ];
        let schedule = prop_oneof![
            (1..8).prop_map(|n| json!({"daily": {"intervalDays": n}})),
            (1..5, days()).prop_map(|(n, day)| json!({"weekly": {"intervalWeeks": n, "dayOfWeek": day}})),
            (1..7, 1..32).prop_map(
                |(n, day)| json!({"absoluteMonthly": {"intervalMonths": n, "dayOfMonth": day}})
            ),
            (1..7, week, days()).prop_map(|(n, week, day)| {
                json!({"relativeMonthly": {"intervalMonths": n, "weekIndex": week, "dayOfWeek": day}})
            }),
        ];
        let start = prop::option::of((1..13_i8, 1..29_i8));
        let closed = prop::collection::vec((1..13_i8, 1..29_i8, 0..20_i64), 0..4);
        let offset = (-28..29_i32).prop_map(|half_hours| {
            let minutes = half_hours.abs() * 30;
            let sign = if half_hours < 0 { '-' } else { '+' };
            format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
        });
        (schedule, 1..25, offset, start, 0..48, closed).prop_map(
            |(schedule, hours, offset, start, half_hour, closed)| {
                let closed: Vec<Value> = closed
                    .iter()
                    .map(|(month, day, length)| {
                        let first = Date::new(2026, *month, *day).unwrap();
                        let last = first.checked_add(length.days()).unwrap();
                        json!({"start": first.to_string(), "end": last.to_string()})
                    })
                    .collect();
                let mut json = json!({
                    "schedule": schedule, "durationHours": hours, "utcOffset": offset,
                    "startTime": format!("{:02}:{:02}", half_hour / 2, half_hour % 2 * 30),
                    "notAllowedDates": closed,
                });
                if let Some((month, day)) = start {
                    json["startDate"] = format!("2026-{month:02}-{day:02}").into();
                }
                serde_json::from_value(json).unwrap()
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

        #[test]
        fn openings_are_those_that_a_walk_through_time_finds(
            window in windows(), half_hours in 0..48 * 365_i64,
        ) {
            let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
            let now = start.checked_add(SignedDuration::from_mins(half_hours * 30)).unwrap();
            let want = match walk(&window, now, true) {
                Some(opens) if opens == now => {
                    walk(&window, now, false).map_or(Opening::Never, Opening::OpenUntil)
                }
                Some(opens) => Opening::OpensAt(opens),
                None => Opening::Never,
            };
            let found = Window::parse(&window).unwrap().at(now);
            match want {
                // The walk gives up after a year or so.
                Opening::Never => prop_assert!(!matches!(found, Opening::OpensAt(at) if at < now + SignedDuration::from_hours(400 * 24))),
                want => prop_assert_eq!(found, want),
            }
        }
    }
}
