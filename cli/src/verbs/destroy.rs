//! `bailey destroy`

use super::watch::{Goal, Limit, follow};
use crate::{
    CloudOptions,
    exit::{Advise, Exit, Outcome},
    output,
    table::{Table, Write},
    view::{status, view},
    watching::Watching,
};
use bailey_model::{EnclaveId, Status};

/// End an enclave and its instance
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The enclave
    id: EnclaveId,
    /// Watch until it is destroyed
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    limit: Limit,
}

const AFTER_HELP: &str = "\
Writes PENDING_DESTROY on the record. It is honoured at any time, in the middle of a deploy and \
after a failure too.

Example:
  bailey destroy demo --wait

Exit codes: 0 asked for (with --wait: destroyed), 1 it failed or took longer than --timeout, \
2 there is no such enclave or the table could not be reached.";

/// The coordinator changes the status of a converging enclave a few times in a second at most.
const ATTEMPTS: usize = 5;

pub(crate) async fn run(args: Args, cloud: &CloudOptions) -> Outcome {
    let table = Table::open(cloud).await;
    let start = bailey_runtime::now();
    for _ in 0..ATTEMPTS {
        let record = table.read(&args.id).await?;
        let seen = status(&record);
        let written = match seen.parse() {
            Ok(Status::Destroyed) => {
                output::complain(&format!("{} is destroyed already\n", args.id));
                return Ok(Exit::Done);
            }
            Ok(Status::PendingDestroy | Status::Destroying) => Write::Done,
            _ => table.request(&args.id, Status::PendingDestroy, seen).await?,
        };
        if written == Write::Refused {
            continue;
        }
        if !args.wait {
            output::print(&format!("{} is asked to end\n", args.id))?;
            return Ok(Exit::Done);
        }
        let watching = Watching::after_request(Some(&view(&record)?), start);
        let goal = Goal { until: vec![Status::Destroyed], limit: args.limit };
        return follow(&table, &args.id, watching, goal).await;
    }
    Err(RestlessError { id: args.id }.into())
}

/// The status changed between each look and the write that followed.
#[derive(Debug, thiserror::Error)]
#[error("the status of `{id}` changed each time before it could be written")]
struct RestlessError {
    id: EnclaveId,
}

impl Advise for RestlessError {
    fn advice(&self) -> Option<String> {
        Some("try again".to_owned())
    }
}
