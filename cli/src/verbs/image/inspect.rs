//! `bailey image inspect`

use crate::{
    exit::{Advise, Exit, Outcome},
    output, render,
};
use bailey_eif::ReadError;
use bailey_enclave_image::inspect::{self, InspectError};
use std::path::PathBuf;

/// Show what is in an enclave image: sections, measurements, signature, workload, files
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The image file
    #[arg(value_name = "FILE")]
    image: PathBuf,
    /// For people or for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    /// Everything, with the names of `nitro-cli describe-eif` where it has them
    Json,
    /// Sections and lists
    Text,
}

const AFTER_HELP: &str = "\
The whole file is read and its checksum checked. Profile, workload and files come from the measured ramdisks; \
name, version and build time come from the metadata, which nothing measures.

Example:
  bailey image inspect demo.eif --format json | jq .Workload.argv

Exit codes: 0 shown, 1 the file is no good image or its signature is not of it, 2 it could not be read.";

pub(super) fn run(args: Args) -> Outcome {
    let inspection = inspect::inspect(&args.image)
        .map_err(|source| InspectFileError { image: args.image, source })?;
    match args.format {
        Format::Json => output::print_json(&render::inspection_json(&inspection))?,
        Format::Text => output::print(&render::inspection(&inspection))?,
    };
    let is_forged = inspection.signature.is_some_and(|signature| !signature.verified);
    Ok(if is_forged { Exit::Negative } else { Exit::Done })
}

/// Why an image is not shown.
#[derive(Debug, thiserror::Error)]
#[error("cannot show `{}`", image.display())]
struct InspectFileError {
    image: PathBuf,
    source: InspectError,
}

impl Advise for InspectFileError {
    fn exit(&self) -> Exit {
        match self.source {
            InspectError::Image(ReadError::Io(_)) | InspectError::Open { .. } => Exit::Unable,
            InspectError::Image(ReadError::Eif(_))
            | InspectError::Ramdisk { .. }
            | InspectError::Signature(_) => Exit::Negative,
        }
    }
}
