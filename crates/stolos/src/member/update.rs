//! `stolos member update`.

use clap::Args;
use stolos_api::cluster::fleet::FleetMember;
use stolos_api::cluster::names::automatic_label;

use crate::arguments::{self, Change};
use crate::cli::{FleetArgs, Output};
use crate::exit::{Exit, Hinted};
use crate::fleet::hub::Fleet;
use crate::output;

#[derive(Args)]
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
#[group(required = true, multiple = true)]
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
    use super::*;
    use crate::fleet::text::tests::member;

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
    fn automatic_labels_are_not_the_users() {
        let wish = Wish { labels: labels(&["fleet.azure.com/location=here"]), ..Wish::default() };
        assert!(changed(&wish).is_err());
    }
}
