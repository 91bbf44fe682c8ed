//! Serving several peers at once, none of which can hold up another.
//!
//! A thread for each connection, a deadline for each frame, and a bound on the connections. When it
//! is reached, a newcomer takes the seat of whoever has been silent longest, so that peers that
//! connect and then say nothing keep nobody away. Only when every connection is being answered is a
//! newcomer turned away, and told so.

mod peer;
mod seats;
#[cfg(test)]
mod tests;

pub use peer::Peer;

use super::{
    STACK_BYTES, chain,
    connection::{Connection, Listener},
};
use bailey_vsock::frame::FrameError;
use seats::Seats;
use std::{error::Error, io, sync::Arc, thread, time::Duration};

/// What one peer may use up.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many connections are served at once.
    pub connections: usize,
    /// How long a peer may take to send a whole request, and to take a whole response.
    pub per_frame: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 64, per_frame: Duration::from_secs(10) }
    }
}

/// Speaks one protocol with whoever connects.
pub trait Service: Send + Sync {
    /// Answers one peer until it leaves, breaks the framing or takes too long.
    fn converse(&self, peer: &mut Peer) -> Result<(), ConverseError>;

    /// The frame's body for a peer that is turned away, small enough for a socket's empty buffer.
    fn turned_away(&self, message: String) -> Option<Vec<u8>>;
}

/// Why a conversation ended early.
#[derive(Debug, thiserror::Error)]
pub enum ConverseError {
    /// The peer broke the framing, took too long or broke off.
    #[error("the peer broke off")]
    Frame(#[source] FrameError),
    /// An answer cannot be encoded.
    #[error("cannot encode the response")]
    Response(#[source] Box<dyn Error + Send + Sync>),
    /// The system refuses what the conversation needs.
    #[error("cannot go on with the conversation")]
    System(#[source] io::Error),
}

/// How long to wait after the system was out of descriptors or memory: no event announces that
/// some are free again.
const EXHAUSTION_PAUSE: Duration = Duration::from_millis(100);

/// Answers whoever connects, until the listener itself fails.
pub fn serve<S: Service + 'static>(
    listener: &Listener,
    service: S,
    limits: Limits,
) -> io::Result<()> {
    let service = Arc::new(service);
    let seats = Seats::new(limits.connections);
    loop {
        let accepted = listener.accept().and_then(|connection| {
            let handle: Arc<dyn Connection> = Arc::from(connection.duplicate()?);
            Ok((connection, handle))
        });
        match accepted {
            Ok((connection, handle)) => match seats.take(&handle) {
                Some(seat) => {
                    let peer = Peer::new(connection, handle, seat, limits.per_frame);
                    start(peer, Arc::clone(&service));
                }
                None => turn_away(connection, service.as_ref(), limits),
            },
            Err(err) => recover(err)?,
        }
    }
}

/// Passes by what concerns one connection or one moment, and returns what is wrong for good.
fn recover(err: io::Error) -> io::Result<()> {
    use nix::errno::Errno;
    match err.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ECONNABORTED | Errno::ECONNRESET | Errno::EINTR) => Ok(()),
        Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM) => {
            log::error!(error = err.to_string().as_str(); "cannot accept connections");
            thread::sleep(EXHAUSTION_PAUSE);
            Ok(())
        }
        _ => Err(err),
    }
}

fn start<S: Service + 'static>(mut peer: Peer, service: Arc<S>) {
    let converse = move || {
        if let Err(err) = service.converse(&mut peer) {
            log::warn!(error = chain(&err).as_str(); "connection given up");
        }
    };
    let thread = thread::Builder::new().name("connection".into()).stack_size(STACK_BYTES);
    if let Err(err) = thread.spawn(converse) {
        log::error!(error = err.to_string().as_str(); "cannot serve a connection");
    }
}

/// Says why, in a frame small enough for the socket's empty buffer, so that it cannot block.
fn turn_away(mut connection: Box<dyn Connection>, service: &impl Service, limits: Limits) {
    log::warn!(limit = limits.connections; "connection refused, too many are open");
    let message = format!("{} connections are open already", limits.connections);
    if let Some(body) = service.turned_away(message) {
        let sent = peer::write(connection.as_mut(), &body, body.len(), limits.per_frame);
        if let Err(err) = sent {
            log::warn!(error = chain(&err).as_str(); "connection given up");
        }
    }
}
