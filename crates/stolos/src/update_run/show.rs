//! `stolos updaterun show`: a run on one screen.

use jiff::Timestamp;
use stolos_api::update::{
    GroupStatus, MemberStatus, StageGateStatus, StageStatus, State, UpdateRun, UpdateStatus,
};

use super::RunArgs;
use super::text::{self, Tally};
use crate::cli::Output;
use crate::exit::Exit;
use crate::fleet::hub::Fleet;
use crate::output;
use crate::policies;
use crate::tree::{self, Node, SCREEN};

/// Members of a group that are all shown; of a bigger one, only those where something happens.
const MOST_MEMBERS: usize = 20;

pub(super) async fn run(args: RunArgs, output: Output) -> anyhow::Result<Exit> {
    let fleet = Fleet::connect(&args.fleet).await?;
    let run: UpdateRun = fleet.get(&args.name).await?;
    print(&fleet, &run, output)?;
    Ok(Exit::Success)
}

/// Prints a run in the wanted format.
pub(super) fn print(fleet: &Fleet, run: &UpdateRun, output: Output) -> anyhow::Result<()> {
    let name = fleet.short_name(run);
    let layout = match output {
        Output::Json | Output::Yaml => {
            return output::structured(&text::readable(run), output).map(|_| ());
        }
        Output::Name => return output::line(name),
        Output::Table => Layout::Screen,
        Output::Wide => Layout::Wide,
    };
    output::line(&page(name, run, layout, Timestamp::now()))
}

/// How much room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// One screen: big groups are folded, long messages are cut.
    Screen,
    /// Everything.
    Wide,
}

fn page(name: &str, run: &UpdateRun, layout: Layout, now: Timestamp) -> String {
    let head = head(name, run, now);
    let stages = run.status.as_ref().map(|status| status.stages.as_slice()).unwrap_or_default();
    if stages.is_empty() {
        return head;
    }
    let view = View { layout, now };
    let nodes: Vec<Node> = stages.iter().map(|stage| view.stage(stage)).collect();
    let width = match layout {
        Layout::Screen => SCREEN,
        Layout::Wide => usize::MAX,
    };
    format!("{head}\n\n{}", tree::draw(view.headings(), nodes, width))
}

/// What holds for the whole run.
fn head(name: &str, run: &UpdateRun, now: Timestamp) -> String {
    let mut lines = vec![
        ("update run", name.to_owned()),
        ("state", text::standing(run)),
        ("goal", text::goal(run)),
        ("sequence", text::strategy(run)),
    ];
    if !run.spec.members.is_empty() {
        lines.push(("only", run.spec.members.join(", ")));
    }
    lines.extend(policies::told(run.spec.member_policy.as_ref(), &run.spec.preflight));
    if let Some(status) = &run.status {
        if let Some(start) = &status.status.start_time {
            let ago = text::age(start.0, now);
            let end = status.status.completed_time.as_ref();
            let took = end.map(|end| format!(", took {}", text::age(start.0, end.0)));
            lines.push(("started", format!("{ago} ago{}", took.unwrap_or_default())));
        }
        let images = status
            .node_image_selection
            .iter()
            .flat_map(|images| &images.selected_node_image_versions);
        lines.extend(images.map(|image| ("image", image.version.clone())));
        lines.extend(status.warnings.iter().map(|warning| ("warning", warning.clone())));
        lines.extend(status.status.error.as_ref().map(|error| ("error", error.message.clone())));
    }
    lines.iter().map(|(key, value)| format!("{key:<10} {value}")).collect::<Vec<_>>().join("\n")
}

struct View {
    layout: Layout,
    now: Timestamp,
}

impl View {
    fn headings(&self) -> Vec<String> {
        let headings: &[&str] = match self.layout {
            Layout::Screen => &["NAME", "STATE", "TARGET", "MESSAGE"],
            Layout::Wide => &["NAME", "STATE", "STARTED", "TOOK", "TARGET", "MESSAGE"],
        };
        headings.iter().map(|&heading| heading.to_owned()).collect()
    }

