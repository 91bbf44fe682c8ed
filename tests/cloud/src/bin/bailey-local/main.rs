//! `bailey-local`: the local cloud for people.

mod down;
mod state;
mod status;
mod up;
mod upload;

use bailey_local_cloud::intercept::intercept;
use bailey_model::S3Location;
use bailey_runtime::{Shutdown, chain, logging};
use clap::{Parser, Subcommand};
use state::StateDir;
use std::{error::Error, net::SocketAddr, path::PathBuf, process::ExitCode};
use tokio::net::TcpListener;
use up::{Hosts, What};

/// A cloud on this machine in which Bailey runs as it does on AWS: an emulator for DynamoDB and
/// S3, simulated EC2 instances with real agents, a coordinator.
#[derive(Debug, Parser)]
#[command(name = "bailey-local", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    /// The directory of the local cloud, at most 58 characters long.
    #[arg(long, global = true, env = "BAILEY_LOCAL_STATE", default_value = "/tmp/bailey-local")]
    state: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Start it, and run until SIGINT or SIGTERM.
    Up {
        /// Leave it running in the background, and return when it is ready.
        #[arg(long)]
        detach: bool,
        /// Start no coordinator; records stay as they are written.
        #[arg(long)]
        without_coordinator: bool,
        /// Run no agents and no enclaves: hosts are tasks that sign documents for images that nobody
        /// reads. For scale only.
        #[arg(long)]
        light_hosts: bool,
        /// Boot each enclave for real, as a virtual machine, with the QEMU in the directory `BAILEY_QEMU`.
        #[arg(long, conflicts_with = "light_hosts")]
        booted: bool,
        /// A JSON file with tables, launch template and names to use instead of the usual ones.
        #[arg(long)]
        installation: Option<PathBuf>,
    },
    /// End it, and check that nothing is left running.
    Down,
    /// Show what runs; exit code 1 when nothing does.
    Status {
        /// Print the EC2 simulation's state as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Be the man in the middle: end TLS with a certificate of one's own, and carry what is said to a
    /// genuine service, until SIGINT or SIGTERM.
    Intercept {
        /// Where to listen; the port is printed.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// Where the genuine service listens.
        target: SocketAddr,
    },
    /// Put a file into a bucket and print its version.
    Upload {
        /// The file.
        file: PathBuf,
        /// Where to put it, `s3://bucket/key`.
        location: S3Location,
    },
}

fn main() -> ExitCode {
    logging::to_stderr();
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ran = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run(arguments)));
    ran.unwrap_or_else(|error| {
        eprintln!("bailey-local: {}", chain(&*error));
        ExitCode::FAILURE
    })
}

async fn run(arguments: Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let state = StateDir::new(std::path::absolute(arguments.state)?);
    match arguments.verb {
        Verb::Up { detach, without_coordinator, light_hosts, booted, installation } => {
            let what = What {
                without_coordinator,
                hosts: match (light_hosts, booted) {
                    (true, _) => Hosts::Light,
                    (_, true) => Hosts::Booted,
                    _ => Hosts::Whole,
                },
            };
            if detach {
                up::detached(&state, what, installation.as_deref()).await?;
            } else {
                up::attached(&state, what, installation.as_deref()).await?;
            }
        }
        Verb::Down => down::down(&state).await?,
        Verb::Intercept { listen, target } => {
            let listener = TcpListener::bind(listen).await?;
            println!("{}", listener.local_addr()?.port());
            let mut shutdown = Shutdown::listen()?;
            tokio::select! {
                ended = intercept(listener, target) => ended?,
                () = shutdown.requested() => {}
            }
        }
        Verb::Status { json } => return status::status(&state, json).await,
        Verb::Upload { file, location } => upload::upload(&state, &file, &location).await?,
    }
    Ok(ExitCode::SUCCESS)
}
