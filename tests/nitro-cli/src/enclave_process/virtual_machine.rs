//! The second form of an enclave: a virtual machine that boots the whole image.
//!
//! The machine is a program of its own, `enclave-vm` of `tests/boot`. The module that signs is the one of
//! the first form, on the same socket, so documents come from the same code whatever an enclave runs as.

use std::env;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::time::Duration;

use bailey_vsock::{EGRESS_PORT, HEARTBEAT_PORT};

use super::events::Event;
use super::responder::{HEARTBEAT_SOCKET, NSM_SOCKET};
use super::tied;
use crate::host::{ENVIRONMENT, Host};
use crate::launch::Launch;

/// The environment variable that names the program; without it, enclaves are processes.
const PROGRAM: &str = "BAILEY_SIM_VM";

/// What the program needs of the environment: where QEMU is, and other programs.
const PASSED_ON: [&str; 2] = ["BAILEY_QEMU", "PATH"];

/// How long nitro-cli waits for a small image (see `HEARTBEAT_TIMEOUT` of the first form).
pub(super) const HEARTBEAT_TIMEOUT: Duration = Duration::from_mins(3);

/// The program that boots images, if this parent's enclaves are virtual machines.
pub(super) fn program() -> Option<PathBuf> {
    env::var_os(PROGRAM).map(PathBuf::from)
}

/// Starts the machine of one enclave, which opens the enclave's vsock and reports its end as an event.
pub(super) fn spawn(
    program: &Path,
    host: &Host,
    launch: &Launch,
    cid: u32,
    events: &Sender<Event>,
) -> io::Result<()> {
    // By short ways, relative to the enclave's directory, as sockets have 108 bytes for their names.
    let vsock = format!("../../vsock/{cid}.sock");
    let console = format!("../{}.console", launch.slot.enclave_id(&host.facts().instance_id));
    let mut arguments: Vec<OsString> =
        vec!["--image".into(), launch.request.eif_path.clone().into()];
    arguments.extend(
        [
            "--memory-mib",
            &launch.request.memory_mib.to_string(),
            "--cid",
            &cid.to_string(),
            "--vsock",
            &vsock,
            "--parent-port",
            &format!("{HEARTBEAT_PORT}={HEARTBEAT_SOCKET}"),
            // Where the agent listens for what the workload wants to reach, as with Firecracker.
            "--parent-port",
            &format!("{EGRESS_PORT}={vsock}_{EGRESS_PORT}"),
            "--console",
            &console,
            "microvm",
            "--nsm",
            NSM_SOCKET,
        ]
        .map(OsString::from),
    );
    let mut environment = vec![(ENVIRONMENT.to_owned(), host.dir().into())];
    environment.extend(
        PASSED_ON
            .iter()
            .filter_map(|name| env::var_os(name).map(|value| ((*name).to_owned(), value))),
    );
    // An enclave that was killed leaves its socket; nobody else has this CID.
    let _ = std::fs::remove_file(&vsock);
    tied::spawn(program, arguments, environment, events)
}
