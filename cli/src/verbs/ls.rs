//! `bailey ls`

use crate::{
    CloudOptions,
    exit::{Exit, Outcome},
    output, render,
    table::Table,
    view,
};
use bailey_model::Status;

/// List the enclaves
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Only those with this status; may be given several times
    #[arg(long, value_name = "STATUS")]
    status: Vec<Status>,
    /// Print the records as a JSON array
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  bailey ls
  bailey ls --status DEPLOYED --status DEPLOYING
  bailey ls --json | jq -r '.[].id'

Exit codes: 0 listed (also when there are none), 2 the table could not be read.";

pub(crate) async fn run(args: Args, cloud: &CloudOptions) -> Outcome {
    let mut records = Table::open(cloud).await.scan().await?;
    if !args.status.is_empty() {
        records.retain(|record| {
            let status = view::status(record).parse();
            status.is_ok_and(|status: Status| args.status.contains(&status))
        });
    }
    if args.json {
        output::print_json(&records)?;
    } else {
        output::print(&render::list(&records, bailey_runtime::now()))?;
    }
    Ok(Exit::Done)
}
