//! `stolos autoupgrade show`.

use jiff::Timestamp;
use stolos_api::update::{AutoUpgradeProfile, Reconcile};

use super::{ProfileArgs, text};
use crate::cli::Output;
use crate::exit::Exit;
use crate::fleet::hub::Fleet;
use crate::output;
use crate::policies;

pub(super) async fn run(args: ProfileArgs, output: Output) -> anyhow::Result<Exit> {
    let fleet = Fleet::connect(&args.fleet).await?;
    let profile: AutoUpgradeProfile = fleet.get(&args.name).await?;
    let page = page(&args.name, &profile, Timestamp::now());
    output::outcome(&args.name, &profile, &page, output)?;
    Ok(Exit::Success)
}

fn page(name: &str, profile: &AutoUpgradeProfile, now: Timestamp) -> String {
    let spec = &profile.spec;
    let (state, why) = text::standing(profile);
    let why = if why.is_empty() { why } else { format!(": {why}") };
    let acts = match spec.reconcile {
        Reconcile::Drift => {
            format!("whenever a member is behind; {} retries of what failed", spec.retries())
        }
        Reconcile::Published => "once for each publication".to_owned(),
    };
    let sequence = match &spec.strategy_name {
        Some(strategy) => format!("strategy {strategy}"),
        None => "one member after another".to_owned(),
    };
    let mut lines = vec![
        ("profile", name.to_owned()),
        ("state", format!("{state}{why}")),
        ("channel", text::channel(profile)),
        ("target", text::target(profile)),
        ("sequence", sequence),
        ("acts", acts),
    ];
    lines.extend(policies::told(spec.member_policy.as_ref(), &spec.preflight));
    lines.extend(text::latest(profile).map(|latest| {
        let at = profile.status.as_ref().and_then(|status| status.last_triggered_at.as_ref());
        let ago = at.map(|at| format!(", {} ago", output::age(at.0, now))).unwrap_or_default();
        ("latest run", format!("{latest}{ago}"))
    }));
    lines.iter().map(|(key, value)| format!("{key:<10} {value}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// Returns a profile that has made a run for two members.
    pub(in crate::auto_upgrade) fn stable() -> AutoUpgradeProfile {
        let condition = |type_: &str, status: &str, message: &str| {
            json!({
                "type": type_, "status": status, "reason": "x", "message": message,
                "lastTransitionTime": "2026-06-01T10:00:00Z",
            })
        };
        serde_json::from_value(json!({
            "metadata": { "name": "local.stable", "namespace": "default" },
            "spec": { "fleetName": "local", "channel": "Stable", "strategyName": "rings" },
            "status": {
                "target": ["1.34.2"], "lastTriggerStatus": "Succeeded",
                "lastTriggerUpdateRun": "stable-1-34-2",
                "conditions": [
                    condition("Ready", "True", "it can create update runs"),
                    condition("UpToDate", "False", "2 members are behind"),
                ],
            },
        }))
        .unwrap()
    }

    #[test]
    fn a_page_says_what_a_profile_wants_and_did() {
        assert_eq!(
            page("stable", &stable(), Timestamp::UNIX_EPOCH),
            "profile    stable\n\
             state      Behind: 2 members are behind\n\
             channel    Stable\n\
             target     1.34.2\n\
             sequence   strategy rings\n\
             acts       whenever a member is behind; 3 retries of what failed\n\
             latest run stable-1-34-2"
        );
    }

    #[test]
    fn a_profile_that_is_disabled_says_so_before_all_else() {
        let mut profile = stable();
        profile.spec.disabled = true;
        assert!(page("stable", &profile, Timestamp::UNIX_EPOCH).contains("state      Disabled"));
    }
}
