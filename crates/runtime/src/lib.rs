//! What Bailey's programs share at the edge: logging, AWS clients, shutdown, error chains.
//!
//! Nothing here decides anything about an enclave.

pub mod aws;
pub mod calls;
pub mod items;
pub mod logging;
pub mod logs;
pub mod signed;
pub mod skew;

use bailey_model::UnixMillis;
pub use bailey_model::chain;
use std::{io, time::SystemTime};
use tokio::signal::unix::{SignalKind, signal};

/// The time of the system's clock.
#[must_use]
pub fn now() -> UnixMillis {
    #[expect(clippy::disallowed_methods, reason = "the one place where the clock is read")]
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

/// Listens for the signals that ask a program to end: SIGTERM and SIGINT.
#[derive(Debug)]
pub struct Shutdown {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Shutdown {
    /// Starts listening; from here on neither signal ends the process by itself.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next of the two signals. Cancel-safe.
    pub async fn requested(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
