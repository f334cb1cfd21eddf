//! `stolos service explain`.

use stolos_core::network::overview::{ExporterState, Finding, Overview};

use super::ServiceArgs;
use super::world::World;
use crate::cli::Output;
use crate::exit::Exit;
use crate::output;
use crate::tree::SCREEN;

pub(super) async fn run(args: ServiceArgs, output: Output) -> anyhow::Result<Exit> {
    let overview = World::of(&args).await?;
    if output == Output::Name {
        output::line(&overview.service)?;
    } else if !output::structured(&overview, output)? {
        screen(&overview).iter().try_for_each(|line| output::line(line))?;
    }
    Ok(Exit::Success)
}

fn screen(overview: &Overview) -> Vec<String> {
    let serving = overview.exporters.iter().filter(|one| one.state == ExporterState::Serving);
    let shares: Vec<_> = serving.map(|one| format!("{} {}%", one.cluster, one.percent)).collect();
    let goes = match &*shares {
        [] => "connections go nowhere".to_owned(),
        shares => format!("new connections go to {}", shares.join(", ")),
    };
    let mut lines = output::wrap(&format!("{}: {goes}.", overview.service), 0, SCREEN);
    if overview.findings.is_empty() {
        lines.push("Nothing stands in the way.".to_owned());
    }
    for Finding { cluster, message, hint } in &overview.findings {
        lines.push(String::new());
        let whose = cluster.as_ref().map(|cluster| format!("{cluster} ")).unwrap_or_default();
        lines.extend(output::wrap(&format!("{whose}{message}"), 2, SCREEN));
        if !hint.is_empty() {
            lines.extend(output::wrap(&format!("→ {hint}"), 4, SCREEN));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use stolos_core::network::overview::{Api, Exporter};

    use super::*;

    #[test]
    fn what_stands_in_the_way_is_told_with_what_helps() {
        let exporter = |cluster: &str, percent: f64, state: ExporterState| Exporter {
            cluster: cluster.to_owned(),
            weight: Some(1),
            percent,
            endpoints: 2,
            state,
        };
        let mut overview = Overview {
            service: "shop/web".to_owned(),
            api: Api::Fleet,
            ports: Vec::new(),
            exporters: vec![
                exporter("east", 100.0, ExporterState::Serving),
                exporter("west", 0.0, ExporterState::Conflicts),
            ],
            importers: Vec::new(),
            findings: vec![Finding {
                cluster: Some("west".to_owned()),
                message: "conflicts: it has ports 81/TCP".to_owned(),
                hint: "give both the same ports".to_owned(),
            }],
        };
        let want = [
            "shop/web: new connections go to east 100%.",
            "",
            "  west conflicts: it has ports 81/TCP",
            "    → give both the same ports",
        ];
        assert_eq!(screen(&overview), want);
        overview.findings.clear();
        assert_eq!(screen(&overview)[1], "Nothing stands in the way.");
    }
}
