//! Following the members of a fleet while they join or leave.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use futures::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use stolos_api::cluster::fleet::FleetMember;
use tokio::time::Instant;

use super::hub::Fleet;
use super::text::{self, MemberState};
use crate::output;

/// Members by their names within the fleet.
pub(crate) type Members = BTreeMap<String, FleetMember>;

/// Members named in an error.
const MOST_NAMES: usize = 10;

/// Waits until `is_done` holds of the fleet's members, showing what happens. Returns the members as they are then, and
/// whether it holds; it does not when the time is over.
pub(crate) async fn wait(
    fleet: &Fleet,
    within: Duration,
    verb: Verb,
    is_done: impl Fn(&Members) -> bool,
) -> anyhow::Result<(Members, bool)> {
    let deadline = Instant::now() + within;
    let config = watcher::Config::default().fields(&format!("spec.fleetName={}", fleet.name));
    let mut events = watch(fleet.api::<FleetMember>(), config).default_backoff().boxed();
    let mut progress = Progress::new(verb);
    let mut members = Members::new();
    let mut listed = Members::new();
    loop {
        let event = match tokio::time::timeout_at(deadline, events.next()).await {
            Ok(event) => event.context("the watch of the members has ended by itself")?,
            Err(_) => return Ok((members, false)),
        };
        match event {
            Ok(Event::Init) => {
                listed.clear();
                continue;
            }
            Ok(Event::InitApply(member)) => {
                listed.insert(fleet.short_name(&member).to_owned(), member);
                continue;
            }
            Ok(Event::InitDone) => members = std::mem::take(&mut listed),
            Ok(Event::Apply(member)) => {
                members.insert(fleet.short_name(&member).to_owned(), member);
            }
            Ok(Event::Delete(member)) => _ = members.remove(fleet.short_name(&member)),
            // The watch begins again by itself, and the time is bounded.
            Err(error) => {
                tracing::info!(%error, "lost sight of the members");
                continue;
            }
        }
        progress.report(&members);
        if is_done(&members) {
            return Ok((members, true));
        }
    }
}

/// What members are watched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Join,
    Leave,
}

/// Shows members as they come and go: a bar on a terminal, lines in a pipe, both on standard error.
struct Progress {
    verb: Verb,
    bar: Option<ProgressBar>,
    before: BTreeMap<String, MemberState>,
    /// Most members that were seen.
    most: usize,
}

impl Progress {
    fn new(verb: Verb) -> Self {
        let bar = output::is_interactive().then(|| {
            let style = ProgressStyle::with_template("{bar:24} {pos}/{len}  {wide_msg}")
                .expect("the template is well-formed");
            ProgressBar::no_length().with_style(style.progress_chars("━╸─"))
        });
        Self { verb, bar, before: BTreeMap::new(), most: 0 }
    }

    fn report(&mut self, members: &Members) {
        let after: BTreeMap<String, MemberState> = members
            .iter()
            .map(|(name, member)| (name.clone(), text::member_state(member)))
            .collect();
        self.most = self.most.max(after.len());
        match &self.bar {
            Some(bar) => {
                let (done, words) = standing(self.verb, &after, self.most);
                bar.set_length(self.most as u64);
                bar.set_position(done as u64);
                bar.set_message(words);
            }
            None => changes(&self.before, &after).iter().for_each(|line| output::note(line)),
        }
        self.before = after;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Returns how many members are where they shall be, and words for it.
fn standing(verb: Verb, members: &BTreeMap<String, MemberState>, most: usize) -> (usize, String) {
    let count = |state| members.values().filter(|&&found| found == state).count();
    match verb {
        Verb::Join => {
            let (joined, refused) = (count(MemberState::Joined), count(MemberState::Refused));
            let refused = if refused > 0 { format!(", {refused} refused") } else { String::new() };
            (joined, format!("members have joined{refused}"))
        }
        Verb::Leave => (most - members.len(), "members have left".to_owned()),
    }
}

/// Returns a line for each member that stands otherwise than before. The first look tells nothing that is as it should be.
fn changes(
    before: &BTreeMap<String, MemberState>,
    after: &BTreeMap<String, MemberState>,
) -> Vec<String> {
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    let changed = after.iter().filter(|(name, state)| {
        before.get(*name).map_or(**state != MemberState::Joined, |before| before != *state)
    });
    let changed = changed.map(|(name, state)| format!("member {name}: {}", state.name()));
    gone.map(|name| format!("member {name}: gone")).chain(changed).collect()
}

/// Returns names as a text, some of them when there are many.
pub(crate) fn named<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    let more = names.len().saturating_sub(MOST_NAMES);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", names[..names.len().min(MOST_NAMES)].join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(states: &[(&str, MemberState)]) -> BTreeMap<String, MemberState> {
        states.iter().map(|&(name, state)| (name.to_owned(), state)).collect()
    }

    #[test]
    fn lines_tell_who_came_who_changed_and_who_went() {
        use MemberState::{Joined, Joining, Leaving};
        let first = states(&[("a", Joined), ("b", Joining)]);
        assert_eq!(changes(&BTreeMap::new(), &first), ["member b: Joining"]);
        assert!(changes(&first, &first).is_empty());
        let second = states(&[("b", Joined), ("c", Leaving)]);
        assert_eq!(
            changes(&first, &second),
            ["member a: gone", "member b: Joined", "member c: Leaving"]
        );
    }

    #[test]
    fn a_bar_counts_who_is_where_they_shall_be() {
        use MemberState::{Joined, Leaving, Refused};
        let members = states(&[("a", Joined), ("b", Refused), ("c", Leaving)]);
        let (done, words) = standing(Verb::Join, &members, 3);
        assert_eq!((done, words.as_str()), (1, "members have joined, 1 refused"));
        assert_eq!(standing(Verb::Leave, &members, 5).0, 2);
    }

    #[test]
    fn many_names_are_counted() {
        let names: Vec<String> = (0..12).map(|n| n.to_string()).collect();
        assert!(named(names.iter()).ends_with("`9` and 2 more"));
    }
}
