//! The coordinator's program.

use bailey_coordinator::{config::Config, lambda::lambda, run::run};
use bailey_runtime::{chain, logging};
use clap::{Args, Parser, Subcommand};
use std::{path::PathBuf, process::ExitCode};

/// Turns requests in a DynamoDB table into verified Nitro Enclaves.
///
/// `run` and `lambda` do the same work, and only one of them at a time should be used for a table: a stream
/// serves two readers a shard.
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
    /// Serve invocations of AWS Lambda: batches of the tables' streams, events of EC2 and AWS Health, a
    /// schedule.
    Lambda(ConfigFile),
    /// Follow the tables' streams and sweep, until SIGTERM or SIGINT.
    Run(ConfigFile),
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration file, TOML.
    #[arg(long, env = "BAILEY_COORDINATOR_CONFIG", default_value = "/etc/bailey/coordinator.toml")]
    config: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    let command = Arguments::parse().command;
    logging::to_stderr();
    let (Command::Lambda(file) | Command::Run(file)) = &command;
    let config = match Config::read(&file.config) {
        Ok(config) => config,
        Err(error) => return fail(&error),
    };
    let ended = match command {
        Command::Lambda(_) => Box::pin(lambda(config)).await.map_err(|error| fail(&error)),
        Command::Run(_) => run(config).await.map_err(|error| fail(&error)),
    };
    ended.err().unwrap_or(ExitCode::SUCCESS)
}

fn fail(error: &(dyn std::error::Error + 'static)) -> ExitCode {
    log::error!("{}", chain(error));
    ExitCode::FAILURE
}
