//! A second, simpler engine: flags and counters, one second after the other, written from the rules and not from the first.
//! It knows nothing of status trees, operation ids, wake-ups or times of day.

use std::collections::BTreeSet;

use stolos_api::update::SkipTargetType;

use super::player::Act;
use super::properties::{NAMES, World};

/// Plays end long before this second.
const LAST_SECOND: i64 = 17_400;

#[derive(Clone, Copy, PartialEq, Debug)]
enum Is {
    Waiting,
    Running { until: i64 },
    Completed,
    Failed,
    Skipped,
}

struct Member {
    name: &'static str,
    is: Is,
    seconds: i64,
    failures: i32,
    opens: Option<i64>,
    held: bool,
    left: bool,
    /// The second at which it failed and was put back in line at once: nobody has seen it fail.
    unseen: Option<i64>,
}

impl Member {
    fn is_over(&self) -> bool {
        matches!(self.is, Is::Completed | Is::Failed | Is::Skipped)
    }
}

#[derive(Clone, Copy, Default)]
struct Gate {
    exists: bool,
    arrived: bool,
    approved: bool,
    passed: bool,
    skipped: bool,
}

impl Gate {
    fn is_behind(self) -> bool {
        !self.exists || self.passed || self.skipped
    }

    /// Somebody arrives at the gate. Returns whether it lets them through.
    fn arrive(&mut self) -> bool {
        if !self.is_behind() {
            self.arrived = true;
            self.passed = self.approved;
        }
        self.is_behind()
    }

    fn holds_somebody(self) -> bool {
        self.arrived && !self.is_behind()
    }
}

struct Group {
    number: usize,
    members: Vec<Member>,
    at_once: usize,
    tolerated: usize,
    before: Gate,
    after: Gate,
}

impl Group {
    fn count(&self, is: impl Fn(&Member) -> bool) -> usize {
        self.members.iter().filter(|member| is(member)).count()
    }

    fn running(&self) -> usize {
        self.count(|member| matches!(member.is, Is::Running { .. }))
    }

    fn failed(&self) -> usize {
        self.count(|member| member.is == Is::Failed)
    }

    fn all_skipped(&self) -> bool {
        self.members.iter().all(|member| member.is == Is::Skipped)
    }

    fn all_over(&self) -> bool {
        self.members.iter().all(Member::is_over)
    }

    fn is_done(&self) -> bool {
        self.all_skipped() || (self.all_over() && self.after.is_behind())
    }
}

struct Stage {
    groups: Vec<Group>,
    at_once: usize,
    tolerated: usize,
    needed: usize,
    wait: i64,
    wait_until: Option<i64>,
    wait_over: bool,
    before: Gate,
    after: Gate,
    passed: bool,
    left_out: bool,
}

impl Stage {
    fn members(&mut self) -> impl Iterator<Item = &mut Member> {
        self.groups.iter_mut().flat_map(|group| &mut group.members)
    }

    fn sum(&self, count: impl Fn(&Group) -> usize) -> usize {
        self.groups.iter().map(count).sum()
    }

    fn has_failed(&self) -> bool {
        let asked = self.sum(|group| group.count(|member| member.is != Is::Skipped));
        let possible =
            self.sum(|group| group.count(|member| member.is == Is::Completed || !member.is_over()));
        self.sum(Group::failed) > self.tolerated
            || self.groups.iter().any(|group| group.failed() > group.tolerated)
            || possible < self.needed.min(asked)
    }

    /// Ends the stage when nobody is left to be updated in it.
    fn leave_out(&mut self) {
        let nobody = self.groups.iter().all(Group::all_skipped);
        if !self.passed && nobody && !self.has_failed() {
            self.passed = true;
            self.left_out = true;
        }
    }
}

