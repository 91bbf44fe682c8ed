//! Every child of this process, and the signals that it gets.
//!
//! As PID 1 it inherits the children of whoever dies, so it waits for all; among them is the
//! workload. Waiting and starting exclude each other: a process id that was just started cannot be
//! taken for that of a process which ended before, because it is free again only after the wait.

use super::supervise::Event;
use bailey_vsock::workload::WorkloadExit;
use nix::{
    errno::Errno,
    sys::{
        signal::{SigSet, Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use std::{
    io,
    process::{Child, Command},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc::Sender},
    thread,
};

/// Starts children, and reports the end of the workload.
#[derive(Clone, Debug)]
pub(in super::super) struct Children {
    workload: Arc<Mutex<Option<Pid>>>,
}

impl Children {
    /// Starts to wait for children, and for the signals that ask this process to end.
    ///
    /// Called before any other thread exists, so that every thread inherits the blocked signals and
    /// they reach the one that waits for them.
    pub(in super::super) fn watch(events: Sender<Event>) -> io::Result<Self> {
        let mut signals = SigSet::empty();
        for signal in [Signal::SIGCHLD, Signal::SIGINT, Signal::SIGTERM] {
            signals.add(signal);
        }
        signals.thread_block()?;
        let children = Self { workload: Arc::default() };
        let waiting = children.clone();
        let wait = move || {
            while let Ok(signal) = signals.wait() {
                let told = match signal {
                    Signal::SIGCHLD => waiting.reap(&events),
                    signal => events.send(Event::Signal(signal)).is_ok(),
                };
                if !told {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("children".into());
        thread.stack_size(super::super::STACK_BYTES).spawn(wait)?;
        Ok(children)
    }

    /// Starts the workload.
    pub(super) fn start(&self, command: &mut Command) -> io::Result<Child> {
        let mut workload = self.lock();
        let child = command.spawn()?;
        *workload = i32::try_from(child.id()).ok().map(Pid::from_raw);
        Ok(child)
    }

    /// Collects all that have ended, of which there may be several for one signal; false when nobody
    /// listens any more.
    fn reap(&self, events: &Sender<Event>) -> bool {
        let mut workload = self.lock();
        loop {
            let (pid, exit) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, WorkloadExit::Code(code)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, signalled(signal)),
                // A real-time signal, for which there is no name; and so not even the process is told.
                Err(Errno::EINVAL) => match *workload {
                    Some(pid) if kill(pid, None) == Err(Errno::ESRCH) => (pid, UNNAMED_SIGNAL),
                    _ => continue,
                },
                _ => return true,
            };
            if *workload == Some(pid) {
                *workload = None;
                if events.send(Event::Exited(exit)).is_err() {
                    return false;
                }
            }
        }
    }

    /// A panic elsewhere left the process id as it was.
    fn lock(&self) -> MutexGuard<'_, Option<Pid>> {
        self.workload.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end by a signal whose number is not known here.
const UNNAMED_SIGNAL: WorkloadExit = WorkloadExit::Signal(0);

#[expect(clippy::as_conversions, reason = "the enum's values are the signals' numbers")]
fn signalled(signal: Signal) -> WorkloadExit {
    WorkloadExit::Signal(signal as i32)
}
