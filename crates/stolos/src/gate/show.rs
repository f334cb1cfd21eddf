//! `stolos gate show`.

use jiff::Timestamp;
use stolos_api::update::{CheckStatus, Gate, GateState, ScheduledStart};

use super::{GateArgs, text};
use crate::cli::Output;
use crate::exit::Exit;
use crate::fleet::hub::Fleet;
use crate::output;

pub(super) async fn run(args: GateArgs, output: Output) -> anyhow::Result<Exit> {
    let fleet = Fleet::connect(&args.fleet).await?;
    let gate: Gate = fleet.get(&args.name).await?;
    output::outcome(&args.name, &gate, &page(&args.name, &gate, Timestamp::now()), output)?;
    Ok(Exit::Success)
}

fn page(name: &str, gate: &Gate, now: Timestamp) -> String {
    let state = text::state(gate);
    let created = gate.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let completed = gate.status.as_ref().and_then(|status| status.completed_time.as_ref());
    let standing = match (state, created, completed) {
        (GateState::Pending, Some(created), _) => {
            format!("Pending, the run has waited for {}", output::age(created, now))
        }
        (state, _, Some(at)) => {
            format!("{}, {} ago", text::state_name(state), output::age(at.0, now))
        }
        (state, _, None) => text::state_name(state).to_owned(),
    };
    let run = &gate.spec.target.update_run;
    let mut lines = vec![
        ("gate", name.to_owned()),
        ("state", standing),
        ("update run", run.clone()),
        ("place", text::place(gate)),
        ("type", text::type_name(gate.spec.gate_type).to_owned()),
    ];
    lines.extend(gate.spec.display_name.iter().map(|name| ("for people", name.clone())));
    lines.extend(gate.spec.scheduled_start.as_ref().map(|start| ("schedule", schedule(start))));
    let checks = gate.status.iter().flat_map(|status| &status.checks);
    lines.extend(checks.flat_map(check).map(|line| ("check", line)));
    if state == GateState::Pending {
        let by_itself = text::opens(gate, now).map(|opens| format!("by itself {opens}, or now: "));
        let how = format!("{}`stolos gate approve {name}`", by_itself.unwrap_or_default());
        lines.push(("opens", how));
    }
    lines.iter().map(|(key, value)| format!("{key:<10} {value}")).collect::<Vec<_>>().join("\n")
}

/// Returns a line for the check and one for each member that is listed.
fn check(check: &CheckStatus) -> Vec<String> {
    let why = |message: &Option<String>| {
        message.as_ref().map(|text| format!(": {text}")).unwrap_or_default()
    };
    let numbers = [
        (check.passing_members, "passing"),
        (check.failing_members, "failing"),
        (check.unknown_members, "unknown"),
    ];
    let numbers = numbers.iter().filter(|(number, _)| *number > 0);
    let numbers: Vec<String> = numbers.map(|(number, what)| format!("{number} {what}")).collect();
    let of_members = match numbers.as_slice() {
        [] => String::new(),
        numbers => format!(", members: {}", numbers.join(", ")),
    };
    let head = format!("{} {:?}{of_members}{}", check.name, check.state, why(&check.message));
    let members = check.members.iter().map(|member| {
        format!("{} on {} {:?}{}", check.name, member.name, member.state, why(&member.message))
    });
    let all = check.failing_members.saturating_add(check.unknown_members);
    let hidden = usize::try_from(all).unwrap_or(0).saturating_sub(check.members.len());
    let more = (hidden > 0).then(|| format!("{} on {hidden} more members", check.name));
    std::iter::once(head).chain(members).chain(more).collect()
}

fn schedule(start: &ScheduledStart) -> String {
    let configuration = &start.configuration;
    format!(
        "{:?} {} {}, which is {}",
        configuration.start_day,
        configuration.start_time,
        configuration.utc_offset,
        start.absolute_start_time.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::sample;

    #[test]
    fn a_page_says_where_a_gate_stands_and_what_opens_it() {
        insta::assert_snapshot!(page("june-prod-before-0", &sample::approval("Pending"), sample::now()), @"
        gate       june-prod-before-0
        state      Pending, the run has waited for 5m
        update run june
        place      before prod
        type       Approval
        for people go ahead
        opens      `stolos gate approve june-prod-before-0`
        ");
        insta::assert_snapshot!(page("g", &sample::scheduled(), sample::now()), @"
        gate       g
        state      Pending, the run has waited for 5m
        update run june
        place      before prod/europe
        type       ScheduledStart
        schedule   Friday 08:00 +02:00, which is 2026-06-05T06:00:00Z
        opens      by itself in 3d, or now: `stolos gate approve g`
        ");
    }

    #[test]
    fn a_gate_whose_deadline_is_over_does_not_open_by_itself() {
        let opens = |deadline| {
            let page = page("g", &sample::health(deadline), sample::now());
            page.lines().last().unwrap_or_default().to_owned()
        };
        let passes = "opens      by itself when its checks pass, or now: `stolos gate approve g`";
        assert_eq!(opens(600), passes);
        assert_eq!(opens(60), "opens      `stolos gate approve g`");
    }

    #[test]
    fn checks_are_told_with_the_members_that_do_not_pass() {
        let status = serde_json::json!({
            "name": "web", "state": "Failing", "lastTransitionTime": "2026-06-01T10:00:00.000000Z",
            "passingMembers": 3, "failingMembers": 2, "unknownMembers": 1,
            "members": [
                { "name": "member-1", "state": "Failing", "message": "`shop/web` is not healthy" },
                { "name": "member-2", "state": "Unknown" },
            ],
        });
        let lines = check(&serde_json::from_value(status).unwrap());
        insta::assert_snapshot!(lines.join("\n"), @r"
        web Failing, members: 3 passing, 2 failing, 1 unknown
        web on member-1 Failing: `shop/web` is not healthy
        web on member-2 Unknown
        web on 1 more members
        ");
    }

    #[test]
    fn a_gate_that_is_open_needs_nothing() {
        let page = page("g", &sample::approval("Completed"), sample::now());
        assert!(!page.contains("approve"), "{page}");
    }
}
