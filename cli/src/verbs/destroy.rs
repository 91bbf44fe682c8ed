//! `bailey destroy`

use super::asking::{Common, Request, ask};
use crate::{CloudOptions, exit::Outcome};
use bailey_model::Status;

/// End an enclave and its instance
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
}

const AFTER_HELP: &str = "\
Writes PENDING_DESTROY on the record. It is honoured at any time, in the middle of a deploy and \
after a failure too.

Example:
  bailey destroy demo --wait

Exit codes: 0 asked for (with --wait: destroyed), 1 it failed or took longer than --timeout, \
2 there is no such enclave or the table could not be reached.";

const REQUEST: Request = Request {
    status: Status::PendingDestroy,
    goal: Status::Destroyed,
    under_way: &[Status::Destroying],
    asked: "is asked to end",
    already: "is destroyed already",
};

pub(crate) async fn run(args: Args, cloud: &CloudOptions) -> Outcome {
    ask(&REQUEST, args.common, cloud).await
}
