//! The image's own process: `keep`, which lives as it would as PID 1, but for mounts and users.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::Sender;
use std::thread;

use bailey_vsock::EGRESS_PORT;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};

use super::events::Event;

/// The socket, in the enclave's directory, on which the responder listens.
pub(super) const KEEP_SOCKET: &str = "keep.sock";

/// The socket on which it tells of its workload.
pub(super) const WORKLOAD_SOCKET: &str = "workload.sock";

/// What the sockets of its workload's ports begin with; `_` and the port follow.
pub(super) const PORT_SOCKETS: &str = "port";

/// The socket of the simulated NSM.
pub(super) const NSM_SOCKET: &str = "nsm.sock";

/// The socket on which the sign of life is expected.
pub(super) const HEARTBEAT_SOCKET: &str = "heartbeat.sock";

/// Starts the responder, which reports its end as an event.
///
/// To be called by a thread that lives as long as the process: the kernel tells a child of its
/// parent's death when the thread that started it ends.
pub(super) fn spawn(program: &Path, cid: u32, events: &Sender<Event>) -> io::Result<()> {
    if !program.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let mut child = Command::new(std::env::current_exe()?)
        .arg("enclave-init")
        .arg(std::process::id().to_string())
        .arg(program)
        .env_clear()
        .envs([
            ("KEEP_LISTEN", address(KEEP_SOCKET)),
            ("KEEP_LISTEN_WORKLOAD", address(WORKLOAD_SOCKET)),
            ("KEEP_NSM", address(NSM_SOCKET)),
            ("KEEP_HEARTBEAT", address(HEARTBEAT_SOCKET)),
            // Connections to the parent arrive there beside the enclave's own socket, as with Firecracker.
            ("KEEP_EGRESS", address(&format!("../../vsock/{cid}.sock_{EGRESS_PORT}"))),
            ("KEEP_PORTS", address(PORT_SOCKETS)),
        ])
        .stdin(Stdio::null())
        .spawn()?;
    let events = events.clone();
    thread::spawn(move || {
        let how = child.wait().map_or_else(|err| err.to_string(), |status| status.to_string());
        let _ = events.send(Event::ResponderEnded(how));
    });
    Ok(())
}

/// Turns this process into the responder, which the kernel kills when the enclave's process ends.
///
/// The exit code is that of a program that could not be started; otherwise this never returns.
pub(crate) fn become_responder(parent: i32, program: &Path) -> ExitCode {
    if let Err(err) = prctl::set_pdeathsig(Signal::SIGKILL) {
        eprintln!("cannot be tied to the enclave's process: {err}");
        return ExitCode::FAILURE;
    }
    // The parent may have died before the kernel knew whom to tell.
    if getppid() != Pid::from_raw(parent) {
        return ExitCode::FAILURE;
    }
    // Its files are where it lies itself.
    let root = program.parent().unwrap_or(program);
    let err = Command::new(program).args(["run", "--root"]).arg(root).exec();
    eprintln!("cannot start `{}`: {err}", program.display());
    ExitCode::FAILURE
}

/// An absolute address that is short wherever the host's directory is: Unix addresses have 108
/// bytes. The responder starts in the enclave's directory.
fn address(socket: &str) -> String {
    format!("unix:/proc/self/cwd/{socket}")
}
