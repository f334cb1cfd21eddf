//! `stolos calendar`: what will happen in a fleet, and when.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::json;
use stolos_api::update::{GateTiming, MaintenanceWindow, RunState, State, UpdateRun};
use stolos_core::update::cluster::{Inspection, Member};
use stolos_core::update::window::Window;
use stolos_core::update::{Durations, Forecast, Observed};

use super::coming::{Coming, Outlook, Profiles};
use super::plan::foresee;
use super::{observe, plan, text};
use crate::cli::{FleetArgs, Output, duration};
use crate::exit::Exit;
use crate::fleet::hub::Fleet;
use crate::output;
use crate::tree::SCREEN;

pub(crate) const EXAMPLES: &str = "\
Examples:
  stolos calendar
  stolos calendar --days 30 -o json
  stolos calendar --fleet edge -n shops -o wide

It foresees update runs that are under way and those that auto-upgrade profiles will begin, and tells when gates open and
maintenance windows begin; for a window that does not open within the days asked for, when it opens next. -o wide has every
member and every opening, and so have json and yaml.

What nobody knows is not in it: what will be published, what will fail, when somebody approves a gate or starts a run, and what
a profile does after the run that it begins next.";

#[derive(Args)]
pub(crate) struct CalendarArgs {
    /// How many days to look ahead
    #[arg(long, default_value_t = 14, value_parser = clap::value_parser!(u32).range(1..=366))]
    days: u32,
    /// How long the upgrade of a member takes that no run has upgraded yet
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    member_time: Duration,
    #[command(flatten)]
    fleet: FleetArgs,
}

/// Something that will happen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_time: Option<Timestamp>,
    /// What it is about: `update run june`, `member shop`.
    about: String,
    event: String,
    /// Of interest to who wants to know about every member.
    #[serde(skip)]
    is_detail: bool,
}

pub(crate) async fn run(args: CalendarArgs, output: Output) -> anyhow::Result<Exit> {
    let fleet = Fleet::connect(&args.fleet).await?;
    fleet.require().await?;
    let runs: Vec<UpdateRun> = fleet.list().await?;
    let default = SignedDuration::try_from(args.member_time).context("--member-time")?;
    let durations = observe::durations(&runs, default);
    let observed = observe::observe(&fleet).await?;
    // Whole seconds: the engine's times are less fine than the clock's, and what begins at once must not seem past.
    let now = Timestamp::from_second(Timestamp::now().as_second())
        .context("the clock is out of the calendar")?;
    let until = now
        .checked_add(SignedDuration::from_hours(24 * i64::from(args.days)))
        .context("--days leads out of the calendar")?;
    let mut entries = Vec::new();
    for run in runs.iter().filter(|run| is_under_way(run)) {
        let name = fleet.short_name(run);
        let strategy = plan::strategy_of(&fleet, run).await?;
        let forecast = foresee(name, run, strategy.as_ref(), &observed, &durations, now);
        entries.extend(of_run(name, &forecast));
    }
    let profiles = Profiles::of(&fleet, &runs).await?;
    let mut notes = Vec::new();
    for (name, outlook) in profiles.outlooks(&observed, now, until) {
        match outlook {
            Outlook::Begins(coming) => entries.extend(of_profile(&coming, &observed, &durations)),
            Outlook::Blocked(why) => notes.push(format!("profile {name} begins nothing: {why}")),
            Outlook::Rests => {}
        }
    }
    entries.retain(|entry| entry.time >= now && entry.time <= until);
    entries.extend(windows(&observed, now, until));
    entries.sort();
    print(&fleet, &entries, output)?;
    for note in &notes {
        output::note(note);
    }
    Ok(Exit::Success)
}

fn is_under_way(run: &UpdateRun) -> bool {
    matches!(text::state(run), State::Running | State::Pending | State::Stopping)
}

/// Returns what a run that is under way will do.
fn of_run(name: &str, forecast: &Forecast) -> Vec<Entry> {
    let about = format!("update run {name}");
    let entry = |time, event: String, is_detail| Entry {
        time,
        end_time: None,
        about: about.clone(),
        event,
        is_detail,
    };
    let mut entries = Vec::new();
    for stage in &forecast.stages {
        entries.extend(stage.starts.map(|at| Entry {
            end_time: stage.ends,
            ..entry(
                at,
                format!("stage {} begins, {} to upgrade", stage.name, stage.upgraded),
                false,
            )
        }));
    }
    for member in &forecast.members {
        entries.extend(member.starts.map(|at| Entry {
            end_time: member.ends,
            ..entry(at, format!("upgrades {}", member.name), true)
        }));
    }
    for gate in &forecast.gates {
        let when = match gate.timing {
            GateTiming::Before => "before",
            GateTiming::After => "after",
        };
        let name = gate.name.as_deref().unwrap_or("without a name");
        let event = format!("gate {name} {when} {} can be passed", gate.stage);
        entries.extend(gate.passed.map(|at| entry(at, event, false)));
    }
    let end = format!("ends as {}", forecast.state.as_str());
    entries.extend(forecast.ends.map(|at| entry(at, end, false)));
    entries
}

/// Returns the beginning of a run by a profile, and what the run will do if it is as the fleet is now.
fn of_profile(coming: &Coming, observed: &Observed, durations: &Durations) -> Vec<Entry> {
    let Coming { at, profile, event, name, run, strategy } = coming;
    let mut entries = vec![Entry {
        time: *at,
        end_time: None,
        about: format!("profile {profile}"),
        event: event.clone(),
        is_detail: false,
    }];
    if run.spec.state == RunState::Run {
        let forecast = foresee(name, run, strategy.as_ref(), observed, durations, *at);
        entries.extend(of_run(name, &forecast));
    }
    entries
}

