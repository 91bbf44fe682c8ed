//! `bailey-agent`: runs, attests and supervises the enclaves of the instance that it runs on.

use bailey_agent::{
    check, config::ConfigFile, helper, logging, parent_image, run, state::StateDir, status,
};
use bailey_runtime::{Shutdown, chain};
use clap::{Parser, Subcommand};
use std::{error::Error, path::PathBuf, process::ExitCode};

/// Runs, attests and supervises the enclaves of this instance.
///
/// Exit codes of `run`: 0 when it was asked to end (its enclaves go on) or powered the instance off, 1
/// when it could not run, 2 when the command line is wrong. `RUST_LOG` sets what is logged to standard
/// error.
#[derive(Debug, Parser)]
#[command(name = "bailey-agent", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say whether this parent has what enclaves need, and what to do about what it lacks; exit code 1
    /// when it lacks something.
    Check(ConfigArgument),
    /// Serve one request on standard input, as root: what `bailey-helper@.service` runs.
    Helper(ConfigArgument),
    /// Keep this instance as the hosts table wants it, until SIGTERM or SIGINT.
    Run(ConfigArgument),
    /// Show what this host runs.
    Status(ConfigArgument),
}

#[derive(Debug, clap::Args)]
struct ConfigArgument {
    /// The configuration, TOML; for `run`, the instance's user data overrides its keys.
    #[arg(long, value_name = "PATH", default_value = "/etc/bailey/agent.toml")]
    config: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    let command = Arguments::parse().command;
    logging::start();
    let done = match command {
        Command::Check(argument) => check_parent(argument).await,
        Command::Helper(argument) => help(argument).await.map(|()| ExitCode::SUCCESS),
        Command::Run(argument) => start(argument).await.map(|()| ExitCode::SUCCESS),
        Command::Status(argument) => show(argument).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|err| {
        log::error!(error = chain(err.as_ref()).as_str(); "agent failed");
        ExitCode::FAILURE
    })
}

async fn start(argument: ConfigArgument) -> Result<(), Box<dyn Error>> {
    let shutdown = Shutdown::listen()?;
    Ok(run(ConfigFile::read(argument.config)?, shutdown).await?)
}

async fn help(argument: ConfigArgument) -> Result<(), Box<dyn Error>> {
    Ok(helper::serve(&ConfigFile::read(argument.config)?.alone()?).await?)
}

async fn check_parent(argument: ConfigArgument) -> Result<ExitCode, Box<dyn Error>> {
    let findings = check::check(&ConfigFile::read(argument.config)?.alone()?).await;
    let lacking = findings.iter().filter(|finding| finding.found.is_err()).count();
    for finding in &findings {
        println!("{finding}");
    }
    println!("check: {} passed, {lacking} failed", findings.len() - lacking);
    Ok(if lacking == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(argument: ConfigArgument) -> Result<(), Box<dyn Error>> {
    let config = ConfigFile::read(argument.config)?.alone()?;
    print!("{}", status::table(StateDir::look(&config.state_dir)?));
    if let Some(image) = parent_image::identity(&config.image_manifest)? {
        println!("\nparent image {image}");
    }
    Ok(())
}
