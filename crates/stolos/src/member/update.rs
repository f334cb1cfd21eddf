//! `stolos member update`.

use clap::Args;
use stolos_api::cluster::fleet::FleetMember;
use stolos_api::cluster::names::automatic_label;

use crate::arguments::{self, Change};
use crate::cli::{FleetArgs, Output};
use crate::exit::{Exit, Hinted};
use crate::fleet::hub::Fleet;
use crate::output;
use crate::windows::WindowArgs;

pub(super) const EXAMPLES: &str = "\
Examples:
  stolos member update shop --fleet edge --group canary
  stolos member update shop --fleet edge --label tier=gold --label region-
  stolos member update shop --fleet edge --window 'every 2 weeks saturday 22:00+01:00/6h'
      Kubernetes versions and node images are upgraded in six hours of every other Saturday night
  stolos member update shop --fleet edge --kubernetes-window 'last sunday 02:00/4h except 2026-12-20..2027-01-06'
  stolos member update shop --fleet edge --windows-file windows.yaml
  stolos member update shop --fleet edge --no-windows

Days of a window: `daily`, `every 3 days`, `saturday`, `every 2 weeks saturday`, `day 15`, `last friday`, and
`every 2 months` before the last two. Runs that have started keep the members that they have.";

#[derive(Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true).args([
    "group", "no_group", "labels", "no_windows", "window", "kubernetes_window", "node_image_window", "windows_file",
]))]
pub(crate) struct UpdateArgs {
    /// Name of the member within its fleet
    #[arg(value_parser = arguments::name)]
    name: String,
    #[command(flatten)]
    wish: Wish,
    #[command(flatten)]
    fleet: FleetArgs,
}

/// What is to be changed.
#[derive(Args, Default)]
struct Wish {
    /// Update group of the member: stages of update runs name it
    #[arg(long, value_parser = arguments::name, conflicts_with = "no_group")]
    group: Option<String>,
    /// Takes the member out of its update group
    #[arg(long)]
    no_group: bool,
    /// `key=value` sets a label of the member, `key-` takes it away
    #[arg(long = "label", value_name = "CHANGE", value_parser = arguments::label_change)]
    labels: Vec<Change<String>>,
    /// Takes all maintenance windows away: the member may be upgraded at any time, unless its provider knows windows
    #[arg(long, conflicts_with_all = ["window", "kubernetes_window", "node_image_window", "windows_file"])]
    no_windows: bool,
    #[command(flatten)]
    windows: WindowArgs,
}

pub(super) async fn run(args: UpdateArgs, output: Output) -> anyhow::Result<Exit> {
    let fleet = Fleet::connect(&args.fleet).await?;
    let name = &args.name;
    let change = |member: &mut FleetMember| apply(member, name, &args.wish);
    let (member, changed) = fleet.change(name, change).await?;
    let text = if changed { "updated" } else { "is that way already" };
    output::outcome(name, &member, &format!("member `{name}` {text}"), output)?;
    Ok(Exit::Success)
}

fn apply(member: &mut FleetMember, name: &str, wish: &Wish) -> anyhow::Result<()> {
    if wish.no_group {
        member.spec.group = None;
    }
    if let Some(group) = &wish.group {
        member.spec.group = Some(group.clone());
    }
    member.spec.maintenance_windows = if wish.no_windows {
        None
    } else {
        wish.windows.over(member.spec.maintenance_windows.take())
    };
    for change in &wish.labels {
        let (Change::Set(key, _) | Change::Remove(key)) = change;
        if key.starts_with(automatic_label::PREFIX) {
            return Err(Hinted::error(
                format!("label `{key}` of member `{name}` is set by the fleet itself"),
                format!("labels of your own do not begin with `{}`", automatic_label::PREFIX),
            ));
        }
        match change {
            Change::Set(key, value) => _ = member.spec.labels.insert(key.clone(), value.clone()),
            Change::Remove(key) => _ = member.spec.labels.remove(key),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::fleet::text::tests::member;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: UpdateArgs,
    }

    fn changed(wish: &Wish) -> anyhow::Result<FleetMember> {
        let mut shop = member("shop", "True", "Joined", "");
        apply(&mut shop, "shop", wish)?;
        Ok(shop)
    }

    fn labels(changes: &[&str]) -> Vec<Change<String>> {
        changes.iter().map(|text| arguments::label_change(text).unwrap()).collect()
    }

    #[test]
    fn group_and_labels_change_and_go() {
        let wish = Wish {
            group: Some("malls".to_owned()),
            labels: labels(&["tier-", "a=b"]),
            ..Wish::default()
        };
        let shop = changed(&wish).unwrap();
        assert_eq!(shop.spec.group.as_deref(), Some("malls"));
        assert_eq!(shop.spec.labels, [("a".to_owned(), "b".to_owned())].into());
        let shop = changed(&Wish { no_group: true, ..Wish::default() }).unwrap();
        assert_eq!(shop.spec.group, None);
    }

    #[test]
    fn windows_change_and_go() {
        let windows = |args: &[&str]| {
            let args = ["update", "shop"].iter().chain(args);
            let Line { args } = Line::try_parse_from(args).unwrap();
            args.wish
        };
        let mut shop =
            changed(&windows(&["--window", "daily 22:00/6h", "--group", "malls"])).unwrap();
        let set = shop.spec.maintenance_windows.clone().unwrap();
        assert_eq!(set.kubernetes, set.node_image);
        apply(&mut shop, "shop", &windows(&["--no-group"])).unwrap();
        assert_eq!(shop.spec.maintenance_windows.as_ref(), Some(&set), "they stay");
        apply(&mut shop, "shop", &windows(&["--no-windows"])).unwrap();
        assert_eq!(shop.spec.maintenance_windows, None);
    }

    #[test]
    fn an_update_changes_something_and_contradicts_itself_nowhere() {
        for line in [
            &["update", "shop"][..],
            &["update", "shop", "--no-windows", "--window", "daily 22:00/6h"],
            &[
                "update",
                "shop",
                "--window",
                "daily 22:00/6h",
                "--node-image-window",
                "daily 22:00/6h",
            ],
            &["update", "shop", "--window", "daily"],
        ] {
            assert!(Line::try_parse_from(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn automatic_labels_are_not_the_users() {
        let wish = Wish { labels: labels(&["fleet.azure.com/location=here"]), ..Wish::default() };
        assert!(changed(&wish).is_err());
    }
}
