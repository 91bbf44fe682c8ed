//! `bailey eif`

pub(crate) mod publish;

use crate::{
    exit::{Advise, Exit, Outcome},
    output, render,
};
use bailey_eif::ReadError;
use std::{fs::File, io, path::PathBuf};

/// Look into enclave image files, and publish them
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Measure(MeasureArgs),
    Publish(publish::Args),
}

/// Compute an image's measurements, checking the whole file
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct MeasureArgs {
    /// The image file
    file: PathBuf,
    /// Print JSON with the field names of `nitro-cli describe-eif`
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
The output with --json can be given to `bailey deploy --expected-pcrs`.

Example:
  bailey eif measure demo.eif --json

Exit codes: 0 measured, 1 the file is no good image, 2 it could not be read.";

pub(crate) fn measure(args: MeasureArgs) -> Outcome {
    let open = File::open(&args.file);
    let file = open.map_err(|source| MeasureError::Open { file: args.file.clone(), source })?;
    let measurement = bailey_eif::measure_file(file)
        .map_err(|source| MeasureError::Measure { file: args.file, source })?;
    if args.json {
        output::print_json(&render::description(&measurement))?;
    } else {
        output::print(&render::measurement(&measurement))?;
    }
    Ok(Exit::Done)
}

/// Why there are no measurements.
#[derive(Debug, thiserror::Error)]
enum MeasureError {
    /// The file is not a good image, or reading it failed.
    #[error("cannot measure `{}`", file.display())]
    Measure { file: PathBuf, source: ReadError },
    /// The file cannot be opened.
    #[error("cannot open `{}`", file.display())]
    Open { file: PathBuf, source: io::Error },
}

impl Advise for MeasureError {
    fn exit(&self) -> Exit {
        match self {
            Self::Measure { source: ReadError::Eif(_), .. } => Exit::Negative,
            Self::Measure { source: ReadError::Io(_), .. } | Self::Open { .. } => Exit::Unable,
        }
    }

    fn advice(&self) -> Option<String> {
        match self {
            Self::Measure { source: ReadError::Eif(_), .. } => {
                Some("build the image again, or copy it whole".to_owned())
            }
            _ => None,
        }
    }
}
