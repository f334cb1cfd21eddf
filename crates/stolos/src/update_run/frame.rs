//! A run on a terminal, as it stands at one moment: what progress bars show.

use std::collections::BTreeMap;

use jiff::Timestamp;
use stolos_api::update::{
    GroupStatus, MemberStatus, StageGateStatus, StageStatus, State, UpdateRun,
};

use super::text::{self, Tally};

/// Stages shown at a time, the current ones.
const MOST_STAGES: usize = 8;

/// Groups shown at a time, those where something happens.
const MOST_GROUPS: usize = 6;

/// Gates shown at a time, those that are waited for.
const MOST_GATES: usize = 4;

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

/// What frames are made from.
pub(super) struct Scene<'a> {
    pub(super) name: &'a str,
    pub(super) run: &'a UpdateRun,
    /// When gates open by themselves, by their names within the fleet.
    pub(super) openings: &'a Openings,
    pub(super) now: Timestamp,
}

/// Moments at which gates open by themselves; none for those that somebody has to open.
pub(super) type Openings = BTreeMap<String, Option<Timestamp>>;

/// Returns what to show. The first row is the run's.
pub(super) fn frame(scene: &Scene<'_>) -> Vec<Row> {
    let Scene { name, run, .. } = *scene;
    let stages = text::status(run).map(|status| status.stages.as_slice()).unwrap_or_default();
    let tally = Tally::of(stages.iter().flat_map(text::members));
    let state = text::state(run).as_str();
    let mut rows = vec![Row {
        label: name.to_owned(),
        bar: Some((tally.done + tally.failed, tally.all)),
        text: format!("{state}, {} failed   {}", tally.failed, text::goal(run)),
    }];
    let current =
        stages.iter().position(|stage| !is_over(stage.status.state)).unwrap_or(stages.len());
    let first =
        current.saturating_sub(MOST_STAGES / 2).min(stages.len().saturating_sub(MOST_STAGES));
    let shown = &stages[first..stages.len().min(first + MOST_STAGES)];
    rows.extend(more(first, "earlier stages"));
    let mut room = Room { groups: MOST_GROUPS, members: MOST_MEMBERS, gates: MOST_GATES };
    for stage in shown {
        rows.push(stage_row(stage, scene.now));
        rows.extend(scene.inside(stage, &mut room));
    }
    rows.extend(more(stages.len() - first - shown.len(), "later stages"));
    rows
}

/// Rows that are left to what is inside stages.
struct Room {
    groups: usize,
    members: usize,
    gates: usize,
}

impl Scene<'_> {
    /// Returns what happens inside a stage: gates that it waits for, groups and members in flight.
    fn inside(&self, stage: &StageStatus, room: &mut Room) -> Vec<Row> {
        let mut rows = self.gates(stage.before_gates.iter().chain(&stage.after_gates), 1, room);
        let is_alone = matches!(stage.groups.as_slice(), [only] if only.name == stage.name);
        let (mut hidden_groups, mut hidden_members) = (0, 0);
        for group in &stage.groups {
            let waits = group.before_gates.iter().chain(&group.after_gates).any(is_waited_for);
            let members: Vec<&MemberStatus> =
                group.members.iter().filter(|member| is_news(member)).collect();
            if members.is_empty() && !waits {
                continue;
            }
            if !is_alone {
                if room.groups == 0 {
                    hidden_groups += 1;
                    continue;
                }
                room.groups -= 1;
                rows.push(group_row(group));
            }
            let depth = if is_alone { 1 } else { 2 };
            let gates = group.before_gates.iter().chain(&group.after_gates);
            rows.extend(self.gates(gates, depth, room));
            rows.extend(members.iter().take(room.members).map(|member| member_row(member, depth)));
            hidden_members += members.len().saturating_sub(room.members);
            room.members = room.members.saturating_sub(members.len());
        }
        rows.extend(more(hidden_groups, "more groups"));
        rows.extend(more(hidden_members, "more members"));
        rows
    }

    fn gates<'a>(
        &self,
        gates: impl Iterator<Item = &'a StageGateStatus>,
        depth: usize,
        room: &mut Room,
    ) -> Vec<Row> {
        let pending: Vec<Row> = gates
            .filter(|gate| is_waited_for(gate))
            .take(room.gates)
            .map(|gate| self.gate_row(gate, depth))
            .collect();
        room.gates -= pending.len();
        pending
    }

    fn gate_row(&self, gate: &StageGateStatus, depth: usize) -> Row {
        let since = gate.status.start_time.as_ref();
        let waited = since.map(|at| format!(" for {}", text::age(at.0, self.now)));
        let id = gate.gate_id.as_deref().unwrap_or_default();
        let opens = match self.openings.get(id).copied().flatten() {
            Some(at) => {
                let left = at.duration_since(self.now).as_secs().max(0);
                format!("opens in {}", text::span(left))
            }
            None => text::opened_by(gate, id),
        };
        Row {
            label: format!("{}? gate {}", indent(depth), text::gate_name(gate)),
            bar: None,
            text: format!("Pending{}: {opens}", waited.unwrap_or_default()),
        }
    }
}

fn is_waited_for(gate: &StageGateStatus) -> bool {
    gate.status.state == State::Pending
}

