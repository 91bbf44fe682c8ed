//! `console`: what an enclave in debug mode prints.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::enclaves::{Enclave, Enclaves, alive_file};
use crate::failure::{Failure, Reason};
use crate::host::Host;

/// Prints the console of the enclave with this id until the enclave ends.
///
/// Unlike the real one, it starts with what was printed before, and several may read.
pub(super) fn console(host: &Host, enclave_id: &str) -> Result<(), Failure> {
    let enclave = Enclaves::lock(host)?.with_id(enclave_id).cloned().ok_or_else(|| {
        Reason::Socket.because(format!(
            "Failed to connect to specific enclave process: no enclave has the id {enclave_id}"
        ))
    })?;
    if !enclave.debug_mode {
        return Err(Reason::ConsoleConnection.because(
            "The enclave was not started with the debug flag set, include '--debug-mode' in the run-enclave command",
        ));
    }
    println!("Connecting to the console for enclave {}...", enclave.cid);
    follow(host, &enclave).map_err(|err| Reason::ConsoleRead.because(err.to_string()))
}

/// A machine's serial line, or what an enclave that is a process writes.
fn source(host: &Host, enclave: &Enclave) -> PathBuf {
    let machine = host.run(&format!("{}.console", enclave.id));
    if machine.exists() { machine } else { host.run(&format!("{}.log", enclave.id)) }
}

fn follow(host: &Host, enclave: &Enclave) -> io::Result<()> {
    let path = source(host, enclave);
    let mut output = Output { file: File::open(&path)? };
    let changes = Inotify::init(InitFlags::IN_CLOEXEC)?;
    changes.add_watch(&path, AddWatchFlags::IN_MODIFY)?;
    // Its process holds the lock for as long as it lives.
    let alive = File::open(alive_file(host, enclave.slot()))?;
    println!("Successfully connected to the console.");
    let mut last = Output { file: output.file.try_clone()? };
    // Both threads end with the program.
    let (over, is_over) = mpsc::channel();
    let ended = over.clone();
    thread::spawn(move || ended.send(alive.lock_shared()));
    thread::spawn(move || {
        let copied = loop {
            let more = output.copy().and_then(|()| Ok(changes.read_events().map(drop)?));
            if more.is_err() {
                break more;
            }
        };
        // Whoever read has gone when nothing can be written.
        over.send(copied)
    });
    is_over.recv().unwrap_or(Ok(()))?;
    last.copy()
}

/// A file that is read on by whoever reads.
struct Output {
    file: File,
}

impl Output {
    fn copy(&mut self) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        let mut buffer = [0; 4_096];
        loop {
            let count = self.file.read(&mut buffer)?;
            let Some(read) = buffer.get(..count).filter(|read| !read.is_empty()) else {
                return stdout.flush();
            };
            stdout.write_all(read)?;
        }
    }
}