struct Model {
    stages: Vec<Stage>,
    stopped: bool,
    restart: bool,
    skips: Vec<(SkipTargetType, &'static str)>,
    told: BTreeSet<String>,
    run: &'static str,
}

/// Returns when members begin and end and when the run ends, each as a line of a history.
pub(super) fn expected(world: &World) -> BTreeSet<String> {
    let mut model = Model::of(world);
    model.settle(0);
    let script = world.acts();
    let moments: BTreeSet<i64> = script.iter().map(|(second, _)| *second).collect();
    for second in 0..=LAST_SECOND {
        let ended = model.end_upgrades(second);
        let acts: Vec<&Act> =
            script.iter().filter(|(at, _)| *at == second).map(|(_, act)| act).collect();
        for act in &acts {
            model.act(act);
        }
        let due = model.waits_for(second);
        if ended || due || moments.contains(&second) {
            model.settle(second);
        }
        if model.stages.iter().all(|stage| stage.passed) {
            break;
        }
    }
    model.told
}

impl Model {
    fn of(world: &World) -> Self {
        let gate = |exists| Gate { exists, ..Gate::default() };
        let mut numbers = 0..;
        let stages = world.stages.iter().map(|stage| {
            let groups: Vec<Group> = (stage.groups.iter().zip(&mut numbers))
                .map(|(group, number)| {
                    let mine = world.members.iter().zip(NAMES).filter(|(m, _)| m.group == number);
                    let members: Vec<Member> = mine
                        .map(|(member, name)| Member {
                            name,
                            is: Is::Waiting,
                            seconds: member.seconds,
                            failures: member.failures,
                            opens: member.opens,
                            held: false,
                            left: false,
                            unseen: None,
                        })
                        .collect();
                    Group {
                        number,
                        at_once: (members.len() * group.quarters_at_once / 4).max(1),
                        tolerated: group.tolerated,
                        before: gate(group.gate_before),
                        after: gate(group.gate_after),
                        members,
                    }
                })
                .collect();
            let count: usize = groups.iter().map(|group| group.members.len()).sum();
            Stage {
                groups,
                at_once: stage.at_once,
                tolerated: stage.tolerated,
                needed: (count * stage.quarters_needed).div_ceil(4),
                wait: stage.wait,
                wait_until: None,
                wait_over: stage.wait == 0,
                before: gate(stage.gate_before),
                after: gate(stage.gate_after),
                passed: false,
                left_out: false,
            }
        });
        Self {
            stages: stages.collect(),
            stopped: false,
            restart: false,
            skips: Vec::new(),
            told: BTreeSet::new(),
            run: "",
        }
    }

    fn end_upgrades(&mut self, now: i64) -> bool {
        let mut any = false;
        for member in self.stages.iter_mut().flat_map(Stage::members) {
            if member.is == (Is::Running { until: now }) {
                any = true;
                let works = member.failures == 0;
                member.failures = (member.failures - 1).max(0);
                member.is = if works { Is::Completed } else { Is::Failed };
                if !member.left {
                    self.told.insert(format!("{now} member {} {:?}", member.name, member.is));
                }
            }
        }
        any
    }

    /// Whether a window opens or a wait ends now.
    fn waits_for(&self, now: i64) -> bool {
        let opens = |group: &Group| group.count(|member| member.opens == Some(now)) > 0;
        self.stages
            .iter()
            .any(|stage| stage.wait_until == Some(now) || stage.groups.iter().any(opens))
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Stop => self.stopped = true,
            Act::Run => self.stopped = false,
            Act::Restart => self.restart = true,
            Act::Skip(kind, name) => self.skips.push((*kind, name)),
            Act::Approve => {
                for stage in &mut self.stages {
                    let groups = stage.groups.iter_mut();
                    let of_groups = groups.flat_map(|group| [&mut group.before, &mut group.after]);
                    for gate in of_groups.chain([&mut stage.before, &mut stage.after]) {
                        gate.approved |= gate.arrived;
                    }
                }
            }
            Act::Leave(name) => self.each_called(name, |member| member.left = true),
            Act::Hold(name, held) => self.each_called(name, |member| member.held = *held),
            Act::Busy(_) | Act::Free(_) | Act::Change(_) => unreachable!("not in these worlds"),
        }
    }

    fn each_called(&mut self, name: &str, change: impl Fn(&mut Member)) {
        let all = self.stages.iter_mut().flat_map(Stage::members);
        all.filter(|member| member.name == name).for_each(change);
    }

    fn settle(&mut self, now: i64) {
        self.restart_failed(now);
        self.skip(now);
        self.leave(now);
        for stage in &mut self.stages {
            if stage.passed {
                continue;
            }
            advance(stage, self.stopped, now, &mut self.told);
            if !stage.passed {
                break;
            }
        }
        self.stages.iter_mut().for_each(Stage::leave_out);
        self.tell_run(now);
    }

    fn restart_failed(&mut self, now: i64) {
        if self.stopped || !self.restart {
            return;
        }
        if let Some(stage) = self.stages.iter_mut().find(|stage| !stage.passed) {
            if stage.has_failed() && stage.sum(Group::running) > 0 {
                return;
            }
            for member in stage.members().filter(|member| member.is == Is::Failed) {
                member.is = Is::Waiting;
                if self.told.remove(&format!("{now} member {} Failed", member.name)) {
                    member.unseen = Some(now);
                }
            }
        }
        self.restart = false;
    }

