//! A machine that boots an image, and the parent's side of its vsock.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use bailey_model::{EnclaveId, Generation};
use bailey_vsock::{
    ATTESTATION_PORT, AttestRequest, AttestResponse, HEARTBEAT_BYTE, MAX_REQUEST_LEN,
    MAX_RESPONSE_LEN, connect, frame,
};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::image::tool;

/// How long anything may take before a test is given up: the emulation of a whole boot, on a machine
/// that does other things too.
pub(crate) const LIMIT: Duration = Duration::from_mins(3);

/// The enclave's CID.
pub(crate) const CID: u32 = 16;

/// A machine that runs; it ends with this value.
pub(crate) struct Machine {
    directory: PathBuf,
    process: Child,
    started: Instant,
    heartbeat: Receiver<Instant>,
}

impl Machine {
    /// Boots an image in a new directory; `kind` are the words that say which machine.
    pub(crate) fn boot(directory: &Path, image: &Path, kind: &[&str]) -> Self {
        let (sender, heartbeat) = channel();
        let listener = UnixListener::bind(directory.join("heartbeat.sock")).unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut byte = [0; 1];
            stream.read_exact(&mut byte).unwrap();
            // What is no heartbeat is not answered, and then the test waits in vain.
            if byte == [HEARTBEAT_BYTE] {
                stream.write_all(&byte).unwrap();
                sender.send(Instant::now()).unwrap();
            }
        });
        let log = fs::File::create(directory.join("machine.log")).unwrap();
        let started = Instant::now();
        // The kernel ends it with this process, however that ends.
        let process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", env!("CARGO_BIN_EXE_enclave-vm")])
            .arg("--qemu")
            .arg(tool("BAILEY_QEMU"))
            .arg("--image")
            .arg(image)
            .args(["--memory-mib", "256", "--cid", &CID.to_string()])
            .args(["--vsock", &format!("{CID}.sock"), "--parent-port", "9000=heartbeat.sock"])
            .args(kind)
            .current_dir(directory)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap();
        Self { directory: directory.to_owned(), process, started, heartbeat }
    }

    /// How long it took to the heartbeat, which was answered.
    pub(crate) fn await_heartbeat(&self) -> Duration {
        let at = self.heartbeat.recv_timeout(LIMIT);
        let at = at.unwrap_or_else(|_| panic!("no heartbeat\n{}", self.logs()));
        at.duration_since(self.started)
    }

    /// How long the machine runs.
    pub(crate) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Kills the program that runs the machine, and nothing else; returns the process of QEMU.
    pub(crate) fn kill_program(&self) -> u32 {
        let program = self.process.id();
        let children = format!("/proc/{program}/task/{program}/children");
        let qemu = fs::read_to_string(children).unwrap().trim().parse().unwrap();
        kill(Pid::from_raw(program.try_into().unwrap()), Signal::SIGKILL).unwrap();
        qemu
    }

    /// Asks the responder inside for a document, as the agent does, and takes it as it is.
    pub(crate) fn ask(&self, enclave: &EnclaveId, nonce: &[u8]) -> Vec<u8> {
        let path = self.directory.join(format!("{CID}.sock"));
        let mut stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        connect::open(&mut stream, ATTESTATION_PORT).unwrap();
        let request = AttestRequest::new(enclave.clone(), Generation(1), nonce.to_vec()).unwrap();
        frame::write(&mut stream, &request.to_json().unwrap(), MAX_REQUEST_LEN).unwrap();
        let answer = frame::read(&mut stream, MAX_RESPONSE_LEN).unwrap().unwrap();
        AttestResponse::parse(&answer).unwrap().into_document().unwrap()
    }

    /// What the machine and the guest said.
    pub(crate) fn logs(&self) -> String {
        let read = |name: &str| {
            let bytes = fs::read(self.directory.join(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        format!("--- machine\n{}--- console\n{}", read("machine.log"), read("console.log"))
    }
}

impl Drop for Machine {
    /// The whole group: what the program left behind, if it ever did, has to go as well.
    fn drop(&mut self) {
        let group = Pid::from_raw(self.process.id().try_into().unwrap());
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.process.wait();
    }
}

/// Whether a process runs: it is there, and not only as what its parent has still to hear of.
pub(crate) fn runs(process: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The state follows the name, which is in brackets and may hold anything.
    status.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}