/// Returns when the windows of members begin until then, and the next time of those that do not.
fn windows(observed: &Observed, now: Timestamp, until: Timestamp) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (name, member) in &observed.members {
        for (kind, window) in windows_of(member) {
            // A window that cannot be read is told where it is used.
            let Ok(window) = Window::parse(window) else { continue };
            let spans = window.spans(now).enumerate();
            let shown = spans.take_while(|(index, (start, _))| *index == 0 || *start <= until);
            entries.extend(shown.map(|(index, (start, end))| Entry {
                time: start,
                end_time: Some(end),
                about: format!("member {name}"),
                event: format!("maintenance window for {kind} begins"),
                // The next opening is what matters; a daily one would fill the screen.
                is_detail: index > 0,
            }));
        }
    }
    entries
}

/// Returns the windows that count: the member's own, else those that its provider knows.
fn windows_of(member: &Member) -> Vec<(&'static str, &MaintenanceWindow)> {
    let provided = match &member.cluster {
        Inspection::Known(cluster) => Some(&cluster.windows),
        Inspection::Unknown(_) => None,
    };
    let kubernetes = member.windows.kubernetes.as_ref();
    let kubernetes = kubernetes.or_else(|| provided?.kubernetes.as_ref());
    let node_image = member.windows.node_image.as_ref();
    let node_image = node_image.or_else(|| provided?.node_image.as_ref());
    let named = [("Kubernetes versions", kubernetes), ("node images", node_image)];
    named.into_iter().filter_map(|(kind, window)| Some((kind, window?))).collect()
}

fn print(fleet: &Fleet, entries: &[Entry], output: Output) -> anyhow::Result<()> {
    if output::structured(&json!({ "fleet": fleet.name, "entries": entries }), output)? {
        return Ok(());
    }
    let wide = output == Output::Wide;
    let rows: Vec<Vec<String>> =
        entries.iter().filter(|entry| wide || !entry.is_detail).map(row).collect();
    if rows.is_empty() {
        output::note(&format!("nothing is known to happen in {fleet}"));
        return Ok(());
    }
    let width = if wide { usize::MAX } else { SCREEN };
    output::narrow_table(&["WHEN", "LASTS", "ABOUT", "WHAT"], &rows, width)
}

fn row(entry: &Entry) -> Vec<String> {
    let lasts = entry.end_time.map(|end| end.duration_since(entry.time).as_secs());
    vec![
        plan::minute(entry.time),
        lasts.map_or_else(|| "-".to_owned(), output::span),
        entry.about.clone(),
        entry.event.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::from_value;
    use stolos_core::update::cluster::Cluster;

    use super::*;
    use crate::update_run::sample;

    fn observed() -> Observed {
        let mut observed = Observed::default();
        for name in ["member-1", "member-2"] {
            let cluster = Cluster::running("1.34.1".parse().unwrap());
            let member = Member::new(name, Inspection::Known(cluster));
            observed.members.insert(name.to_owned(), member);
        }
        let window = json!({
            "schedule": { "weekly": { "intervalWeeks": 1, "dayOfWeek": "Saturday" } },
            "startTime": "22:00", "durationHours": 6, "utcOffset": "+02:00",
        });
        let member = observed.members.get_mut("member-2").unwrap();
        member.windows.node_image = Some(from_value(window).unwrap());
        observed
    }

    #[test]
    fn windows_repeat_until_the_end_of_the_look() {
        let now = sample::now();
        let until = now + SignedDuration::from_hours(14 * 24);
        let found = windows(&observed(), now, until);
        let found: Vec<String> = found.iter().map(|entry| row(entry).join(" | ")).collect();
        insta::assert_snapshot!(found.join("\n"), @"
        2026-06-06 20:00 UTC | 6h | member member-2 | maintenance window for node images begins
        2026-06-13 20:00 UTC | 6h | member member-2 | maintenance window for node images begins
        ");
    }

    #[test]
    fn a_window_that_opens_after_the_days_that_were_asked_for_shows_its_next_opening() {
        let now = sample::now();
        let found = windows(&observed(), now, now + SignedDuration::from_hours(24));
        let found: Vec<String> = found.iter().map(|entry| row(entry).join(" | ")).collect();
        insta::assert_snapshot!(found.join("\n"), @"2026-06-06 20:00 UTC | 6h | member member-2 | maintenance window for node images begins");
    }

    #[test]
    fn a_run_is_foreseen_to_its_end() {
        let mut run = sample::not_started();
        run.status = None;
        let durations = Durations {
            default: SignedDuration::from_mins(10),
            members: std::collections::BTreeMap::new(),
        };
        let forecast = foresee("june", &run, None, &observed(), &durations, sample::now());
        let found: Vec<String> =
            of_run("june", &forecast).iter().map(|entry| row(entry).join(" | ")).collect();
        insta::assert_snapshot!(found.join("\n"), @"
        2026-06-01 10:05 UTC | 20m | update run june | stage one-by-one begins, 2 to upgrade
        2026-06-01 10:05 UTC | 10m | update run june | upgrades member-1
        2026-06-01 10:15 UTC | 10m | update run june | upgrades member-2
        2026-06-01 10:25 UTC | - | update run june | ends as Completed
        ");
    }
}
