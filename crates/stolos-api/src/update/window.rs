//! Maintenance windows: when the cluster of a member may be upgraded. They permit, they never trigger.

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::Day;
use super::strategy::{OFFSET_MESSAGE, OFFSET_RULE, TIME_MESSAGE, TIME_RULE};

const DATE_RULE: &str = "self.matches('^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$')";
const DATE_MESSAGE: &str = "must be a date such as 2026-03-31";

/// The maintenance windows of a member. What has no window may be upgraded at any time.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MaintenanceWindows {
    /// Counts for update runs of type Full and ControlPlaneOnly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<MaintenanceWindow>,
    /// Counts for update runs of type NodeImageOnly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_image: Option<MaintenanceWindow>,
}

/// Times at which an upgrade may begin. One that has begun is not interrupted when the window closes.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MaintenanceWindow {
    /// The days on which the window opens.
    pub schedule: MaintenanceSchedule,
    /// How long the window stays open, in hours. Windows of less than 4 hours are often too short.
    #[schemars(range(min = 1, max = 24))]
    pub duration_hours: i32,
    /// Offset from UTC of all dates and times of the window, `+HH:MM` or `-HH:MM`, at most 14 hours.
    #[serde(default = "utc", skip_serializing_if = "is_utc")]
    #[schemars(length(max = 6))]
    #[x_kube(validation = Rule::new(OFFSET_RULE).message(OFFSET_MESSAGE))]
    pub utc_offset: String,
    /// The first day on which the window may open, `YYYY-MM-DD`; intervals are counted from it. Without it, intervals
    /// are counted from 1970-01-01.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 10))]
    #[x_kube(validation = Rule::new(DATE_RULE).message(DATE_MESSAGE))]
    pub start_date: Option<String>,
    /// Time of day at which the window opens, `HH:MM`.
    #[schemars(length(max = 5))]
    #[x_kube(validation = Rule::new(TIME_RULE).message(TIME_MESSAGE))]
    pub start_time: String,
    /// Days on which the window is closed whatever the schedule says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub not_allowed_dates: Vec<DateSpan>,
}

fn utc() -> String {
    "+00:00".into()
}

fn is_utc(offset: &str) -> bool {
    offset == "+00:00"
}

/// Whole days, from the first to the last.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("self.start <= self.end").message("end must not be before start").field_path(".end")
)]
pub struct DateSpan {
    /// The first day, `YYYY-MM-DD`.
    #[schemars(length(max = 10))]
    #[x_kube(validation = Rule::new(DATE_RULE).message(DATE_MESSAGE))]
    pub start: String,
    /// The last day, `YYYY-MM-DD`.
    #[schemars(length(max = 10))]
    #[x_kube(validation = Rule::new(DATE_RULE).message(DATE_MESSAGE))]
    pub end: String,
}

/// The days on which a maintenance window opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MaintenanceSchedule {
    /// Every few days.
    Daily(DailySchedule),
    /// A day of the week, every few weeks.
    Weekly(WeeklySchedule),
    /// A day of the month, every few months.
    AbsoluteMonthly(AbsoluteMonthlySchedule),
    /// The first, second… Monday, Tuesday… of the month, every few months.
    RelativeMonthly(RelativeMonthlySchedule),
}

/// As for cluster references, the schema says in words that exactly one field is allowed.
impl JsonSchema for MaintenanceSchedule {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "MaintenanceSchedule".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        MaintenanceScheduleFields::json_schema(generator)
    }
}

#[derive(KubeSchema, Serialize)]
#[x_kube(
    validation = Rule::new("[has(self.daily), has(self.weekly), has(self.absoluteMonthly), has(self.relativeMonthly)].filter(set, set).size() == 1").message("exactly one of daily, weekly, absoluteMonthly and relativeMonthly must be set")
)]
#[serde(rename_all = "camelCase")]
struct MaintenanceScheduleFields {
    /// Opens every few days.
    daily: Option<DailySchedule>,
    /// Opens on a day of the week, every few weeks.
    weekly: Option<WeeklySchedule>,
    /// Opens on a day of the month, every few months.
    absolute_monthly: Option<AbsoluteMonthlySchedule>,
    /// Opens on the first, second… Monday, Tuesday… of the month, every few months.
    relative_monthly: Option<RelativeMonthlySchedule>,
}

/// Every few days.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DailySchedule {
    /// Days from one opening to the next.
    #[schemars(range(min = 1, max = 7))]
    pub interval_days: i32,
}

/// A day of the week.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WeeklySchedule {
    /// Weeks from one opening to the next.
    #[schemars(range(min = 1, max = 4))]
    pub interval_weeks: i32,
    /// Day of the week.
    pub day_of_week: Day,
}

/// A day of the month.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AbsoluteMonthlySchedule {
    /// Months from one opening to the next.
    #[schemars(range(min = 1, max = 6))]
    pub interval_months: i32,
    /// Day of the month; the last day of months that are shorter.
    #[schemars(range(min = 1, max = 31))]
    pub day_of_month: i32,
}

/// The first, second… of a day of the week in a month.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RelativeMonthlySchedule {
    /// Months from one opening to the next.
    #[schemars(range(min = 1, max = 6))]
    pub interval_months: i32,
    /// Which of the month's days of that name.
    pub week_index: WeekIndex,
    /// Day of the week.
    pub day_of_week: Day,
}

/// Which of a month's days of one name.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub enum WeekIndex {
    First,
    Second,
    Third,
    Fourth,
    Last,
}
