//! An enclave as a local process.

use bailey_enclave_image::workload::{MANIFEST_PATH, Workload};
use bailey_model::Generation;
use bailey_simulated_nsm::{Authority, Enclave as Module, Mode, SimulatedNsm};
use bailey_vsock::{
    AttestRequest, AttestResponse, MAX_REQUEST_LEN, MAX_RESPONSE_LEN,
    documents::Client,
    frame,
    workload::{
        MAX_WORKLOAD_REQUEST_LEN, MAX_WORKLOAD_RESPONSE_LEN, OutputEntry, OutputEvent,
        OutputStream, WorkloadRequest, WorkloadResponse,
    },
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader},
    os::unix::{
        net::{UnixListener, UnixStream},
        process::ExitStatusExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
};
use tempfile::TempDir;

/// A running `keep run`, with the files of its enclave and a simulated NSM.
pub(crate) struct Enclave {
    pub(crate) dir: TempDir,
    child: Child,
    nsm: Arc<SimulatedNsm>,
}

/// A workload that does what these words say; see `test-workload`.
pub(crate) fn workload(words: &[&str]) -> Workload {
    let argv = ["/app/workload"].iter().chain(words).map(|word| (*word).to_owned());
    let mut workload = Workload::new(argv.collect());
    workload.log.console = false;
    workload.restart.pause_ms = 1;
    workload.restart.max_pause_ms = 1;
    workload
}

/// The socket of its workload's documents, among the enclave's files.
pub(crate) const DOCUMENTS: &str = "root/run/keep/documents.sock";

/// A program that was built beside the tests.
pub(crate) fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().parent().unwrap().join(name)
}

impl Enclave {
    pub(crate) fn start(workload: Option<&Workload>) -> Self {
        Self::prepare(workload, |_| ())
    }

