//! `run-enclave`: starts the enclave's process and passes on what it has to say.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::arguments::RunRequest;
use crate::failure::{Failure, Reason};
use crate::host::{ENVIRONMENT, Host};
use crate::launch::{Launch, Reply, Status, receive, send};
use crate::slot::Slot;

/// Starts an enclave and returns the JSON about it once it gave a sign of life.
///
/// When it fails, the enclave's process has told why on standard error already, and the failure
/// returned here is the E39 that follows.
pub(super) fn run_enclave(host: &Host, request: RunRequest) -> Result<String, Failure> {
    let spawn_failed =
        |err: io::Error| Reason::ProcessSpawn.because(format!("Failed to spawn: {err}"));
    let eif_path = std::path::absolute(&request.eif_path).map_err(spawn_failed)?;
    let slot = Slot::random().map_err(spawn_failed)?;
    let launch = Launch { request: RunRequest { eif_path, ..request }, slot };
    let mut process = spawn(host, slot).map_err(spawn_failed)?;
    send(&mut process, &launch).map_err(spawn_failed)?;
    relay(&mut process).ok_or_else(|| {
        eprintln!("Failed connections: 1");
        Reason::ProcessConnection.because("Failed to handle all enclave process replies")
    })
}

/// Starts the process in the enclave's own directory: sockets have names there that fit the 108
/// bytes of a Unix address whatever the length of the host's path.
fn spawn(host: &Host, slot: Slot) -> io::Result<UnixStream> {
    let dir = host.run(&slot.to_string());
    fs::create_dir(&dir)?;
    let log = File::create(log_file(host, slot))?;
    let (ours, theirs) = UnixStream::pair()?;
    let spawned = Command::new(std::env::current_exe()?)
        .arg("enclave-process")
        .env(ENVIRONMENT, host.dir())
        .current_dir(&dir)
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::from(log.try_clone()?))
        .stderr(log)
        .process_group(0)
        .spawn();
    if let Err(err) = spawned {
        let _ = fs::remove_dir(&dir);
        return Err(err);
    }
    Ok(ours)
}

/// Where the enclave's process and its responder write; it stays when they have ended.
fn log_file(host: &Host, slot: Slot) -> impl AsRef<Path> {
    host.run(&format!("{}.log", slot.enclave_id(&host.facts().instance_id)))
}

/// Passes lines on until the status; the JSON, if the enclave runs.
fn relay(process: &mut UnixStream) -> Option<String> {
    let mut json = None;
    loop {
        match receive(process) {
            Ok(Some(Reply::StdErr(line))) => eprintln!("{line}"),
            Ok(Some(Reply::StdOut(text))) => json = Some(text),
            Ok(Some(Reply::Status(Status::Running))) => return json,
            // A process that is gone without a word has failed as well.
            Ok(Some(Reply::Status(Status::Failed)) | None) | Err(_) => return None,
        }
    }
}
