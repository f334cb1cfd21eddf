//! A run on a terminal, as it stands at one moment: what progress bars show.

use stolos_api::update::{GroupStatus, MemberStatus, StageStatus, State, UpdateRun};

use super::text::{self, Tally};

/// Stages shown at a time, the current ones.
const MOST_STAGES: usize = 8;

/// Members shown at a time, those where something happens.
const MOST_MEMBERS: usize = 12;

/// One line on the terminal.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// What stands before the bar.
    pub(super) label: String,
    /// Members through, out of all.
    pub(super) bar: Option<(usize, usize)>,
    /// What stands after it.
    pub(super) text: String,
}

/// Returns what to show. The first row is the run's.
pub(super) fn frame(name: &str, run: &UpdateRun) -> Vec<Row> {
    let stages = text::status(run).map(|status| status.stages.as_slice()).unwrap_or_default();
    let tally = Tally::of(stages.iter().flat_map(text::members));
    let state = text::name_of(text::state(run));
    let failed =
        if tally.failed > 0 { format!(", {} failed", tally.failed) } else { String::new() };
    let mut rows = vec![Row {
        label: name.to_owned(),
        bar: Some((tally.done + tally.failed, tally.all)),
        text: format!("{state}{failed}   {}", text::goal(run)),
    }];
    let current =
        stages.iter().position(|stage| !is_over(stage.status.state)).unwrap_or(stages.len());
    let first =
        current.saturating_sub(MOST_STAGES / 2).min(stages.len().saturating_sub(MOST_STAGES));
    let shown = &stages[first..stages.len().min(first + MOST_STAGES)];
    rows.extend(more(first, "earlier"));
    let mut room = MOST_MEMBERS;
    for stage in shown {
        rows.push(stage_row(stage));
        let members: Vec<&MemberStatus> =
            text::members(stage).filter(|member| is_news(member)).collect();
        rows.extend(members.iter().take(room).map(|member| member_row(member)));
        rows.extend(more_members(members.len().saturating_sub(room)));
        room = room.saturating_sub(members.len());
    }
    rows.extend(more(stages.len() - first - shown.len(), "later"));
    rows
}

fn is_over(state: State) -> bool {
    match state {
        State::Completed | State::Skipped => true,
        State::NotStarted
        | State::Running
        | State::Pending
        | State::Stopping
        | State::Stopped
        | State::Failed => false,
    }
}

fn is_news(member: &MemberStatus) -> bool {
    match member.status.state {
        State::Running | State::Pending | State::Stopping | State::Failed => true,
        State::NotStarted | State::Skipped | State::Stopped | State::Completed => false,
    }
}

fn more(count: usize, which: &str) -> Option<Row> {
    let label = format!("  … {count} {which} stages");
    (count > 0).then_some(Row { label, bar: None, text: String::new() })
}

fn more_members(count: usize) -> Option<Row> {
    let label = format!("    … {count} more members");
    (count > 0).then_some(Row { label, bar: None, text: String::new() })
}

fn stage_row(stage: &StageStatus) -> Row {
    let tally = Tally::of(text::members(stage));
    let mut words = text::name_of(stage.status.state).to_owned();
    if tally.failed > 0 {
        words = format!("{words}, {} failed", tally.failed);
    }
    let wait =
        stage.after_stage_wait_status.as_ref().filter(|wait| wait.status.state == State::Running);
    if let Some(wait) = wait {
        words = format!("{words}, waits {}", text::span(i64::from(wait.wait_duration_in_seconds)));
    }
    let gates = stage.before_gates.iter().chain(&stage.after_gates);
    let of_groups = stage
        .groups
        .iter()
        .flat_map(|group: &GroupStatus| group.before_gates.iter().chain(&group.after_gates));
    for gate in gates.chain(of_groups).filter(|gate| gate.status.state == State::Pending) {
        words = format!("{words}, gate {} is pending", text::gate_name(gate));
    }
    let label = format!("{} {}", symbol(stage.status.state), stage.name);
    Row { label, bar: Some((tally.done + tally.failed, tally.all)), text: words }
}

fn member_row(member: &MemberStatus) -> Row {
    let state = member.status.state;
    let target = member.target.as_ref().map(|target| format!(" to {}", text::target(target)));
    let message = text::message(member);
    let message = if message.is_empty() { String::new() } else { format!(": {message}") };
    Row {
        label: format!("    {} {}", symbol(state), member.name),
        bar: None,
        text: format!("{}{}{message}", text::name_of(state), target.unwrap_or_default()),
    }
}

fn symbol(state: State) -> char {
    match state {
        State::NotStarted => '·',
        State::Running => '▸',
        State::Pending => '?',
        State::Skipped => '-',
        State::Stopping | State::Stopped => '■',
        State::Failed => '✗',
        State::Completed => '✓',
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update_run::sample;

    fn shown(run: &UpdateRun) -> String {
        let line = |row: &Row| {
            let bar = row.bar.map(|(done, all)| format!("[{done}/{all}]")).unwrap_or_default();
            format!("{:<22} {bar:<6} {}", row.label, row.text).trim_end().to_owned()
        };
        frame("june", run).iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_frame_shows_every_stage_and_who_is_in_flight() {
        insta::assert_snapshot!(shown(&sample::half_way()), @"
        june                   [2/4]  Running, 1 failed   Kubernetes 1.35.0, newest node images
        ✓ canary               [1/1]  Completed
        ▸ prod                 [1/3]  Running, 1 failed
            ▸ member-2                Running to 1.35.0: upgrading node member-2-node-1 after its neighbours were drained one by one, slowly
            ✗ member-4                Failed to 1.35.0: quota exceeded
        ");
    }

    #[test]
    fn a_frame_has_a_bounded_height() {
        let mut run = sample::half_way();
        let status = run.status.as_mut().unwrap();
        let (done, current) = (status.stages[0].clone(), &mut status.stages[1]);
        let running = current.groups[0].members[0].clone();
        current.groups[0].members.extend(vec![running; 40]);
        for _ in 0..30 {
            status.stages.insert(0, done.clone());
            status.stages.push(StageStatus { name: "later".to_owned(), ..StageStatus::default() });
        }
        let rows = frame("june", &run);
        assert!(rows.len() <= 1 + MOST_STAGES + 2 + MOST_MEMBERS + 1, "{}", rows.len());
        assert!(rows.iter().any(|row| row.label == "▸ prod"));
    }
}
