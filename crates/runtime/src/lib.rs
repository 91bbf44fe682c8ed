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
use std::{error::Error, fmt::Write as _, io, time::SystemTime};
use tokio::signal::unix::{SignalKind, signal};

/// The error's text and those of its causes, from the outermost inwards, joined by `: `.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let level = error.to_string();
        // Some libraries repeat their cause in their own text; say it once.
        if !text.ends_with(&level) {
            let _ = write!(text, ": {level}");
        }
        cause = error.source();
    }
    text
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open the file")]
    struct Outer(#[source] io::Error);

    #[test]
    fn a_chain_says_each_level_once() {
        let error = Outer(io::Error::other("disk is gone"));
        assert_eq!(chain(&error), "cannot open the file: disk is gone");
    }
}