    /// `change` gets the enclave's root directory before it starts.
    pub(crate) fn prepare(workload: Option<&Workload>, change: impl FnOnce(&Path)) -> Self {
        Self::boot(&built("keep"), |root| {
            fs::create_dir_all(root.join("app")).unwrap();
            fs::copy(env!("CARGO_BIN_EXE_test-workload"), root.join("app/workload")).unwrap();
            if let Some(workload) = workload {
                let path = root.join(MANIFEST_PATH.trim_start_matches('/'));
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, workload.to_json().unwrap()).unwrap();
            }
            change(root);
        })
    }

    /// Starts `keep` with the root directory that `fill` made.
    pub(crate) fn boot(keep: &Path, fill: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        fill(&root);
        // Relative to the root, where the enclave has its own.
        let keep = root.join(keep);
        let nsm = serve_nsm(&dir.path().join("nsm"));
        let heartbeat = UnixListener::bind(dir.path().join("heartbeat")).unwrap();
        let address = |name: &str| format!("unix:{}", dir.path().join(name).display());
        // A shell has what it runs in the background ignore SIGINT, and that is inherited.
        let child = Command::new("env")
            .arg("--default-signal=INT")
            .arg(keep)
            .arg("run")
            .arg("--root")
            .arg(root)
            .env_clear()
            .env("KEEP_LISTEN", address("attest"))
            .env("KEEP_LISTEN_WORKLOAD", address("workload"))
            .env("KEEP_NSM", address("nsm"))
            .env("KEEP_HEARTBEAT", address("heartbeat"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(dir.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let enclave = Self { dir, child, nsm };
        // It is bound when it gives its sign of life.
        drop(heartbeat.accept().unwrap());
        enclave
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap())
    }

    pub(crate) fn connect(&self, name: &str) -> UnixStream {
        UnixStream::connect(self.dir.path().join(name)).unwrap()
    }

    pub(crate) fn ask(&self, request: WorkloadRequest) -> Answers {
        let mut stream = self.connect("workload");
        let request = request.to_json().unwrap();
        frame::write(&mut stream, &request, MAX_WORKLOAD_REQUEST_LEN).unwrap();
        Answers { stream }
    }

    pub(crate) fn output(&self) -> Answers {
        self.ask(WorkloadRequest::Output { after: None })
    }

    /// Whether it still answers whoever asks for a document.
    pub(crate) fn attests(&self) -> bool {
        let mut stream = self.connect("attest");
        let id = "enc_1".parse().unwrap();
        let request = AttestRequest::new(id, Generation(1), b"nonce".to_vec()).unwrap();
        frame::write(&mut stream, &request.to_json().unwrap(), MAX_REQUEST_LEN).unwrap();
        let body = frame::read(&mut stream, MAX_RESPONSE_LEN).unwrap().unwrap();
        AttestResponse::parse(&body).unwrap().into_document().is_ok()
    }

    /// What its workload asks for documents.
    pub(crate) fn documents(&self) -> Client {
        Client::new(self.dir.path().join(DOCUMENTS))
    }

    /// The registers that a document states.
    pub(crate) fn registers(&self) -> BTreeMap<u8, [u8; 48]> {
        self.nsm.pcrs()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Waits for its end: its exit code, and its last line.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let stdout = BufReader::new(self.child.stdout.take().unwrap());
        let last = stdout.lines().map(Result::unwrap).last().unwrap_or_default();
        let status = self.child.wait().unwrap();
        assert_eq!(status.signal(), None);
        (status.code(), last)
    }
}

impl Drop for Enclave {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What comes back.
pub(crate) struct Answers {
    pub(crate) stream: UnixStream,
}

impl Iterator for Answers {
    type Item = WorkloadResponse;

    fn next(&mut self) -> Option<WorkloadResponse> {
        let body = frame::read(&mut self.stream, MAX_WORKLOAD_RESPONSE_LEN).unwrap()?;
        Some(WorkloadResponse::parse(&body).unwrap())
    }
}

impl Answers {
    /// Entries up to the end.
    pub(crate) fn entries(self) -> impl Iterator<Item = OutputEntry> {
        self.map(|answer| match answer {
            WorkloadResponse::Entry(entry) => entry,
            other => panic!("{other:?}"),
        })
    }

    /// What the workload printed and what became of it, up to the end; without `keep`'s own log.
    pub(crate) fn told(self) -> Vec<String> {
        self.entries().filter_map(|entry| tell(&entry.event)).collect()
    }
}

/// An event as a short text; nothing for `keep`'s own log.
pub(crate) fn tell(event: &OutputEvent) -> Option<String> {
    Some(match event {
        OutputEvent::Line { stream: OutputStream::Keep, .. } => return None,
        OutputEvent::Line { stream, bytes, complete } => {
            let more = if *complete { "" } else { "…" };
            format!("{stream}: {}{more}", String::from_utf8_lossy(bytes.as_slice()))
        }
        OutputEvent::Started { attempt, .. } => format!("started {attempt}"),
        OutputEvent::Exited { attempt, exit, will_restart } => {
            format!("exited {attempt} {exit} again={will_restart}")
        }
        OutputEvent::NotStarted { attempt, reason, will_restart } => {
            format!("not started {attempt} {reason} again={will_restart}")
        }
    })
}

pub(crate) fn serve_nsm(path: &Path) -> Arc<SimulatedNsm> {
    let parent = Authority::generate()
        .unwrap()
        .instance("i-0123456789abcdef0", "arn:aws:iam::123456789012:role/parent", NOW_MS)
        .unwrap();
    let module = Module {
        module_id: "i-0123456789abcdef0-enc0123456789abcdef".to_owned(),
        measurements: BTreeMap::new(),
        mode: Mode::Production,
    };
    let nsm = Arc::new(SimulatedNsm::new(parent, module));
    let listener = UnixListener::bind(path).unwrap();
    let served = Arc::clone(&nsm);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let nsm = Arc::clone(&served);
            thread::spawn(move || nsm.serve_connection(stream.unwrap(), || NOW_MS));
        }
    });
    nsm
}

/// Any time will do.
const NOW_MS: u64 = 1_700_000_000_000;
