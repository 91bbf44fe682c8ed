//! `bailey report`

mod history;
mod source;

use crate::{
    CloudOptions,
    digest::Digest,
    evidence::{ContentError, parse_report, read_report},
    exit::{Advise, Exit, Outcome},
    output,
    render::{self, Form},
};
use bailey_model::{EnclaveId, S3Location, report::Report};
use source::Source;
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
    /// Write the enclave's whole history into this directory instead, as `verify --chain` reads it
    #[arg(long, value_name = "DIR", conflicts_with_all = ["file", "out", "json", "format"])]
    history: Option<PathBuf>,
    /// The bucket of reports, for an enclave whose record names no report: it failed, or it ended
    #[arg(long, value_name = "NAME", env = "BAILEY_REPORTS_BUCKET")]
    bucket: Option<String>,
}

const AFTER_HELP: &str = "\
The report is what the coordinator found; `bailey verify` judges it again, offline.

Examples:
  bailey report demo
  bailey report demo --out report.json && bailey verify report.json
  bailey report --file report.json --format html > report.html
  bailey report demo --history reports/demo

Exit codes: 0 printed or written, 1 the report says that the document was rejected, or the history \
does not reach its head, 2 there is no report or it could not be read.";

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
        (None, Some(id)) => {
            let source = Source::open(id, args.bucket.clone(), cloud).await?;
            if let Some(directory) = &args.history {
                return history::save(source, directory).await;
            }
            fetch(source).await?
        }
        (None, None) => return Err(ReportError::Nothing.into()),
    };
    if let Some(file) = &args.out {
        fs::write(file, &bytes)
            .map_err(|source| ReportError::Write { file: file.clone(), source })?;
    }
    print(&args, &bytes, &report)?;
    Ok(if report.verdict.is_some() { Exit::Done } else { Exit::Negative })
}

async fn fetch(source: Source) -> Result<(Vec<u8>, Report), Box<dyn Advise>> {
    let (location, bytes) = source.newest().await?;
    let report =
        parse_report(&bytes).map_err(|source| ReportError::Content { location, source })?;
    Ok((bytes, report))
}

fn print(args: &Args, bytes: &[u8], report: &Report) -> Result<(), output::PrintError> {
    let form = match if args.json { Format::Json } else { args.format } {
        Format::Json => None,
        Format::Html => Some(Form::Html),
        Format::Markdown => Some(Form::Markdown),
        Format::Text => Some(Form::Text),
    };
    match form {
        Some(form) => output::print(&render::report(report, Digest::of(bytes), form))?,
        None => output::print_bytes(bytes)?,
    };
    Ok(())
}

/// Why no report was printed.
#[derive(Debug, thiserror::Error)]
enum ReportError {
    /// The object is no report.
    #[error("{location} holds no report")]
    Content { location: S3Location, source: ContentError },
    /// The command line names no report.
    #[error("there is no report to print: name an enclave, or --file")]
    Nothing,
    /// The file cannot be written.
    #[error("cannot write `{}`", file.display())]
    Write { file: PathBuf, source: io::Error },
}

impl Advise for ReportError {}
