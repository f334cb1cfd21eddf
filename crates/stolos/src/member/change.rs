//! `stolos member label` and `stolos member taint`.

use std::collections::BTreeMap;

use clap::Args;
use kube::api::PostParams;
use stolos_api::cluster::{MemberCluster, Taint, TaintEffect};

use super::hub::{self, Hub};
use crate::arguments::{Change, checked_key, checked_value, label_change};
use crate::cli::{HubClientArgs, Output};
use crate::connect::explain;
use crate::exit::{Exit, Hinted};
use crate::output;

/// How often a change is tried again because somebody else wrote in between.
const ATTEMPTS: usize = 5;

#[derive(Args)]
pub(crate) struct LabelArgs {
    /// Name of the member cluster
    name: String,
    /// `key=value` sets a label, `key-` takes it away
    #[arg(required = true, value_name = "CHANGE", value_parser = label_change)]
    changes: Vec<Change<String>>,
    /// Gives labels that exist another value
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    hub: HubClientArgs,
}

#[derive(Args)]
pub(crate) struct TaintArgs {
    /// Name of the member cluster
    name: String,
    /// `key=value:NoSchedule` or `key:NoSchedule` adds a taint, `key:NoSchedule-` or `key-` takes it away
    #[arg(required = true, value_name = "CHANGE", value_parser = taint_change)]
    changes: Vec<Change<Taint>>,
    /// Gives taints that exist another value
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    hub: HubClientArgs,
}

fn taint_change(text: &str) -> Result<Change<Taint>, String> {
    let (taint, removes) = match text.strip_suffix('-') {
        Some(taint) => (taint, true),
        None => (text, false),
    };
    let (pair, effect) = match taint.split_once(':') {
        Some((pair, "NoSchedule")) => (pair, true),
        Some((_, effect)) => {
            return Err(format!("`{effect}` is no effect of a taint; the only one is NoSchedule"));
        }
        None => (taint, false),
    };
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    let (key, value) = (checked_key(key)?, checked_value(value)?);
    match (removes, effect) {
        (true, _) => Ok(Change::Remove(key)),
        (false, true) => {
            Ok(Change::Set(key.clone(), Taint { key, value, effect: TaintEffect::NoSchedule }))
        }
        (false, false) => Err(format!(
            "`{text}` lacks the effect, as in `{text}:NoSchedule`; `{text}-` takes it away"
        )),
    }
}

pub(super) async fn label(args: LabelArgs, output: Output) -> anyhow::Result<Exit> {
    let change = |member: &mut MemberCluster| {
        let labels = member.metadata.labels.get_or_insert_default();
        change_labels(labels, &args.changes, args.overwrite)
    };
    write(&args.hub, &args.name, change, "labels", output).await
}

pub(super) async fn taint(args: TaintArgs, output: Output) -> anyhow::Result<Exit> {
    let change = |member: &mut MemberCluster| {
        change_taints(&mut member.spec.taints, &args.changes, args.overwrite)
    };
    write(&args.hub, &args.name, change, "taints", output).await
}

fn change_labels(
    labels: &mut BTreeMap<String, String>,
    changes: &[Change<String>],
    overwrite: bool,
) -> Result<(), Misfit> {
    for change in changes {
        match change {
            Change::Set(key, value) => match labels.get(key) {
                Some(found) if found != value && !overwrite => {
                    return Err(Misfit::Exists(format!("label {key}={found}")));
                }
                _ => _ = labels.insert(key.clone(), value.clone()),
            },
            Change::Remove(key) => {
                labels.remove(key).ok_or_else(|| Misfit::Missing(format!("label `{key}`")))?;
            }
        }
    }
    Ok(())
}

fn change_taints(
    taints: &mut Vec<Taint>,
    changes: &[Change<Taint>],
    overwrite: bool,
) -> Result<(), Misfit> {
    for change in changes {
        match change {
            Change::Set(key, taint) => {
                match taints
                    .iter_mut()
                    .find(|found| found.key == *key && found.effect == taint.effect)
                {
                    Some(found) if found == taint => {}
                    Some(found) if overwrite => *found = taint.clone(),
                    Some(found) => {
                        return Err(Misfit::Exists(format!("taint {}", hub::taint(found))));
                    }
                    None => taints.push(taint.clone()),
                }
            }
            Change::Remove(key) => {
                let before = taints.len();
                taints.retain(|found| found.key != *key);
                if taints.len() == before {
                    return Err(Misfit::Missing(format!("taint `{key}`")));
                }
            }
        }
    }
    Ok(())
}

