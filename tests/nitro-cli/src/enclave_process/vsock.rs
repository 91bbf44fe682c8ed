//! The enclave's vsock: a Unix socket behind the `CONNECT` handshake.

use std::fs;
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use bailey_vsock::ATTESTATION_PORT;
use bailey_vsock::connect::{parse_request, read_line, reply_line};
use bailey_vsock::workload::WORKLOAD_PORT;

use super::responder::{KEEP_SOCKET, PORT_SOCKETS, WORKLOAD_SOCKET};
use crate::host::Host;

/// How long a client may take to say which port it wants.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens the socket of the enclave with this CID and serves it from now on.
pub(super) fn listen(host: &Host, cid: u32) -> io::Result<()> {
    // An enclave that was killed leaves its socket; nobody else has this CID.
    let _ = fs::remove_file(host.vsock_socket(cid));
    // By a short way, for the same reason as the enclave's own sockets: the working directory is
    // two levels below the host's.
    let listener = UnixListener::bind(Path::new("../../vsock").join(format!("{cid}.sock")))?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                if let Err(err) = serve(stream) {
                    eprintln!("a vsock connection ended: {err}");
                }
            });
        }
    });
    Ok(())
}

/// Connects a client to the port that it asks for, or closes the connection without a word.
fn serve(mut client: UnixStream) -> io::Result<()> {
    client.set_read_timeout(Some(HANDSHAKE_TIMEOUT))?;
    let line = read_line(&mut client).map_err(io::Error::other)?;
    let port = parse_request(&line).map_err(io::Error::other)?;
    let socket = match port {
        ATTESTATION_PORT => KEEP_SOCKET.to_owned(),
        WORKLOAD_PORT => WORKLOAD_SOCKET.to_owned(),
        port => format!("{PORT_SOCKETS}_{port}"),
    };
    let enclave = UnixStream::connect(socket)?;
    client.write_all(reply_line(port).as_bytes())?;
    client.set_read_timeout(None)?;
    splice(client, enclave)
}

/// Copies both ways until both sides have finished.
fn splice(client: UnixStream, enclave: UnixStream) -> io::Result<()> {
    let (from, to) = (client.try_clone()?, enclave.try_clone()?);
    let forth = thread::spawn(move || copy(from, to));
    copy(enclave, client)?;
    forth.join().unwrap_or(Ok(()))
}

fn copy(mut from: UnixStream, mut to: UnixStream) -> io::Result<()> {
    let copied = io::copy(&mut from, &mut to);
    // The end of one direction is passed on; the other may go on.
    let _ = to.shutdown(Shutdown::Write);
    copied.map(drop)
}
