//! `keep`: the program inside the enclave.
//!
//! ```text
//! PID 1 ──> init: mounts, modules, reaping ──┐
//!                                            ├──> bind ──> heartbeat, serve ──> answer ──> NSM
//! keep attest ──> settings from KEEP_* ──────┘
//! ```
//!
//! Threads and blocking I/O, no async: the work is a few documents a minute, and the image is
//! measured and audited as a whole. What keeps a slow or hostile peer from blocking another one:
//! a thread for each connection, a bound on their number, and a deadline for each frame.

mod answer;
mod connection;
mod heartbeat;
mod init;
mod logger;
mod nsm;
mod serve;
mod settings;

pub use answer::Responder;
pub use connection::{Connection, Listener};
pub use nsm::{AttestationInput, DeviceNsm, NsmError, SecurityModule, SocketNsm};
pub use serve::{Limits, serve};
pub use settings::{ListenAddress, NsmAddress, PeerAddress, Settings, SettingsError};

use std::{env, error::Error, io, process::ExitCode};

const USAGE: &str = "\
keep: answers attestation requests inside an AWS Nitro Enclave

usage: keep attest     serve attestation in an image that has an init of its own
       keep --help     print this
       keep --version  print the version
As PID 1, keep is the init of its image and ignores arguments and variables.

environment of `keep attest`:
  KEEP_LISTEN     vsock:PORT (default vsock:5005) or unix:/path
  KEEP_NSM        device (default: /dev/nsm) or unix:/path of a simulated one
  KEEP_HEARTBEAT  none (default), vsock:CID:PORT or unix:/path: send the boot heartbeat there

exit status: 0 after --help or --version, 1 after a failure, 2 after wrong usage
";

/// Runs the program: as init when it is PID 1, by its arguments otherwise.
#[must_use]
pub fn run() -> ExitCode {
    logger::install();
    if std::process::id() == 1 {
        return init::run();
    }
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["attest"] => match attest() {
            Ok(()) => ExitCode::SUCCESS,
            Err(err) => {
                eprintln!("keep: {}", chain(&err));
                ExitCode::FAILURE
            }
        },
        ["--help" | "-h"] => {
            print!("{USAGE}");
            ExitCode::SUCCESS
        }
        ["--version" | "-V"] => {
            println!("keep {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        _ => {
            eprint!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn attest() -> Result<(), RunError> {
    let settings =
        Settings::from_variables(|name| env::var(name).ok()).map_err(RunError::Settings)?;
    start(&settings)
}

/// Binds, announces itself and serves until the listener fails.
fn start(settings: &Settings) -> Result<(), RunError> {
    let listener = Listener::bind(&settings.listen)
        .map_err(|source| RunError::Bind { address: settings.listen.to_string(), source })?;
    log::info!(address = settings.listen.to_string().as_str(); "listening");
    if let Some(peer) = &settings.heartbeat {
        heartbeat::send_in_background(peer.clone());
    }
    let responder = Responder::new(settings.nsm.connect());
    serve(&listener, responder, Limits::default()).map_err(RunError::Serve)
}

/// Why the program ended.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error("cannot listen on {address}")]
    Bind { address: String, source: io::Error },
    #[error("cannot serve any longer")]
    Serve(#[source] io::Error),
    #[error("the environment is not usable")]
    Settings(#[source] SettingsError),
}

/// An error and its causes on one line.
fn chain(err: &dyn Error) -> String {
    let mut text = err.to_string();
    let mut cause = err.source();
    while let Some(err) = cause {
        text.push_str(": ");
        text.push_str(&err.to_string());
        cause = err.source();
    }
    text
}
