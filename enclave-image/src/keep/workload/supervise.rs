//! The workload's life: start, end, pause, start again.

use super::{
    Children, Place,
    start::{StartError, command},
};
use crate::{
    keep::{
        STACK_BYTES, chain,
        output::{Ring, copy_lines},
    },
    workload::{AtEnd, Workload},
};
use bailey_vsock::workload::{OutputEvent, OutputStream, WorkloadExit, shorten};
use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use std::{
    io::{self, Read},
    process::Child,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

/// What this process waits for.
#[derive(Debug)]
pub(in super::super) enum Event {
    /// The workload's process ended.
    Exited(WorkloadExit),
    /// A listener failed for good.
    Listener(io::Error),
    /// This process was asked to end.
    Signal(Signal),
}

/// What the workload runs with.
#[derive(Debug)]
pub(in super::super) struct Run<'a> {
    pub(in super::super) place: &'a Place,
    pub(in super::super) children: &'a Children,
    pub(in super::super) events: &'a Receiver<Event>,
    pub(in super::super) ring: &'a Arc<Ring>,
}

/// How long a workload that was asked to end may take.
const GRACE: Duration = Duration::from_secs(10);

/// How long the last of the output may take to arrive after the workload's end: only a process that
/// left the workload's group can hold the pipes open any longer.
const LAST_OUTPUT: Duration = Duration::from_secs(1);

/// Starts the workload, and starts it again as the image says, until it has ended for good or a
/// listener fails. What it was in the end, in words.
pub(in super::super) fn supervise(workload: &Workload, run: &Run<'_>) -> io::Result<String> {
    let (mut attempt, mut in_a_row) = (0_u32, 0_u32);
    let end = loop {
        attempt = attempt.saturating_add(1);
        let started = Instant::now();
        let life = run.live(workload, attempt)?;
        if workload.restart.was_stable(started.elapsed()) {
            in_a_row = 0;
        }
        let pause = match &life {
            Life::Asked(_) => None,
            Life::Ended(exit) => workload.restart.pause(exit.is_success(), in_a_row),
            Life::NotStarted(_) => workload.restart.pause(false, in_a_row),
        };
        run.ring.push(life.event(attempt, pause.is_some()));
        let end = format!("the workload ended for good ({life}) after {attempt} start(s)");
        let Some(pause) = pause else { break end };
        in_a_row = in_a_row.saturating_add(1);
        log::warn!(attempt = attempt, pause_ms = pause.as_secs_f64() * 1000.0; "the workload ended ({life}) and is started again");
        if let Some(signal) = run.pause(pause)? {
            break format!("{signal} came between two starts of the workload");
        }
    };
    match workload.at_end {
        AtEnd::End => Ok(end),
        AtEnd::Stay => {
            log::info!("{end}; the enclave goes on without it");
            run.wait_to_be_asked()
        }
    }
}

/// How one start of the workload went.
#[derive(Debug)]
enum Life {
    /// It ended because it was asked to.
    Asked(WorkloadExit),
    /// It ended by itself.
    Ended(WorkloadExit),
    /// It could not be started.
    NotStarted(StartError),
}

impl Life {
    fn event(&self, attempt: u32, will_restart: bool) -> OutputEvent {
        match self {
            Self::Asked(exit) | Self::Ended(exit) => {
                OutputEvent::Exited { attempt, exit: *exit, will_restart }
            }
            Self::NotStarted(err) => {
                let reason = shorten(chain(err));
                OutputEvent::NotStarted { attempt, reason, will_restart }
            }
        }
    }
}

impl std::fmt::Display for Life {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Asked(exit) => write!(f, "{exit}, as asked"),
            Self::Ended(exit) => exit.fmt(f),
            Self::NotStarted(err) => f.write_str(&chain(err)),
        }
    }
}

