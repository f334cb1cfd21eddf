//! `stolos service show`.

use stolos_core::network::overview::{Exporter, Importer, Overview, ports};

use super::ServiceArgs;
use super::world::World;
use crate::cli::Output;
use crate::exit::Exit;
use crate::output;

pub(super) async fn run(args: ServiceArgs, output: Output) -> anyhow::Result<Exit> {
    let overview = World::of(&args).await?;
    if output == Output::Name {
        output::line(&overview.service)?;
    } else if !output::structured(&overview, output)? {
        print(&overview)?;
        if !overview.findings.is_empty() {
            let findings = output::count(overview.findings.len(), "finding");
            output::line("")?;
            output::line(&format!(
                "{findings}; `stolos service explain {}` tells them",
                overview.service
            ))?;
        }
    }
    Ok(Exit::Success)
}

fn print(overview: &Overview) -> anyhow::Result<()> {
    output::line(&format!("{}   {}", overview.service, ports(&overview.ports)))?;
    output::line("")?;
    let exporters: Vec<_> = overview.exporters.iter().map(exporter).collect();
    output::table(&["EXPORTED BY", "WEIGHT", "SHARE", "ENDPOINTS", "STATE"], &exporters)?;
    output::line("")?;
    let importers: Vec<_> = overview.importers.iter().map(importer).collect();
    output::table(&["IMPORTED BY", "ADDRESS", "STATE"], &importers)
}

fn exporter(exporter: &Exporter) -> Vec<String> {
    vec![
        exporter.cluster.clone(),
        exporter.weight.map_or_else(|| "-".to_owned(), |weight| weight.to_string()),
        format!("{}%", exporter.percent),
        exporter.endpoints.to_string(),
        exporter.state.as_str().to_owned(),
    ]
}

fn importer(importer: &Importer) -> Vec<String> {
    let address = match &*importer.addresses {
        [] if !importer.was_asked => "not asked".to_owned(),
        [] => "-".to_owned(),
        addresses => addresses.join(","),
    };
    vec![importer.cluster.clone(), address, importer.state.as_str().to_owned()]
}