/// Why a change does not fit a member.
#[derive(Clone, Debug, PartialEq)]
enum Misfit {
    Exists(String),
    Missing(String),
}

/// Changes a member at the state that was seen, again when somebody else was faster.
async fn write(
    args: &HubClientArgs,
    name: &str,
    change: impl Fn(&mut MemberCluster) -> Result<(), Misfit>,
    what: &str,
    output: Output,
) -> anyhow::Result<Exit> {
    let hub = Hub::connect(args).await?;
    let params = PostParams { field_manager: Some("stolos".to_owned()), ..PostParams::default() };
    for attempt in 1.. {
        let before = hub.member(name).await?;
        let mut member = before.clone();
        change(&mut member).map_err(|misfit| match misfit {
            Misfit::Exists(found) => Hinted::error(
                format!("member `{name}` has {found} already"),
                "--overwrite gives it the new value",
            ),
            Misfit::Missing(found) => Hinted::error(
                format!("member `{name}` has no {found}"),
                format!("`stolos member show {name}` shows what it has"),
            ),
        })?;
        if member == before {
            output::note(&format!("member `{name}` has these {what} already"));
            return Ok(Exit::Success);
        }
        match hub.members().replace(name, &params, &member).await {
            Ok(written) => {
                if output == Output::Name {
                    output::line(name)?;
                } else if !output::structured(&hub::readable(&written)?, output)? {
                    output::line(&format!("member `{name}`: {what} changed"))?;
                }
                return Ok(Exit::Success);
            }
            Err(kube::Error::Api(status)) if status.is_conflict() && attempt < ATTEMPTS => {}
            Err(error) => {
                return Err(explain(
                    &format!("failed to change the {what} of member `{name}`"),
                    error,
                ));
            }
        }
    }
    unreachable!("the last attempt returns")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_labels_are_read_as_kubectl_reads_them() {
        assert_eq!(label_change("a=b"), Ok(Change::Set("a".into(), "b".into())));
        assert_eq!(label_change("a="), Ok(Change::Set("a".into(), String::new())));
        assert_eq!(label_change("example.com/a-"), Ok(Change::Remove("example.com/a".into())));
        for wrong in ["a", "=b", "a b=c", "a=b c", "-"] {
            assert!(label_change(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn changes_of_taints_name_their_effect() {
        let taint = |value: &str| Taint {
            key: "a".into(),
            value: value.into(),
            effect: TaintEffect::NoSchedule,
        };
        assert_eq!(taint_change("a=b:NoSchedule"), Ok(Change::Set("a".into(), taint("b"))));
        assert_eq!(taint_change("a:NoSchedule"), Ok(Change::Set("a".into(), taint(""))));
        assert_eq!(taint_change("a:NoSchedule-"), Ok(Change::Remove("a".into())));
        assert_eq!(taint_change("a-"), Ok(Change::Remove("a".into())));
        insta::assert_snapshot!(taint_change("a=b").unwrap_err(), @"`a=b` lacks the effect, as in `a=b:NoSchedule`; `a=b-` takes it away");
        insta::assert_snapshot!(taint_change("a:NoExecute").unwrap_err(), @"`NoExecute` is no effect of a taint; the only one is NoSchedule");
    }

    #[test]
    fn nothing_is_overwritten_or_removed_by_mistake() {
        let mut labels = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        let set = |value: &str| [Change::Set("a".to_owned(), value.to_owned())];
        assert!(matches!(change_labels(&mut labels, &set("2"), false), Err(Misfit::Exists(_))));
        assert_eq!(change_labels(&mut labels, &set("1"), false), Ok(()));
        assert_eq!(change_labels(&mut labels, &set("2"), true), Ok(()));
        let remove = [Change::Remove("a".to_owned())];
        assert_eq!(change_labels(&mut labels, &remove, false), Ok(()));
        assert!(matches!(change_labels(&mut labels, &remove, false), Err(Misfit::Missing(_))));
        let mut taints = Vec::new();
        let change = [taint_change("a=b:NoSchedule").unwrap()];
        assert_eq!(change_taints(&mut taints, &change, false), Ok(()));
        assert_eq!(change_taints(&mut taints, &change, false), Ok(()));
        assert_eq!(taints.len(), 1);
        let other = [taint_change("a=c:NoSchedule").unwrap()];
        assert!(matches!(change_taints(&mut taints, &other, false), Err(Misfit::Exists(_))));
        assert_eq!(change_taints(&mut taints, &[taint_change("a-").unwrap()], false), Ok(()));
        assert!(taints.is_empty());
    }
}
