//! What an enclave's process waits for.

use std::fmt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::{SigSet, Signal};

use crate::host::Host;

/// Something that happened to an enclave.
#[derive(Debug)]
pub(super) enum Event {
    /// It gave its sign of life.
    Heartbeat,
    /// The host's directory is being removed.
    HostGone,
    /// What it runs as, responder or machine, has ended; how, in words.
    Ended(String),
    /// The process was asked to end.
    Signal(Signal),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Heartbeat => f.write_str("the enclave gave a sign of life"),
            Self::HostGone => f.write_str("the host is gone"),
            Self::Ended(how) => write!(f, "what runs inside has ended ({how})"),
            Self::Signal(signal) => write!(f, "the process was asked to end ({signal})"),
        }
    }
}

/// Where events arrive.
#[derive(Debug)]
pub(super) struct Events {
    sender: Sender<Event>,
    receiver: Receiver<Event>,
}

/// The signals that ask a process to end.
fn ending_signals() -> SigSet {
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect()
}

/// Makes the signals wait until someone looks for them; for this thread and those that it starts.
pub(super) fn block_signals() -> std::io::Result<()> {
    Ok(ending_signals().thread_block()?)
}

impl Events {
    /// Starts to watch for signals and for the end of the host.
    pub(super) fn watch(host: &Host) -> Self {
        let (sender, receiver) = channel();
        let events = Self { sender, receiver };
        let sender = events.sender();
        thread::spawn(move || {
            if let Ok(signal) = ending_signals().wait() {
                let _ = sender.send(Event::Signal(signal));
            }
        });
        let (sender, dir) = (events.sender(), host.dir().to_owned());
        thread::spawn(move || {
            // A host that cannot be watched is gone already.
            let _ = await_removal(&dir);
            let _ = sender.send(Event::HostGone);
        });
        events
    }

    /// For whoever has something to report.
    pub(super) fn sender(&self) -> Sender<Event> {
        self.sender.clone()
    }

    /// The next event, if one comes in time.
    pub(super) fn next_within(&self, timeout: Duration) -> Option<Event> {
        self.receiver.recv_timeout(timeout).ok()
    }

    /// Waits for something that ends the enclave.
    pub(super) fn next_end(&self) -> Event {
        self.receiver
            .iter()
            .find(|event| !matches!(event, Event::Heartbeat))
            // Never: this value holds a sender itself.
            .unwrap_or(Event::HostGone)
    }
}

/// Waits until `host.json` is removed, or the directory itself is.
fn await_removal(dir: &std::path::Path) -> nix::Result<()> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC)?;
    let gone = AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF;
    let watched = AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVED_FROM | gone;
    inotify.add_watch(dir, watched)?;
    // It may have gone before the watch was there.
    while dir.join("host.json").exists() {
        inotify.read_events()?;
    }
    Ok(())
}
