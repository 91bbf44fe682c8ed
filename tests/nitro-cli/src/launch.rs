//! What `run-enclave` and the enclave's process tell each other.
//!
//! Over one Unix stream, which the process has as its standard input: a [`Launch`] one way, then
//! [`Reply`]s until the one with the status. Frames are a big-endian 32-bit length and JSON.

use std::io::{self, Read, Write};

use bailey_vsock::frame;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::arguments::RunRequest;
use crate::slot::Slot;

/// More than any message needs, in bytes.
const MAX_MESSAGE_LEN: usize = 1 << 20;

/// What an enclave's process is started for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Launch {
    /// What to start.
    pub(crate) request: RunRequest,
    /// The number of the new enclave.
    pub(crate) slot: Slot,
}

/// What an enclave's process has to say to whoever started it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum Reply {
    /// A line for standard error.
    StdErr(String),
    /// JSON for standard output.
    StdOut(String),
    /// The last one: whether the enclave runs.
    Status(Status),
}

/// Whether an enclave runs.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum Status {
    /// It does not, and left nothing behind.
    Failed,
    /// It does.
    Running,
}

/// Writes one message.
pub(crate) fn send(stream: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let body = serde_json::to_vec(message)?;
    frame::write(stream, &body, MAX_MESSAGE_LEN).map_err(io::Error::other)
}

/// Reads one message; `None` when the other side is gone.
pub(crate) fn receive<T: DeserializeOwned>(stream: &mut impl Read) -> io::Result<Option<T>> {
    match frame::read(stream, MAX_MESSAGE_LEN).map_err(io::Error::other)? {
        None => Ok(None),
        Some(body) => Ok(Some(serde_json::from_slice(&body)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_stream() {
        let mut stream = Vec::new();
        let replies = [Reply::StdErr("a".to_owned()), Reply::Status(Status::Running)];
        for reply in &replies {
            send(&mut stream, reply).unwrap();
        }
        let mut input = stream.as_slice();
        for reply in replies {
            assert_eq!(receive(&mut input).unwrap(), Some(reply));
        }
        assert_eq!(receive::<Reply>(&mut input).unwrap(), None);
    }
}
