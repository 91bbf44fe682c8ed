//! `bailey image`

use crate::{
    exit::{Advise, Exit, Outcome},
    output, render,
};
use bailey_enclave_image::command::{BuildArgs, CommandError};
use std::path::PathBuf;

/// Build enclave images
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Build(Box<Args>),
}

/// Build an enclave image and its manifest (FILE.manifest.json)
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    image: BuildArgs,
    /// Print JSON with the field names of `nitro-cli describe-eif`
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
The same files give the same image, byte for byte. The manifest can be given to \
`bailey deploy --expected-pcrs`.

Example:
  bailey image build --kernel-dir /usr/share/nitro_enclaves/blobs --keep keep \\
      --add /app=target/release/app --output demo.eif

Exit codes: 0 built, 2 a part could not be used or the image could not be written.";

pub(crate) fn run(command: Command) -> Outcome {
    let Command::Build(args) = command;
    let image = args.image.output.clone();
    let built = args.image.run().map_err(|source| BuildError { image, source })?;
    if args.json {
        output::print_json(&render::description(&built.measurement))?;
    } else {
        output::print(&render::measurement(&built.measurement))?;
    }
    Ok(Exit::Done)
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
#[error("cannot build `{}`", image.display())]
struct BuildError {
    image: PathBuf,
    source: CommandError,
}

impl Advise for BuildError {}
