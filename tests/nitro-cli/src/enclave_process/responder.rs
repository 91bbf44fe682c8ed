//! The image's own process: `keep`, which lives as it would as PID 1, but for mounts and users.

use std::io;
use std::path::Path;
use std::sync::mpsc::Sender;

use bailey_vsock::EGRESS_PORT;

use super::events::Event;
use super::tied;

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
pub(super) fn spawn(program: &Path, cid: u32, events: &Sender<Event>) -> io::Result<()> {
    let environment = [
        ("KEEP_LISTEN", address(KEEP_SOCKET)),
        ("KEEP_LISTEN_WORKLOAD", address(WORKLOAD_SOCKET)),
        ("KEEP_NSM", address(NSM_SOCKET)),
        ("KEEP_HEARTBEAT", address(HEARTBEAT_SOCKET)),
        // Connections to the parent arrive there beside the enclave's own socket, as with Firecracker.
        ("KEEP_EGRESS", address(&format!("../../vsock/{cid}.sock_{EGRESS_PORT}"))),
        ("KEEP_PORTS", address(PORT_SOCKETS)),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.into()));
    // Its files are where it lies itself.
    let root = program.parent().unwrap_or(program);
    let arguments = vec!["run".into(), "--root".into(), root.into()];
    tied::spawn(program, arguments, environment.to_vec(), events)
}

/// An absolute address that is short wherever the host's directory is: Unix addresses have 108
/// bytes. The responder starts in the enclave's directory.
fn address(socket: &str) -> String {
    format!("unix:/proc/self/cwd/{socket}")
}
