//! `bailey-agent`: runs, attests and supervises the enclaves of the instance that it runs on.

use bailey_agent::{config::ConfigFile, logging, run};
use bailey_runtime::{Shutdown, chain};
use clap::{Parser, Subcommand};
use std::{error::Error, path::PathBuf, process::ExitCode};

/// Runs, attests and supervises the enclaves of this instance.
///
/// Exit codes: 0 when it was asked to end (its enclaves go on) or powered the instance off, 1 when
/// it could not run, 2 when the command line is wrong. `RUST_LOG` sets what is logged to standard
/// error.
#[derive(Debug, Parser)]
#[command(name = "bailey-agent", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Keep this instance as the hosts table wants it, until SIGTERM or SIGINT.
    Run {
        /// The configuration, TOML; the instance's user data overrides its keys.
        #[arg(long, value_name = "PATH", default_value = "/etc/bailey/agent.toml")]
        config: PathBuf,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let Command::Run { config } = Arguments::parse().command;
    logging::start();
    match start(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            log::error!(error = chain(err.as_ref()).as_str(); "agent failed");
            ExitCode::FAILURE
        }
    }
}

async fn start(config: PathBuf) -> Result<(), Box<dyn Error>> {
    let shutdown = Shutdown::listen()?;
    Ok(run(ConfigFile::read(config)?, shutdown).await?)
}
