//! What an enclave runs as: a program that the kernel ends with the enclave's process.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::Sender;
use std::thread;

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};

use super::events::Event;

/// Starts a program with this environment and no other; its end is reported as an event.
///
/// To be called by a thread that lives as long as the process: the kernel tells a child of its
/// parent's death when the thread that started it ends.
pub(super) fn spawn(
    program: &Path,
    arguments: Vec<OsString>,
    environment: Vec<(String, OsString)>,
    events: &Sender<Event>,
) -> io::Result<()> {
    if !program.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let mut child = Command::new(std::env::current_exe()?)
        .arg("enclave-init")
        .arg(std::process::id().to_string())
        .arg(program)
        .args(arguments)
        .env_clear()
        .envs(environment)
        .stdin(Stdio::null())
        .spawn()?;
    let events = events.clone();
    thread::spawn(move || {
        let how = child.wait().map_or_else(|err| err.to_string(), |status| status.to_string());
        let _ = events.send(Event::Ended(how));
    });
    Ok(())
}

/// Turns this process into the program, which the kernel kills when the enclave's process ends.
///
/// The exit code is that of a program that could not be started; otherwise this never returns.
pub(crate) fn become_program(parent: i32, program: &Path, arguments: &[OsString]) -> ExitCode {
    if let Err(err) = prctl::set_pdeathsig(Signal::SIGKILL) {
        eprintln!("cannot be tied to the enclave's process: {err}");
        return ExitCode::FAILURE;
    }
    // The parent may have died before the kernel knew whom to tell.
    if getppid() != Pid::from_raw(parent) {
        return ExitCode::FAILURE;
    }
    let err = Command::new(program).args(arguments).exec();
    eprintln!("cannot start `{}`: {err}", program.display());
    ExitCode::FAILURE
}
