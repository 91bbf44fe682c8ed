//! `bailey resume`

use super::asking::{Common, Request, ask};
use crate::{CloudOptions, exit::Outcome};
use bailey_model::Status;

/// Start a paused enclave again
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
}

const AFTER_HELP: &str = "\
Writes RESUMING on the record. The instance is started again, or replaced when EC2 cannot start it; the \
enclave is DEPLOYED when it has attested anew.

Example:
  bailey resume demo --wait

Exit codes: 0 asked for (with --wait: deployed), 1 it failed or took longer than --timeout, \
2 there is no such enclave or the table could not be reached.";

const REQUEST: Request = Request {
    status: Status::Resuming,
    goal: Status::Deployed,
    under_way: &[Status::Deploying],
    asked: "is asked to resume",
    already: "runs already",
};

pub(crate) async fn run(args: Args, cloud: &CloudOptions) -> Outcome {
    ask(&REQUEST, args.common, cloud).await
}
