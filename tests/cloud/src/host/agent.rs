//! Keeps an agent running, as systemd would.

use crate::processes::{self, Program};
use nix::sys::signal::Signal;
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::watch, task::JoinHandle};

/// How long after its end the agent is started again: the unit's `RestartSec`.
const RESTART_AFTER: Duration = Duration::from_millis(200);
/// How often to look for the file that means "powered off": the agent's command can do no more
/// than make one.
const POWEROFF_POLL: Duration = Duration::from_millis(100);

/// Keeps one agent running until it is stopped.
#[derive(Debug)]
pub(super) struct Supervisor {
    shared: Arc<Shared>,
    powered_off: watch::Receiver<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// 0 while no agent runs.
    pid: AtomicU32,
    starts: AtomicU64,
}

impl Supervisor {
    /// Starts the agent. It is started again whenever it ends, until `poweroff` exists.
    pub(super) fn start(program: Program, poweroff: PathBuf) -> Self {
        let shared = Arc::new(Shared::default());
        let (sender, powered_off) = watch::channel(false);
        let task = tokio::spawn(supervise(program, poweroff, Arc::clone(&shared), sender));
        Self { shared, powered_off, task: Mutex::new(Some(task)) }
    }

    /// Waits until the host was powered off. Cancel-safe.
    pub(super) async fn powered_off(&self) {
        let mut powered_off = self.powered_off.clone();
        if powered_off.wait_for(|off| *off).await.is_err() {
            // Stopped from outside: it was not powered off, and never will be.
            std::future::pending::<()>().await;
        }
    }

    /// Kills the agent and starts it no more.
    pub(super) async fn stop(&self) {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            // The child goes with the task that holds it.
            task.abort();
            let _ = task.await;
        }
        self.shared.pid.store(0, Ordering::SeqCst);
    }

    pub(super) fn pid(&self) -> Option<u32> {
        Some(self.shared.pid.load(Ordering::SeqCst)).filter(|pid| *pid != 0)
    }

    pub(super) fn starts(&self) -> u64 {
        self.shared.starts.load(Ordering::SeqCst)
    }

    pub(super) fn kill(&self) -> bool {
        self.pid().is_some_and(|pid| processes::signal(pid, Signal::SIGKILL))
    }
}

async fn supervise(
    program: Program,
    poweroff: PathBuf,
    shared: Arc<Shared>,
    powered_off: watch::Sender<bool>,
) {
    loop {
        tokio::select! {
            () = run_once(&program, &shared) => {}
            () = appears(&poweroff) => break,
        }
        shared.pid.store(0, Ordering::SeqCst);
        if poweroff.exists() {
            break;
        }
        tokio::time::sleep(RESTART_AFTER).await;
    }
    powered_off.send_replace(true);
    // The sender lives on: its end would mean that the supervisor was stopped.
    std::future::pending::<()>().await;
}

/// Runs the agent until it ends.
async fn run_once(program: &Program, shared: &Shared) {
    let path = program.path.display().to_string();
    let mut child = match program.start() {
        Ok(child) => child,
        Err(error) => {
            log::error!(program = path, error = error.to_string(); "agent does not start");
            return;
        }
    };
    shared.starts.fetch_add(1, Ordering::SeqCst);
    shared.pid.store(child.id().unwrap_or_default(), Ordering::SeqCst);
    if let Ok(status) = child.wait().await {
        log::warn!(program = path, status = status.to_string(); "agent ended");
    }
}

async fn appears(path: &Path) {
    while !path.exists() {
        tokio::time::sleep(POWEROFF_POLL).await;
    }
}
