//! `stolos service list`.

use std::collections::BTreeSet;

use clap::Args;
use serde_json::json;
use stolos_core::network::overview::{Api, ExporterState, ImporterState, Overview, ports};

use super::world::{Said, World};
use crate::cli::{HubClientArgs, Output};
use crate::exit::Exit;
use crate::output;
use crate::tree::SCREEN;

#[derive(Args)]
pub(crate) struct ListArgs {
    /// Lists the services of this namespace only
    #[arg(short, long)]
    namespace: Option<String>,
    #[command(flatten)]
    hub: HubClientArgs,
}

const COLUMNS: [&str; 8] =
    ["NAMESPACE", "NAME", "API", "PORTS", "ENDPOINTS", "EXPORTED BY", "IMPORTED BY", "STATE"];

pub(super) async fn run(args: ListArgs, output: Output) -> anyhow::Result<Exit> {
    let world = World::read(&args.hub).await?;
    let is_wanted = |(key, _): &(String, Api)| {
        let (namespace, _) = key.split_once('/').unwrap_or_default();
        args.namespace.as_ref().is_none_or(|wanted| wanted == namespace)
    };
    let services = world.services().into_iter().filter(is_wanted);
    let overview = |(key, api): (String, Api)| world.overview(&key, api, &Said::default());
    let overviews: Vec<_> = services.map(overview).collect();
    if output == Output::Name {
        let names: BTreeSet<_> = overviews.iter().map(|one| &one.service).collect();
        names.into_iter().try_for_each(|name| output::line(name))?;
    } else if !output::structured(&json!({ "items": overviews }), output)? {
        if overviews.is_empty() {
            output::note("no member exports or imports a service");
        } else if output == Output::Wide {
            output::table(&COLUMNS, &rows(&overviews, usize::MAX))?;
        } else {
            output::narrow_table(&COLUMNS, &rows(&overviews, MOST_NAMED), SCREEN)?;
        }
    }
    Ok(Exit::Success)
}

/// Most members named in a cell.
const MOST_NAMED: usize = 2;

fn rows(overviews: &[Overview], most: usize) -> Vec<Vec<String>> {
    overviews.iter().map(|overview| row(overview, most)).collect()
}

fn row(overview: &Overview, most: usize) -> Vec<String> {
    let (namespace, name) = overview.service.split_once('/').unwrap_or_default();
    let serving =
        |state: ExporterState| matches!(state, ExporterState::Serving | ExporterState::NoEndpoints);
    let exporters = overview.exporters.iter().filter(|one| serving(one.state));
    let exporters: Vec<_> = exporters.map(|one| one.cluster.as_str()).collect();
    let importers = overview.importers.iter();
    let importers = importers.filter(|one| one.state == ImporterState::Importing);
    let importers: Vec<_> = importers.map(|one| one.cluster.as_str()).collect();
    let n_endpoints: usize = overview.exporters.iter().map(|one| one.endpoints).sum();
    vec![
        namespace.to_owned(),
        name.to_owned(),
        match overview.api {
            Api::Fleet => "fleet",
            Api::Mcs => "mcs",
        }
        .to_owned(),
        ports(&overview.ports),
        n_endpoints.to_string(),
        named(&exporters, most),
        named(&importers, most),
        state(overview),
    ]
}

/// Names members, the first few only.
fn named(members: &[&str], most: usize) -> String {
    let more = members.len().saturating_sub(most);
    match members {
        [] => "-".to_owned(),
        all if more == 0 => all.join(","),
        all => format!("{},+{more}", all[..most].join(",")),
    }
}

fn state(overview: &Overview) -> String {
    match &*overview.findings {
        [] => "Serving".to_owned(),
        [only] => match &only.cluster {
            Some(cluster) => format!("{cluster} {}", only.message),
            None => only.message.clone(),
        },
        many => format!("{}; see `service explain`", output::count(many.len(), "finding")),
    }
}
