//! The coordinator's program.

use bailey_coordinator::{config::Config, run::run};
use bailey_runtime::{chain, logging};
use clap::{Parser, Subcommand};
use std::{path::PathBuf, process::ExitCode};

/// Turns requests in a DynamoDB table into verified Nitro Enclaves.
///
/// Exit codes: 0 after a signal asked for the end, 1 when it cannot start, 2 for wrong usage.
#[derive(Debug, Parser)]
#[command(name = "bailey-coordinator", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Follow the tables' streams and sweep, until SIGTERM or SIGINT.
    Run {
        /// The configuration file, TOML.
        #[arg(
            long,
            env = "BAILEY_COORDINATOR_CONFIG",
            default_value = "/etc/bailey/coordinator.toml"
        )]
        config: PathBuf,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let Command::Run { config } = Arguments::parse().command;
    logging::to_stderr();
    let config = match Config::read(&config) {
        Ok(config) => config,
        Err(error) => {
            log::error!("{}", chain(&error));
            return ExitCode::FAILURE;
        }
    };
    match run(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{}", chain(&error));
            ExitCode::FAILURE
        }
    }
}
