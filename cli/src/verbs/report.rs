//! `bailey report`

use crate::{
    CloudOptions,
    digest::Digest,
    evidence::{ContentError, parse_report, read_report},
    exit::{Advise, Exit, Outcome},
    objects, output,
    render::{self, Form},
    table::Table,
    view::view,
};
use bailey_model::{EnclaveId, S3Location, S3LocationError, report::Report};
use std::{fs, io, path::PathBuf};

/// Print an enclave's newest attestation report, or one in a file
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The enclave
    #[arg(required_unless_present = "file")]
    id: Option<EnclaveId>,
    /// Print the report in this file instead, offline
    #[arg(long, value_name = "FILE", conflicts_with_all = ["id", "out"])]
    file: Option<PathBuf>,
    /// The form in which to print it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Short for --format json: the report as it is stored
    #[arg(long, conflicts_with = "format")]
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
  bailey report --file report.json --format html > report.html

Exit codes: 0 printed, 1 the report says that the document was rejected, 2 there is no report or \
it could not be read.";

/// How a report is printed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
enum Format {
    /// One self-contained page
    Html,
    /// As it is stored
    Json,
    /// For tickets
    Markdown,
    /// For the terminal
    #[default]
    Text,
}

pub(crate) async fn run(args: Args, cloud: &CloudOptions) -> Outcome {
    let (bytes, report) = match (&args.file, &args.id) {
        (Some(file), _) => read_report(file)?,
        (None, Some(id)) => fetch(id, cloud).await?,
        (None, None) => return Err(ReportError::Nothing.into()),
    };
    if let Some(file) = &args.out {
        fs::write(file, &bytes)
            .map_err(|source| ReportError::Write { file: file.clone(), source })?;
    }
    let form = match if args.json { Format::Json } else { args.format } {
        Format::Json => None,
        Format::Html => Some(Form::Html),
        Format::Markdown => Some(Form::Markdown),
        Format::Text => Some(Form::Text),
    };
    match form {
        Some(form) => output::print(&render::report(&report, Digest::of(&bytes), form))?,
        None => output::print_bytes(&bytes)?,
    };
    Ok(if report.verdict.is_some() { Exit::Done } else { Exit::Negative })
}

async fn fetch(id: &EnclaveId, cloud: &CloudOptions) -> Result<(Vec<u8>, Report), Box<dyn Advise>> {
    let location = locate(id, cloud).await?;
    let bytes = objects::read(&location, cloud).await?;
    let report =
        parse_report(&bytes).map_err(|source| ReportError::Content { location, source })?;
    Ok((bytes, report))
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
    /// The command line names no report.
    #[error("there is no report to print: name an enclave, or --file")]
    Nothing,
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
