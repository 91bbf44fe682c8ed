//! `bailey show`

use crate::{
    CloudOptions,
    exit::{Exit, Outcome},
    output, render,
    table::Table,
    view::view,
};
use bailey_model::EnclaveId;

/// Show everything about one enclave
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The enclave
    id: EnclaveId,
    /// Print the record as JSON, just as it is in the table
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Shows the request, the host, how long each phase took, the attestation verdict, warnings, and \
what went wrong with a hint.

Example:
  bailey show demo

Exit codes: 0 shown, 2 there is no such enclave or the table could not be read.";

pub(crate) async fn run(args: Args, cloud: &CloudOptions) -> Outcome {
    let record = Table::open(cloud).await.read(&args.id).await?;
    if args.json {
        output::print_json(&record)?;
    } else {
        let view = view(&record)?;
        output::print(&render::record(&record, &view, bailey_runtime::now()))?;
    }
    Ok(Exit::Done)
}
