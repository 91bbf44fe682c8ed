//! `keep`: the program inside the enclave.
//!
//! ```text
//! PID 1 ─────> init: mounts, modules, loopback ──┐
//!                                                ├─> enclave ─┬─> serve ─┬─> answer ──> NSM
//! keep run ──> settings from KEEP_* ─────────────┘            │          ├─> attend ──> output, probe
//! keep attest ──> attestation only                            │          └─> documents ──> NSM
//! keep document ──> the workload's side of that               └─> workload: start, supervise
//! ```
//!
//! Threads and blocking I/O, no async: the work is a few documents a minute, and the image is
//! measured and audited as a whole. What keeps a slow or hostile peer from blocking another one:
//! a thread for each connection, a bound on their number, and a deadline for each frame.

mod answer;
mod attend;
mod carry;
mod clock;
mod command;
mod connection;
mod documents;
mod enclave;
mod entropy;
mod heartbeat;
mod init;
mod logger;
mod network;
mod nsm;
mod output;
mod probe;
mod serve;
mod settings;
mod workload;

pub use answer::Responder;
pub use connection::{Connection, Listener};
pub use nsm::{AttestationInput, DeviceNsm, NsmDevice, NsmError, SecurityModule, SocketNsm};
pub use serve::{ConverseError, Limits, Peer, Service, serve};
pub use settings::{
    DocumentsAddress, ListenAddress, NsmAddress, PeerAddress, PortsAddress, Settings, SettingsError,
};

use crate::workload::WorkloadError;
use bailey_model::chain;
use nix::sys::prctl::set_child_subreaper;
use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};
use workload::Place;

const USAGE: &str = "\
keep: runs a workload and answers attestation requests inside an AWS Nitro Enclave

usage: keep attest          serve attestation in an image that has an init of its own
       keep run --root DIR  live as the enclave whose files are below DIR, as a local process:
                            nothing is mounted, no user is changed; for tests
       keep document --public-key FILE [--nonce HEX] [--user-data FILE]
                            print a fresh attestation document (COSE_Sign1, binary) that vouches for
                            the bytes in FILE; for a workload, whose keep KEEP_DOCUMENTS names. - is
                            standard input
       keep --help          print this
       keep --version       print the version
As PID 1, keep is the init of its image and ignores arguments and variables.

environment of `keep attest` and `keep run`:
  KEEP_LISTEN           vsock:PORT (default vsock:5005) or unix:/path: attestation
  KEEP_LISTEN_WORKLOAD  vsock:PORT (default vsock:5006) or unix:/path: output, state and health of
                        the workload; not of `keep attest`
  KEEP_NSM              device (default: /dev/nsm) or unix:/path of a simulated one
  KEEP_EGRESS           none (default), vsock:CID:PORT or unix:/path: the parent's proxy, to which the
                        workload is shown the way in HTTPS_PROXY; not of `keep attest`
  KEEP_PORTS            vsock (default) or unix:/path, for sockets /path_PORT: the workload's ports; not
                        of `keep attest`
  KEEP_LISTEN_DOCUMENTS none or unix:/path: documents for the workload, which alone can open it; by default
                        DIR/run/keep/documents.sock, and none of `keep attest`
  KEEP_HEARTBEAT        none (default), vsock:CID:PORT or unix:/path: send the boot heartbeat there

exit status: 0 after --help or --version and when the workload has ended for good, 1 after a failure,
2 after wrong usage
";

/// Stack of a thread. The NSM driver puts 16 KiB on it and JSON recurses 128 deep at most; the default
/// of 2 MiB would be most of a small enclave's address space.
const STACK_BYTES: usize = 256 * 1024;

/// Runs the program: as init when it is PID 1, by its arguments otherwise.
#[must_use]
pub fn run() -> ExitCode {
    logger::install();
    if std::process::id() == 1 {
        return init::run();
    }
    let arguments: Vec<String> =
        env::args_os().skip(1).map(|text| text.to_string_lossy().into_owned()).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["attest"] => report(settings().and_then(|settings| enclave::attest(&settings))),
        ["document", flags @ ..] => command::document(flags),
        ["run", "--root", root] => report(run_locally(Path::new(root))),
        [workload::SUBCOMMAND, rest @ ..] => workload::become_workload(rest),
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

fn report(outcome: Result<(), RunError>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("keep: {}", chain(&err));
            ExitCode::FAILURE
        }
    }
}

fn settings() -> Result<Settings, RunError> {
    Settings::from_variables(|name| env::var(name).ok()).map_err(RunError::Settings)
}

/// The life of an enclave whose files are below `root`.
fn run_locally(root: &Path) -> Result<(), RunError> {
    let root = fs::canonicalize(root)
        .map_err(|source| RunError::Root { path: root.to_owned(), source })?;
    // So that what the workload leaves behind becomes a child of this process, as of PID 1.
    set_child_subreaper(true).map_err(|errno| RunError::Children(errno.into()))?;
    let place = Place { root, is_enclave: false };
    let workload = enclave::workload(&place)?;
    let end = enclave::live(&place, workload.as_ref(), &settings()?)?;
    println!("keep: {end}; the enclave ends");
    Ok(())
}

/// Why the program ended.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error("cannot listen on {address}")]
    Bind { address: String, source: io::Error },
    #[error("cannot wait for children and signals")]
    Children(#[source] io::Error),
    #[error("cannot open the workload's way out and in")]
    Carry(#[source] io::Error),
    #[error("cannot read {}", path.display())]
    ReadWorkload { path: PathBuf, source: io::Error },
    #[error("cannot extend and lock the registers as the image says")]
    Registers(#[source] NsmError),
    #[error("cannot use the directory {}", path.display())]
    Root { path: PathBuf, source: io::Error },
    #[error("cannot serve any longer")]
    Serve(#[source] io::Error),
    #[error("the environment is not usable")]
    Settings(#[source] SettingsError),
    #[error("the image's workload cannot be run")]
    Workload(#[source] WorkloadError),
}
