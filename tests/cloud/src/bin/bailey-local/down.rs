//! `bailey-local down`.

use crate::state::StateDir;
use bailey_local_cloud::processes;
use nix::sys::signal::Signal;
use std::{
    error::Error,
    time::{Duration, Instant},
};

/// Ending the instances of a busy cloud takes a while.
const LIMIT: Duration = Duration::from_mins(1);
const LOOK_PERIOD: Duration = Duration::from_millis(20);

/// Asks the cloud to end, waits until it has, and fails when something is left running.
pub(crate) async fn down(state: &StateDir) -> Result<(), Box<dyn Error>> {
    match state.running() {
        Some(pid) => end(state, pid).await?,
        None => println!("no local cloud runs in {}", state.path().display()),
    }
    state.forget();
    let path = std::fs::canonicalize(state.path()).unwrap_or_else(|_| state.path().to_owned());
    let left = processes::of(&path);
    if left.is_empty() {
        println!("nothing is left running");
        return Ok(());
    }
    for process in &left {
        eprintln!("left running, killed now: {process}");
    }
    let still = processes::end_all_of(&path, LIMIT).await;
    still.map_err(|left| format!("{} processes cannot be killed", left.len()))?;
    Err(format!("{} processes had been left running", left.len()).into())
}

async fn end(state: &StateDir, pid: u32) -> Result<(), Box<dyn Error>> {
    let _ = processes::signal(pid, Signal::SIGTERM);
    let asked = Instant::now();
    while state.running() == Some(pid) {
        if asked.elapsed() > LIMIT {
            let _ = processes::signal(pid, Signal::SIGKILL);
            return Err(format!("process {pid} did not end in time, and was killed").into());
        }
        tokio::time::sleep(LOOK_PERIOD).await;
    }
    println!("the local cloud is down");
    Ok(())
}
