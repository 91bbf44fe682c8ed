//! Telling nitro-cli that the enclave has booted.
//!
//! nitro-cli waits on the parent for a connection that sends one byte and expects it back. If it
//! waits in vain it ends the enclave with E36, so a failure here is logged and nothing else.

use super::{
    chain,
    connection::{Timed, connect},
    settings::PeerAddress,
};
use bailey_vsock::HEARTBEAT_BYTE;
use std::{
    io::{self, Read as _, Write as _},
    thread,
    time::Duration,
};

/// How long the exchange of two bytes may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Sends the heartbeat without keeping anybody from being served.
pub(super) fn send_in_background(peer: PeerAddress) {
    let send = move || match send(&peer) {
        Ok(()) => log::info!(peer = peer.to_string().as_str(); "heartbeat answered"),
        Err(err) => log::error!(
            peer = peer.to_string().as_str(), error = chain(&err).as_str();
            "heartbeat not answered"
        ),
    };
    if let Err(err) = thread::Builder::new().name("heartbeat".into()).spawn(send) {
        log::error!(error = err.to_string().as_str(); "cannot send the heartbeat");
    }
}

fn send(peer: &PeerAddress) -> Result<(), HeartbeatError> {
    let mut connection = connect(peer).map_err(HeartbeatError::Connect)?;
    let mut stream = Timed::new(connection.as_mut(), TIMEOUT);
    let mut answer = [0; 1];
    stream
        .write_all(&[HEARTBEAT_BYTE])
        .and_then(|()| stream.read_exact(&mut answer))
        .map_err(HeartbeatError::Exchange)?;
    match answer {
        [HEARTBEAT_BYTE] => Ok(()),
        [found] => Err(HeartbeatError::OtherByte { found }),
    }
}

/// Why the heartbeat failed.
#[derive(Debug, thiserror::Error)]
enum HeartbeatError {
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    #[error("cannot exchange the byte")]
    Exchange(#[source] io::Error),
    #[error("byte {HEARTBEAT_BYTE:#04x} was sent and {found:#04x} came back")]
    OtherByte { found: u8 },
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// Runs a parent that answers one heartbeat with `answer`.
    fn send_to_parent(answer: &'static [u8]) -> Result<(), HeartbeatError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("parent");
        let listener = UnixListener::bind(&path).unwrap();
        let parent = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            assert_eq!(byte, [0xB7]);
            stream.write_all(answer).unwrap();
        });
        let outcome = send(&PeerAddress::Unix(path));
        parent.join().unwrap();
        outcome
    }

    #[test]
    fn the_same_byte_has_to_come_back() {
        send_to_parent(&[0xB7]).unwrap();
        let err = send_to_parent(&[0x00]).unwrap_err();
        assert_eq!(err.to_string(), "byte 0xb7 was sent and 0x00 came back");
        assert!(matches!(send_to_parent(&[]), Err(HeartbeatError::Exchange(_))));
    }

    #[test]
    fn an_absent_parent_is_an_error() {
        let absent = PeerAddress::Unix("/nonexistent/parent".into());
        assert!(matches!(send(&absent), Err(HeartbeatError::Connect(_))));
    }
}
