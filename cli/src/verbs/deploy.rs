//! `bailey deploy`

mod wanted;

use super::watch::{Goal, Limit, follow};
use crate::{
    CloudOptions,
    exit::{Advise, Exit, Outcome},
    output,
    table::{Record, Table, Write},
    view::{status, view},
    watching::Watching,
};
use bailey_model::{
    EnclaveId, Status,
    record::{ConfigurationError, RecordError, Request},
};
use serde_json::Value;
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use wanted::Wanted;

/// Ask for an enclave
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The enclave's id: 1 to 128 letters, digits and -_.:@=+
    #[arg(required_unless_present = "record", conflicts_with = "record")]
    id: Option<EnclaveId>,
    /// Write this record (a JSON file) as it is, instead of one made of flags
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Watch until it is deployed
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    limit: Limit,
    #[command(flatten)]
    wanted: Wanted,
}

const AFTER_HELP: &str = "\
Writes a record with status PENDING_DEPLOY. An id that a live enclave has is refused; over a \
destroyed or failed one the new request is written, and attributes of others are kept.

Examples:
  bailey deploy demo --eif s3://images/demo.eif --debug --wait
  bailey deploy demo --eif s3://images/demo.eif --instance-type m5.xlarge --cpu-count 2 \\
      --memory-mib 1024 --expected-pcrs demo.eif.manifest.json --require-verified
  bailey deploy --record record.json

Exit codes: 0 asked for (with --wait: deployed), 1 an enclave of that id is live, or it failed, \
or took longer than --timeout, 2 the request cannot be used or the table could not be reached.";

pub(crate) async fn run(args: Args, cloud: &CloudOptions) -> Outcome {
    let start = bailey_runtime::now();
    let (id, record) = match (&args.record, args.id) {
        (Some(file), _) => from_file(file)?,
        (None, Some(id)) => {
            let record = args.wanted.record(&id, start)?;
            check(&record)?;
            (id, record)
        }
        (None, None) => return Err(RequestError::NoId.into()),
    };
    let table = Table::open(cloud).await;
    let before = write(&table, &id, &record).await?;
    if !args.wait {
        output::print(&format!("{id} is asked for; `bailey watch {id}` shows how it goes\n"))?;
        return Ok(Exit::Done);
    }
    let before = before.map(|record| view(&record)).transpose()?;
    let watching = Watching::after_request(before.as_ref(), start);
    let goal = Goal { until: vec![Status::Deployed], limit: args.limit };
    follow(&table, &id, watching, goal).await
}

/// Writes the request; the record that was there before, if one was.
async fn write(
    table: &Table,
    id: &EnclaveId,
    record: &Record,
) -> Result<Option<Record>, Box<dyn Advise>> {
    if table.create(record).await? == Write::Done {
        return Ok(None);
    }
    let before = table.read(id).await?;
    let seen = status(&before);
    if !is_over(seen) {
        return Err(RequestError::Live { id: id.clone(), status: seen.to_owned() }.into());
    }
    match table.renew(id, record, seen).await? {
        Write::Done => Ok(Some(before)),
        Write::Refused => Err(RequestError::Changed { id: id.clone() }.into()),
    }
}

fn is_over(status: &str) -> bool {
    matches!(status.parse(), Ok(Status::Destroyed | Status::Failed))
}

/// Refuses a request that the coordinator would refuse, before it is written.
fn check(record: &Record) -> Result<(), RequestError> {
    let request = Request::parse(record).map_err(|source| RequestError::Record { source })?;
    match request.configuration {
        Ok(_) => Ok(()),
        Err(source) => Err(RequestError::Configuration { source }),
    }
}

/// A record from a file is written as it is; what is wrong with it is said and left to its author.
fn from_file(file: &Path) -> Result<(EnclaveId, Record), RequestError> {
    let named = || file.to_owned();
    let text =
        fs::read_to_string(file).map_err(|source| RequestError::Read { file: named(), source })?;
    let record: Record = serde_json::from_str(&text)
        .map_err(|source| RequestError::Json { file: named(), source })?;
    let request = Request::parse(&record).map_err(|source| RequestError::Record { source })?;
    if let Err(error) = &request.configuration {
        output::complain(&format!("bailey: this record will be refused: {error}\n"));
    }
    if status(&record) != Status::PendingDeploy.as_str() {
        let status = record.get("status").unwrap_or(&Value::Null);
        let text = format!("bailey: with status {status} this record asks for no deploy\n");
        output::complain(&text);
    }
    Ok((request.id, record))
}

/// Why nothing was asked for.
#[derive(Debug, thiserror::Error)]
enum RequestError {
    /// Somebody else wrote the record at the same time.
    #[error("the record of `{id}` changed before it could be written")]
    Changed { id: EnclaveId },
    /// The flags ask for what cannot be.
    #[error("the coordinator would refuse this request")]
    Configuration { source: ConfigurationError },
    /// The file is not a JSON object.
    #[error("`{}` is not a JSON object", file.display())]
    Json { file: PathBuf, source: serde_json::Error },
    /// An enclave with that id is there.
    #[error("`{id}` is {status}")]
    Live { id: EnclaveId, status: String },
    /// Neither an id nor a record is given.
    #[error("neither an id nor --record is given")]
    NoId,
    /// The file cannot be read.
    #[error("cannot read `{}`", file.display())]
    Read { file: PathBuf, source: io::Error },
    /// The record is nobody's.
    #[error("the record cannot be written")]
    Record { source: RecordError },
}

impl Advise for RequestError {
    fn exit(&self) -> Exit {
        match self {
            Self::Changed { .. } | Self::Live { .. } => Exit::Negative,
            _ => Exit::Unable,
        }
    }

    fn advice(&self) -> Option<String> {
        match self {
            Self::Changed { id } => Some(format!("look at it with `bailey show {id}`")),
            Self::Live { id, .. } => {
                Some(format!("end it first with `bailey destroy {id} --wait`, or use another id"))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_ended_enclave_makes_room_for_a_new_request() {
        for status in Status::ALL {
            let over = matches!(status, Status::Destroyed | Status::Failed);
            assert_eq!(is_over(status.as_str()), over, "{status}");
        }
        assert!(!is_over(""));
    }
}