    fn skip(&mut self, now: i64) {
        for (kind, name) in self.skips.clone() {
            for (index, stage) in self.stages.iter_mut().enumerate() {
                let whole = kind == SkipTargetType::Stage && name == format!("s{index}");
                let wait = kind == SkipTargetType::AfterStageWait && name == format!("s{index}");
                stage.wait_over |= whole || wait;
                if whole {
                    stage.before.skipped |= !stage.before.passed;
                    stage.after.skipped |= !stage.after.passed;
                }
                for group in &mut stage.groups {
                    let called = format!("g{}", group.number);
                    let group_too = whole || (kind == SkipTargetType::Group && name == called);
                    if group_too {
                        group.before.skipped |= !group.before.passed;
                        group.after.skipped |= !group.after.passed;
                    }
                    for member in &mut group.members {
                        let this = kind == SkipTargetType::Member && name == member.name;
                        if (group_too || this) && member.is == Is::Waiting {
                            member.is = Is::Skipped;
                            self.told.insert(format!("{now} member {} Skipped", member.name));
                        }
                    }
                }
                stage.leave_out();
            }
        }
    }

    fn leave(&mut self, now: i64) {
        for member in self.stages.iter_mut().flat_map(Stage::members) {
            if member.left && !member.is_over() {
                member.is = Is::Skipped;
                self.told.insert(format!("{now} member {} Skipped", member.name));
            }
        }
    }

    fn tell_run(&mut self, now: i64) {
        let run = match self.stages.iter().find(|stage| !stage.passed) {
            Some(stage) if stage.has_failed() && stage.sum(Group::running) == 0 => "Failed",
            Some(_) => "",
            None if self.stages.iter().all(|stage| stage.left_out) => "Skipped",
            None => "Completed",
        };
        if run != self.run && !run.is_empty() {
            self.told.insert(format!("{now} run {run}"));
        }
        self.run = run;
    }
}

fn advance(stage: &mut Stage, stopped: bool, now: i64, told: &mut BTreeSet<String>) {
    stage.leave_out();
    if stage.passed || stopped || stage.has_failed() || !stage.before.arrive() {
        if !stopped || stage.passed {
            return;
        }
    } else {
        begin_members(stage, now, told);
        if stage.has_failed() {
            return;
        }
        finish(stage, now);
    }
    let done = stage.groups.iter().all(Group::is_done);
    let begun = stage.before.is_behind();
    stage.passed =
        !stage.has_failed() && done && stage.after.is_behind() && stage.wait_over && begun;
}

fn begin_members(stage: &mut Stage, now: i64, told: &mut BTreeSet<String>) {
    let mut open: Vec<bool> = (stage.groups.iter_mut())
        .map(|group| (!group.all_over() || group.before.holds_somebody()) && group.before.arrive())
        .collect();
    while open.contains(&true) {
        for (index, open) in open.iter_mut().enumerate() {
            let free = stage.sum(Group::running) < stage.at_once;
            let group = &mut stage.groups[index];
            *open &= free && group.running() < group.at_once;
            if !*open {
                continue;
            }
            // Open windows first, then no window; nobody else can begin.
            let may = |member: &Member| {
                member.is == Is::Waiting && !member.held && member.opens.is_none_or(|at| at <= now)
            };
            let first = group.members.iter().position(|m| may(m) && m.opens.is_some());
            let next = first.or_else(|| group.members.iter().position(may));
            match next {
                Some(next) => {
                    let member = &mut group.members[next];
                    member.is = Is::Running { until: now + member.seconds };
                    if member.unseen != Some(now) {
                        told.insert(format!("{now} member {} Running", member.name));
                    }
                }
                None => *open = false,
            }
        }
    }
}

fn finish(stage: &mut Stage, now: i64) {
    for group in &mut stage.groups {
        if group.all_over() && !group.all_skipped() {
            group.after.arrive();
        }
    }
    let done = stage.groups.iter().all(Group::is_done);
    if !done || stage.groups.iter().all(Group::all_skipped) {
        return;
    }
    stage.after.arrive();
    if !stage.wait_over {
        let until = *stage.wait_until.get_or_insert(now + stage.wait);
        stage.wait_over = until <= now;
    }
}