    fn cells(
        &self,
        name: String,
        status: &UpdateStatus,
        target: String,
        message: String,
    ) -> Vec<String> {
        let mut cells = vec![name, status.state.as_str().to_owned()];
        if self.layout == Layout::Wide {
            let started = status.start_time.as_ref();
            cells.push(started.map(|start| text::age(start.0, self.now)).unwrap_or_default());
            let ended = started.zip(status.completed_time.as_ref());
            cells.push(ended.map(|(start, end)| text::age(start.0, end.0)).unwrap_or_default());
        }
        cells.extend([target, message]);
        cells
    }

    fn stage(&self, stage: &StageStatus) -> Node {
        let tally = Tally::of(text::members(stage)).to_string();
        let mut children: Vec<Node> =
            stage.before_gates.iter().map(|gate| self.gate(gate, "before")).collect();
        match stage.groups.as_slice() {
            // A group that is the stage by another word needs no line of its own.
            [group] if self.layout == Layout::Screen && group.name == stage.name => {
                children.extend(self.inside_group(group));
            }
            groups => children.extend(groups.iter().map(|group| self.group(group))),
        }
        children.extend(stage.after_gates.iter().map(|gate| self.gate(gate, "after")));
        if let Some(wait) = &stage.after_stage_wait_status {
            let name = format!("wait {}", text::span(i64::from(wait.wait_duration_in_seconds)));
            let left = text::wait_left(wait, self.now);
            let left = left.map(|left| format!("{} left", text::span(left))).unwrap_or_default();
            children.push(Node::leaf(self.cells(name, &wait.status, String::new(), left)));
        }
        Node {
            cells: self.cells(stage.name.clone(), &stage.status, String::new(), tally),
            children,
        }
    }

    fn group(&self, group: &GroupStatus) -> Node {
        let tally = Tally::of(group.members.iter()).to_string();
        Node {
            cells: self.cells(group.name.clone(), &group.status, String::new(), tally),
            children: self.inside_group(group),
        }
    }

    fn inside_group(&self, group: &GroupStatus) -> Vec<Node> {
        let mut nodes: Vec<Node> =
            group.before_gates.iter().map(|gate| self.gate(gate, "before")).collect();
        let fold = self.layout == Layout::Screen && group.members.len() > MOST_MEMBERS;
        let (shown, folded): (Vec<&MemberStatus>, Vec<&MemberStatus>) =
            group.members.iter().partition(|member| !fold || is_interesting(member));
        let room = if fold { MOST_MEMBERS } else { usize::MAX };
        let (shown, more) = shown.split_at(shown.len().min(room));
        nodes.extend(shown.iter().map(|member| self.member(member)));
        let folded: Vec<&MemberStatus> = folded.into_iter().chain(more.iter().copied()).collect();
        if !folded.is_empty() {
            nodes.push(self.folded(&folded));
        }
        nodes.extend(group.after_gates.iter().map(|gate| self.gate(gate, "after")));
        nodes
    }

    fn member(&self, member: &MemberStatus) -> Node {
        let target = member.target.as_ref().map(|target| match self.layout {
            Layout::Screen => text::target(target),
            Layout::Wide => text::full_target(target),
        });
        let message = text::message(member).to_owned();
        Node::leaf(self.cells(
            member.name.clone(),
            &member.status,
            target.unwrap_or_default(),
            message,
        ))
    }

    /// One line for members of which there is nothing to tell but their number.
    fn folded(&self, members: &[&MemberStatus]) -> Node {
        let mut counts = std::collections::BTreeMap::new();
        for member in members {
            *counts.entry(member.status.state).or_insert(0) += 1;
        }
        let counts: Vec<String> =
            counts.iter().map(|(state, count)| format!("{count} {}", state.as_str())).collect();
        let mut cells = vec![String::new(); self.headings().len()];
        cells[0] = format!("… {} more", members.len());
        if let Some(message) = cells.last_mut() {
            *message = counts.join(", ");
        }
        Node::leaf(cells)
    }

    fn gate(&self, gate: &StageGateStatus, timing: &str) -> Node {
        let name = format!("gate {timing}: {}", text::gate_name(gate));
        let pending = gate.gate_id.as_ref().filter(|_| gate.status.state == State::Pending);
        let message = pending.map(|id| text::opened_by(gate, id));
        Node::leaf(self.cells(name, &gate.status, String::new(), message.unwrap_or_default()))
    }
}

