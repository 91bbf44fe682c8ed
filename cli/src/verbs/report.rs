//! `bailey report`

use crate::{
    CloudOptions,
    evidence::{ContentError, parse_report},
    exit::{Advise, Exit, Outcome},
    objects, output, render,
    table::Table,
    view::view,
};
use bailey_model::{EnclaveId, S3Location, S3LocationError};
use std::{fs, io, path::PathBuf};

/// Print an enclave's newest attestation report
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The enclave
    id: EnclaveId,
    /// Print the report as it is stored, in JSON
    #[arg(long)]
    json: bool,
    /// Also write the report as it is stored to this file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

const AFTER_HELP: &str = "\
The report is what the coordinator found; `bailey verify` judges it again, offline.

Examples:
  bailey report demo
  bailey report demo --out report.json && bailey verify report.json

Exit codes: 0 printed, 1 the report says that the document was rejected, 2 there is no report or \
it could not be read.";

pub(crate) async fn run(args: Args, cloud: &CloudOptions) -> Outcome {
    let location = locate(&args.id, cloud).await?;
    let bytes = objects::read(&location, cloud).await?;
    let report = parse_report(&bytes)
        .map_err(|source| ReportError::Content { location: location.clone(), source })?;
    if let Some(file) = &args.out {
        fs::write(file, &bytes)
            .map_err(|source| ReportError::Write { file: file.clone(), source })?;
    }
    if args.json {
        output::print_bytes(&bytes)?;
    } else {
        output::print(&render::report(&report))?;
    }
    Ok(if report.verdict.is_some() { Exit::Done } else { Exit::Negative })
}

async fn locate(id: &EnclaveId, cloud: &CloudOptions) -> Result<S3Location, Box<dyn Advise>> {
    let record = Table::open(cloud).await.read(id).await?;
    let view = view(&record)?;
    let proof = view.projection.and_then(|projection| projection.attestation);
    let proof = proof.ok_or_else(|| ReportError::None { id: id.clone(), status: view.status })?;
    let location = proof.report.parse().map_err(|source| ReportError::Location { source })?;
    Ok(location)
}

/// Why no report was printed.
#[derive(Debug, thiserror::Error)]
enum ReportError {
    /// The object is no report.
    #[error("{location} holds no report")]
    Content { location: S3Location, source: ContentError },
    /// The record names a place that is none.
    #[error("the record names no place of a report")]
    Location { source: S3LocationError },
    /// No document was judged yet.
    #[error("`{id}` is {status} and has no attestation report")]
    None { id: EnclaveId, status: String },
    /// The file cannot be written.
    #[error("cannot write `{}`", file.display())]
    Write { file: PathBuf, source: io::Error },
}

impl Advise for ReportError {
    fn advice(&self) -> Option<String> {
        match self {
            Self::None { id, .. } => {
                Some(format!("it gets one with its first attestation; see `bailey show {id}`"))
            }
            _ => None,
        }
    }
}
