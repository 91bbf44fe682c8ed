//! Builds enclave images; see [`bailey_enclave_image::build`].

use bailey_enclave_image::command::BuildArgs;
use bailey_model::manifest::Manifest;
use clap::{Parser, Subcommand};
use std::{error::Error, process::ExitCode};

/// Builds enclave images.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Builds an image and prints its measurements, as `nitro-cli build-enclave` does.
    Build(Box<BuildArgs>),
}

fn main() -> ExitCode {
    let Cli { command: Command::Build(arguments) } = Cli::parse();
    match arguments.run() {
        Ok(built) => {
            println!("{}", measurements(&built.manifest));
            ExitCode::SUCCESS
        }
        Err(err) => {
            eprint!("bailey-image: {err}");
            let mut cause = err.source();
            while let Some(err) = cause {
                eprint!(": {err}");
                cause = err.source();
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

/// The JSON that nitro-cli prints, so that the same scripts can read it.
fn measurements(manifest: &Manifest) -> String {
    let registers = &manifest.measurements;
    let mut shown = serde_json::json!({
        "HashAlgorithm": "Sha384 { ... }",
        "PCR0": registers.pcr0,
        "PCR1": registers.pcr1,
        "PCR2": registers.pcr2,
    });
    if let (Some(map), Some(pcr8)) = (shown.as_object_mut(), registers.pcr8) {
        map.insert("PCR8".to_owned(), pcr8.to_string().into());
    }
    format!("{:#}", serde_json::json!({ "Measurements": shown }))
}
