//! `stolos crds`.

use anyhow::Context;

use crate::cli::CrdsArgs;
use crate::exit::Exit;
use crate::output;

/// Prints the definitions as YAML documents.
pub(crate) fn print(args: &CrdsArgs) -> anyhow::Result<Exit> {
    let mut crds = if args.member { stolos_api::member_crds() } else { stolos_api::crds() };
    if args.mcs_api {
        crds.extend(stolos_api::network::mcs::crds());
    }
    for crd in crds {
        let text = serde_saphyr::to_string(&crd).context("failed to write YAML")?;
        output::line("---")?;
        output::line(text.trim_end())?;
    }
    Ok(Exit::Success)
}
