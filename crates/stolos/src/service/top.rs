//! `stolos service top`.

use std::time::{Duration, Instant};

use clap::Args;
use futures::future;
use serde_json::json;
use stolos_dataplane::Figures;

use super::figures::{self, Source};
use super::rates::{self, Rates, ServiceRates};
use crate::cli::{self, HubClientArgs, Output};
use crate::exit::Exit;
use crate::output;
use crate::tree::{self, Node, SCREEN};

#[derive(Args)]
pub(crate) struct TopArgs {
    /// Name of the service; without it, all are shown
    name: Option<String>,
    /// Namespace of the service
    #[arg(short, long, requires = "name", default_value = "default", hide_default_value = true)]
    namespace: String,
    /// Time over which rates are taken
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = cli::duration)]
    interval: Duration,
    /// Shows the rates once and ends
    #[arg(long)]
    once: bool,
    /// URL of the figures of a data plane; may be given several times
    #[arg(long, value_name = "URL")]
    figures: Vec<String>,
    /// Namespace of the members in which data planes say where their figures are
    #[arg(long, value_name = "NAMESPACE", default_value = "fleet-system")]
    fleet_system_namespace: String,
    #[command(flatten)]
    hub: HubClientArgs,
}

const HEADINGS: [&str; 6] = ["SERVICE", "CONN/S", "OPEN", "FROM CLIENTS", "TO CLIENTS", "STATE"];

/// Puts the cursor to the beginning and clears the screen.
const CLEAR: &str = "\x1b[H\x1b[2J";

pub(super) async fn run(args: TopArgs, output: Output) -> anyhow::Result<Exit> {
    let wanted = args.name.as_ref().map(|name| (args.namespace.as_str(), name.as_str()));
    let sources = if args.figures.is_empty() {
        figures::sources(&args.hub, &args.fleet_system_namespace, wanted).await?
    } else {
        args.figures.iter().map(|url| Source::at(url, wanted)).collect()
    };
    let is_screen = std::io::IsTerminal::is_terminal(&std::io::stdout()) && !args.once;
    let mut before = ask(&sources).await?;
    loop {
        let begun = Instant::now();
        tokio::time::sleep(args.interval).await;
        let after = ask(&sources).await?;
        let seconds = begun.elapsed().as_secs_f64();
        // Rates are between two answers of the same data plane.
        let both = |(before, after): (&Option<Figures>, &Option<Figures>)| {
            Some((before.clone()?, after.clone()?))
        };
        let all = sources.iter().zip(before.iter().zip(&after).map(both));
        let all = all.filter_map(|(source, both)| Some((source, both?)));
        let all = all.flat_map(|(source, (before, after))| {
            let mut rates = rates::between(&source.importer, &before, &after, seconds);
            rates.retain(|one| source.shows(&one.service));
            rates
        });
        let shown: Vec<_> = all.collect();
        if is_screen && matches!(output, Output::Table | Output::Wide) {
            output::line(CLEAR)?;
        }
        print(&shown, output)?;
        if args.once {
            return Ok(Exit::Success);
        }
        before = after;
    }
}

/// Asks all data planes. One that does not answer is told, and has nothing to show.
async fn ask(sources: &[Source]) -> anyhow::Result<Vec<Option<Figures>>> {
    let answers = future::join_all(sources.iter().map(Source::ask)).await;
    let nobody_answers = answers.iter().all(Result::is_err);
    let figures = answers.into_iter().map(|answer| match answer {
        Err(error) if !nobody_answers => {
            output::note(&format!("{error:#}"));
            Ok(None)
        }
        answer => answer.map(Some),
    });
    figures.collect()
}

fn print(services: &[ServiceRates], output: Output) -> anyhow::Result<()> {
    match output {
        Output::Json => output::line(&json!({ "services": services }).to_string()),
        Output::Yaml => output::structured(&json!({ "services": services }), output).map(drop),
        Output::Name => services.iter().try_for_each(|service| output::line(&service.service)),
        Output::Table | Output::Wide if services.is_empty() => {
            output::note("no data plane serves it");
            Ok(())
        }
        Output::Table | Output::Wide => {
            let headings = HEADINGS.map(str::to_owned).to_vec();
            let width = if output == Output::Wide { usize::MAX } else { SCREEN };
            output::line(
                tree::draw(headings, services.iter().map(node).collect(), width).trim_end(),
            )
        }
    }
}

fn node(service: &ServiceRates) -> Node {
    let state = if service.unserved > 0.0 {
        format!("{}/s find no endpoint", number(service.unserved))
    } else {
        String::new()
    };
    let name = format!("{} {} of {}", service.service, service.vip, service.importer);
    let clusters = service.clusters.iter().map(|cluster| {
        let endpoints = cluster.endpoints.iter().map(|endpoint| {
            let standing = endpoint.standing.map_or("Draining", |standing| standing.as_str());
            Node::leaf(cells(endpoint.endpoint.to_string(), &endpoint.rates, standing.to_owned()))
        });
        let cells = cells(cluster.cluster.clone(), &cluster.rates, String::new());
        Node { cells, children: endpoints.collect() }
    });
    Node { cells: cells(name, &service.rates, state), children: clusters.collect() }
}

fn cells(name: String, rates: &Rates, state: String) -> Vec<String> {
    let state = if rates.failures > 0.0 && state.is_empty() {
        format!("{}/s fail", number(rates.failures))
    } else {
        state
    };
    vec![
        name,
        number(rates.connections),
        rates.active.to_string(),
        format!("{}B/s", number(rates.from_clients)),
        format!("{}B/s", number(rates.from_endpoints)),
        state,
    ]
}

/// Returns a number with about three digits and a prefix: `0`, `1.5`, `230`, `12.4k`, `3.1M`.
fn number(number: f64) -> String {
    let (scaled, prefix) = match number {
        ..1_000.0 => (number, ""),
        1_000.0..1e6 => (number / 1e3, "k"),
        1e6..1e9 => (number / 1e6, "M"),
        _ => (number / 1e9, "G"),
    };
    let digits = usize::from(scaled < 100.0 && scaled.fract() >= 0.05);
    format!("{scaled:.digits$}{prefix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 1.5, 99.96, 230.4, 12_400.0, 3_100_000.0, 2e9].map(number);
        assert_eq!(shown, ["0", "1.5", "100.0", "230", "12.4k", "3.1M", "2G"]);
    }
}
