//! Requests about an enclave that there is: written once, whatever else changes its status meanwhile.

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

/// What every verb that asks for something takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Common {
    /// The enclave
    id: EnclaveId,
    /// Watch until it is so
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    limit: Limit,
}

/// What is asked for.
pub(crate) struct Request {
    /// The status that asks for it.
    pub(crate) status: Status,
    /// The status in which it is so.
    pub(crate) goal: Status,
    /// The statuses in which it is on its way.
    pub(crate) under_way: &'static [Status],
    /// What is said when it was asked for, after the enclave's id.
    pub(crate) asked: &'static str,
    /// What is said when it is so already.
    pub(crate) already: &'static str,
}

/// The coordinator changes the status of a converging enclave a few times in a second at most.
const ATTEMPTS: usize = 5;

/// Writes the request unless it is fulfilled or under way, and waits if that is wanted.
pub(crate) async fn ask(request: &Request, args: Common, cloud: &CloudOptions) -> Outcome {
    let table = Table::open(cloud).await;
    let start = bailey_runtime::now();
    for _ in 0..ATTEMPTS {
        let record = table.read(&args.id).await?;
        let seen = status(&record);
        let written = match seen.parse::<Status>() {
            Ok(status) if status == request.goal => {
                output::complain(&format!("{} {}\n", args.id, request.already));
                return Ok(Exit::Done);
            }
            Ok(status) if status == request.status || request.under_way.contains(&status) => {
                Write::Done
            }
            _ => table.request(&args.id, request.status, seen).await?,
        };
        if written == Write::Refused {
            continue;
        }
        if !args.wait {
            output::print(&format!("{} {}\n", args.id, request.asked))?;
            return Ok(Exit::Done);
        }
        let watching = Watching::after_request(Some(&view(&record)?), start);
        let goal = Goal { until: vec![request.goal], limit: args.limit };
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