impl Run<'_> {
    /// From start to end.
    fn live(&self, workload: &Workload, attempt: u32) -> io::Result<Life> {
        let started = command(workload, self.place)
            .and_then(|mut command| self.children.start(&mut command).map_err(StartError::Spawn));
        let mut child = match started {
            Ok(child) => child,
            Err(err) => return Ok(Life::NotStarted(err)),
        };
        let pid = child.id();
        self.ring.push(OutputEvent::Started { pid, attempt });
        log::info!(pid = pid, attempt = attempt; "workload started");
        let output = self.collect_output(&mut child)?;
        let life = self.wait_for_end(Pid::from_raw(i32::try_from(pid).unwrap_or(i32::MAX)));
        let deadline = Instant::now() + LAST_OUTPUT;
        // Each thread drops its sender at the end of its pipe, and says nothing before.
        while let Ok(()) = output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        }
        life
    }

    /// Copies the workload's two pipes into the ring; the receiver is disconnected at their ends.
    fn collect_output(&self, child: &mut Child) -> io::Result<Receiver<()>> {
        let (sender, ended) = channel();
        if let Some(pipe) = child.stdout.take() {
            self.collect(pipe, OutputStream::Stdout, sender.clone())?;
        }
        if let Some(pipe) = child.stderr.take() {
            self.collect(pipe, OutputStream::Stderr, sender)?;
        }
        Ok(ended)
    }

    fn collect(
        &self,
        pipe: impl Read + Send + 'static,
        stream: OutputStream,
        ended: Sender<()>,
    ) -> io::Result<()> {
        let ring = Arc::clone(self.ring);
        let collect = move || {
            if let Err(err) = copy_lines(pipe, stream, &ring) {
                log::warn!(stream = stream.to_string().as_str(), error = err.to_string().as_str(); "output lost");
            }
            drop(ended);
        };
        let thread = thread::Builder::new().name("output".into()).stack_size(STACK_BYTES);
        thread.spawn(collect).map(drop)
    }

    fn wait_for_end(&self, pid: Pid) -> io::Result<Life> {
        let mut kill_at: Option<Instant> = None;
        let life = loop {
            match self.next(kill_at) {
                Ok(Event::Exited(exit)) if kill_at.is_some() => break Life::Asked(exit),
                Ok(Event::Exited(exit)) => break Life::Ended(exit),
                Ok(Event::Listener(err)) => {
                    self.end_all(pid);
                    return Err(err);
                }
                Ok(Event::Signal(signal)) => {
                    log::info!("{signal} is passed on to the workload");
                    // It fails when all of them have ended, and then that is the next event.
                    let _ = killpg(pid, signal);
                    kill_at = kill_at.or_else(|| Instant::now().checked_add(GRACE));
                }
                Err(RecvTimeoutError::Timeout) => {
                    log::warn!("the workload did not end when it was asked to, and is killed");
                    let _ = killpg(pid, Signal::SIGKILL);
                    kill_at = Instant::now().checked_add(GRACE);
                }
                Err(RecvTimeoutError::Disconnected) => return Err(nobody_left()),
            }
        };
        self.end_all(pid);
        Ok(life)
    }

    /// Ends what the workload left behind, so that the next start finds nothing of it.
    fn end_all(&self, pid: Pid) {
        // Nothing is left most of the time, and then these fail.
        let _ = killpg(pid, Signal::SIGKILL);
        if self.place.is_enclave {
            // Everybody but PID 1 itself.
            let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
        }
    }

    /// Waits; the signal that asked this process to end meanwhile.
    fn pause(&self, pause: Duration) -> io::Result<Option<Signal>> {
        let until = Instant::now().checked_add(pause);
        loop {
            match self.next(until) {
                Ok(Event::Signal(signal)) => return Ok(Some(signal)),
                Ok(Event::Listener(err)) => return Err(err),
                // There is no workload that could end.
                Ok(Event::Exited(_)) => {}
                Err(RecvTimeoutError::Timeout) => return Ok(None),
                Err(RecvTimeoutError::Disconnected) => return Err(nobody_left()),
            }
        }
    }

    /// Waits for a signal that asks this process to end; which, in words.
    pub(in super::super) fn wait_to_be_asked(&self) -> io::Result<String> {
        match self.pause(Duration::MAX)? {
            Some(signal) => Ok(format!("{signal} came")),
            None => Ok("the end of time came".to_owned()),
        }
    }

    fn next(&self, until: Option<Instant>) -> Result<Event, RecvTimeoutError> {
        match until {
            Some(until) => {
                self.events.recv_timeout(until.saturating_duration_since(Instant::now()))
            }
            None => self.events.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }
}

/// The threads that report events live as long as this process.
fn nobody_left() -> io::Error {
    io::Error::other("nobody reports events any more")
}