fn is_interesting(member: &MemberStatus) -> bool {
    match member.status.state {
        State::Running | State::Pending | State::Stopping | State::Failed => true,
        State::NotStarted | State::Skipped | State::Stopped | State::Completed => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update_run::sample;

    fn shown(run: &UpdateRun, layout: Layout) -> String {
        page("june", run, layout, sample::now())
    }

    #[test]
    fn a_run_fits_on_a_screen() {
        let page = shown(&sample::half_way(), Layout::Screen);
        insta::assert_snapshot!(page, @"
        update run june
        state      Running, 1/4 members done, 1 failed
        goal       Kubernetes 1.35.0, newest node images
        sequence   stages canary, prod
        started    5m ago
        warning    group `asia` has no members

        NAME                       STATE        TARGET   MESSAGE
        canary                     Completed             1/1 done
        ├─ member-1                Completed    1.35.0   all nodes are up to date
        └─ wait 30s                Completed
        prod                       Running               0/3 done, 1 failed
        ├─ gate before: go ahead   Completed
        ├─ eu-west                 Running               0/2 done
        │  ├─ member-2             Running      1.35.0   upgrading node member-2-node-1 after its neighbour…
        │  └─ member-3             NotStarted
        └─ us                      Completed             0/1 done, 1 failed
           └─ member-4             Failed       1.35.0   quota exceeded
        ");
        assert!(page.lines().all(|line| line.chars().count() <= SCREEN));
    }

    #[test]
    fn wide_shows_everything() {
        insta::assert_snapshot!(shown(&sample::half_way(), Layout::Wide), @"
        update run june
        state      Running, 1/4 members done, 1 failed
        goal       Kubernetes 1.35.0, newest node images
        sequence   stages canary, prod
        started    5m ago
        warning    group `asia` has no members

        NAME                       STATE        STARTED   TOOK   TARGET                          MESSAGE
        canary                     Completed    5m        2m                                     1/1 done
        ├─ canary                  Completed                                                     1/1 done
        │  └─ member-1             Completed    5m        60s    1.35.0 StolosLinux-202610.2.0   all nodes are up to date
        └─ wait 30s                Completed
        prod                       Running      3m                                               0/3 done, 1 failed
        ├─ gate before: go ahead   Completed
        ├─ eu-west                 Running                                                       0/2 done
        │  ├─ member-2             Running      2m               1.35.0                          upgrading node member-2-node-1 after its neighbours were drained one by one, slowly
        │  └─ member-3             NotStarted
        └─ us                      Completed                                                     0/1 done, 1 failed
           └─ member-4             Failed       2m        60s    1.35.0                          quota exceeded
        ");
    }

    #[test]
    fn a_run_that_was_not_started_shows_what_it_would_update() {
        insta::assert_snapshot!(shown(&sample::not_started(), Layout::Screen), @"
        update run june
        state      NotStarted, 0/2 members done, 0 failed
        goal       Kubernetes 1.35.0, newest node images
        sequence   one member after another

        NAME          STATE        TARGET   MESSAGE
        one-by-one    NotStarted            0/2 done
        ├─ member-1   NotStarted
        └─ member-2   NotStarted
        ");
    }

    #[test]
    fn a_run_that_cannot_start_says_why() {
        insta::assert_snapshot!(shown(&sample::refused(), Layout::Screen), @"
        update run june
        state      NotStarted, 0/2 members done, 0 failed
        goal       Kubernetes 1.35.0, newest node images
        sequence   one member after another
        error      the fleet has no update strategy `rings`
        ");
    }

    #[test]
    fn big_groups_show_where_something_happens() {
        let mut run = sample::half_way();
        let group = &mut run.status.as_mut().unwrap().stages[1].groups[0];
        let template = group.members[1].clone();
        group.members.extend(
            (10..40).map(|n| MemberStatus { name: format!("member-{n}"), ..template.clone() }),
        );
        let page = shown(&run, Layout::Screen);
        assert!(page.contains("… 31 more"), "{page}");
        assert!(page.lines().count() < 25, "{page}");
        assert!(shown(&run, Layout::Wide).contains("member-39"));
    }
}