fn indent(depth: usize) -> String {
    "    ".repeat(depth)
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

fn more(count: usize, what: &str) -> Option<Row> {
    let label = format!("    … {count} {what}");
    (count > 0).then_some(Row { label, bar: None, text: String::new() })
}

fn stage_row(stage: &StageStatus, now: Timestamp) -> Row {
    let tally = Tally::of(text::members(stage));
    let mut words = standing(stage.status.state, tally);
    if let Some(wait) = &stage.after_stage_wait_status
        && let Some(left) = text::wait_left(wait, now)
    {
        words = format!("{words}, waits {} more", text::span(left));
    }
    let label = format!("{} {}", symbol(stage.status.state), stage.name);
    Row { label, bar: Some((tally.done + tally.failed, tally.all)), text: words }
}

fn group_row(group: &GroupStatus) -> Row {
    let tally = Tally::of(group.members.iter());
    let state = group.status.state;
    Row {
        label: format!("{}{} {}", indent(1), symbol(state), group.name),
        bar: Some((tally.done + tally.failed, tally.all)),
        text: standing(state, tally),
    }
}

/// Returns a state with the failures beside it: `Completed` alone only says that they were not too many.
fn standing(state: State, tally: Tally) -> String {
    match state {
        State::NotStarted | State::Skipped => state.as_str().to_owned(),
        State::Running
        | State::Pending
        | State::Stopping
        | State::Stopped
        | State::Failed
        | State::Completed => format!("{}, {} failed", state.as_str(), tally.failed),
    }
}

fn member_row(member: &MemberStatus, depth: usize) -> Row {
    let state = member.status.state;
    let target = member.target.as_ref().map(|target| format!(" to {}", text::target(target)));
    let message = text::message(member);
    let message = if message.is_empty() { String::new() } else { format!(": {message}") };
    Row {
        label: format!("{}{} {}", indent(depth), symbol(state), member.name),
        bar: None,
        text: format!("{}{}{message}", state.as_str(), target.unwrap_or_default()),
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

    fn rows(run: &UpdateRun) -> Vec<Row> {
        let friday = "2026-06-01T12:35:00Z".parse().unwrap();
        let openings = Openings::from([("friday".to_owned(), Some(friday))]);
        frame(&Scene { name: "june", run, openings: &openings, now: sample::now() })
    }

    fn shown(run: &UpdateRun) -> String {
        let line = |row: &Row| {
            let bar = row.bar.map(|(done, all)| format!("[{done}/{all}]")).unwrap_or_default();
            format!("{:<24} {bar:<6} {}", row.label, row.text).trim_end().to_owned()
        };
        rows(run).iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_frame_shows_every_stage_and_who_is_in_flight() {
        insta::assert_snapshot!(shown(&sample::half_way()), @"
        june                     [2/4]  Running, 1 failed   Kubernetes 1.35.0, newest node images
        ✓ canary                 [1/1]  Completed, 0 failed
        ▸ prod                   [1/3]  Running, 1 failed
            ▸ eu-west            [0/2]  Running, 0 failed
                ▸ member-2              Running to 1.35.0: upgrading node member-2-node-1 after its neighbours were drained one by one, slowly
            ✓ us                 [1/1]  Completed, 1 failed
                ✗ member-4              Failed to 1.35.0: quota exceeded
        ");
    }

    #[test]
    fn gates_and_waits_tell_how_long() {
        let mut run = sample::half_way();
        let status = run.status.as_mut().unwrap();
        let started = status.stages[1].status.start_time.clone();
        let pending = |id: &str, name: &str| StageGateStatus {
            display_name: Some(name.to_owned()),
            gate_id: Some(id.to_owned()),
            status: stolos_api::update::UpdateStatus {
                state: State::Pending,
                start_time: started.clone(),
                ..Default::default()
            },
        };
        status.stages[1].before_gates = vec![pending("prod-0", "go ahead")];
        status.stages[1].groups[0].before_gates = vec![pending("friday", "weekend")];
        let wait = status.stages[0].after_stage_wait_status.as_mut().unwrap();
        wait.wait_duration_in_seconds = 240;
        wait.status.state = State::Running;
        wait.status.start_time.clone_from(&started);
        status.stages[1].groups.truncate(1);
        insta::assert_snapshot!(shown(&run), @"
        june                     [1/3]  Running, 0 failed   Kubernetes 1.35.0, newest node images
        ✓ canary                 [1/1]  Completed, 0 failed, waits 60s more
        ▸ prod                   [0/2]  Running, 0 failed
            ? gate go ahead             Pending for 3m: `stolos gate approve prod-0` opens it
            ▸ eu-west            [0/2]  Running, 0 failed
                ? gate weekend          Pending for 3m: opens in 2h
                ▸ member-2              Running to 1.35.0: upgrading node member-2-node-1 after its neighbours were drained one by one, slowly
        ");
    }

    #[test]
    fn a_frame_has_a_bounded_height() {
        let mut run = sample::half_way();
        let status = run.status.as_mut().unwrap();
        let (done, current) = (status.stages[0].clone(), &mut status.stages[1]);
        let running = current.groups[0].members[0].clone();
        current.groups[0].members.extend(vec![running; 40]);
        let group = current.groups[0].clone();
        current.groups.extend(vec![group; 20]);
        for _ in 0..30 {
            status.stages.insert(0, done.clone());
            status.stages.push(StageStatus { name: "later".to_owned(), ..StageStatus::default() });
        }
        let rows = rows(&run);
        let most = 1 + MOST_STAGES + 2 + MOST_GROUPS + MOST_GATES + MOST_MEMBERS + 2;
        assert!(rows.len() <= most, "{}", rows.len());
        assert!(rows.iter().any(|row| row.label == "▸ prod"));
    }
}
