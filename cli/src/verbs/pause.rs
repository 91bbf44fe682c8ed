//! `bailey pause`

use super::asking::{Common, Request, ask};
use crate::{CloudOptions, exit::Outcome};
use bailey_model::Status;

/// End an enclave and stop its instance, to be resumed later
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
}

const AFTER_HELP: &str = "\
Writes PAUSING on the record. Nothing of the enclave is kept: resumed, it is started anew and has to \
attest anew. A stopped instance costs its disk alone.

Example:
  bailey pause demo --wait

Exit codes: 0 asked for (with --wait: paused), 1 it failed or took longer than --timeout, \
2 there is no such enclave or the table could not be reached.";

const REQUEST: Request = Request {
    status: Status::Pausing,
    goal: Status::Paused,
    under_way: &[],
    asked: "is asked to pause",
    already: "is paused already",
};

pub(crate) async fn run(args: Args, cloud: &CloudOptions) -> Outcome {
    ask(&REQUEST, args.common, cloud).await
}
