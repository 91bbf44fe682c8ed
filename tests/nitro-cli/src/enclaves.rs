//! The enclaves of a host: who lives, and what they have.
//!
//! Each enclave has a state file `run/<enclave id>.json` and a directory `run/<slot>/`, in which its
//! process holds a lock on the file `alive` for as long as it lives. A state file whose lock is
//! free belongs to nobody; whoever sees it first removes it. One lock on `run/lock` orders
//! everything that reads or changes the set.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::allocation::Parent;
use crate::cpu_list::CpuList;
use crate::failure::Failure;
use crate::host::{Host, HostError, HugePages, PAGE_MIB};
use crate::output::{DescribeInfo, ImageInfo, RunInfo};
use crate::slot::Slot;

/// How long an enclave's process may take to end after SIGTERM, and again after SIGKILL.
const GRACE: Duration = Duration::from_secs(5);

/// What is kept about one enclave in its state file; names as in nitro-cli's own output.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Enclave {
    /// The name, unique on its host.
    #[serde(rename = "EnclaveName")]
    pub name: String,
    /// `<instance id>-enc<slot in hex>`.
    #[serde(rename = "EnclaveID")]
    pub id: String,
    /// The enclave's process, leader of a process group of its own.
    #[serde(rename = "ProcessID")]
    pub process_id: u32,
    /// The CID.
    #[serde(rename = "EnclaveCID")]
    pub cid: u32,
    /// The CPUs that it has.
    #[serde(rename = "CPUIDs")]
    pub cpu_ids: Vec<u32>,
    /// The memory that it has, in MiB.
    #[serde(rename = "MemoryMiB")]
    pub memory_mib: u32,
    /// How far it is.
    pub state: State,
    /// Whether it was started in debug mode.
    pub debug_mode: bool,
    /// The image's registers.
    pub measurements: BTreeMap<String, String>,
    /// What the image says about itself.
    pub image: Option<ImageInfo>,
}

/// How far an enclave is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// It has its resources and did not give a sign of life yet; no command shows it.
    Empty,
    /// It runs.
    Running,
}

impl Enclave {
    /// What `run-enclave` prints.
    #[must_use]
    pub fn run_info(&self) -> RunInfo {
        RunInfo {
            enclave_name: self.name.clone(),
            enclave_id: self.id.clone(),
            process_id: self.process_id,
            enclave_cid: self.cid,
            cpu_count: self.cpu_ids.len(),
            cpu_ids: self.cpu_ids.clone(),
            memory_mib: self.memory_mib,
        }
    }

    /// What `describe-enclaves` prints, with what the image says about itself when asked for.
    #[must_use]
    pub fn describe_info(&self, with_metadata: bool) -> DescribeInfo {
        DescribeInfo {
            run: self.run_info(),
            state: match self.state {
                State::Empty => "EMPTY",
                State::Running => "RUNNING",
            },
            flags: if self.debug_mode { "DEBUG_MODE" } else { "NONE" },
            measurements: self.measurements.clone(),
            image: self.image.clone().filter(|_| with_metadata),
        }
    }

    pub(crate) fn slot(&self) -> &str {
        Slot::in_enclave_id(&self.id)
    }

    /// Sends a signal to the enclave's process or, with `group`, to everything that it started.
    fn signal(&self, signal: Signal, group: bool) {
        // Pids are below 2^22 on Linux.
        let Ok(pid) = i32::try_from(self.process_id) else { return };
        let pid = Pid::from_raw(pid);
        // It may have ended in the meantime, which is what was wanted.
        let _ = if group { killpg(pid, signal) } else { kill(pid, signal) };
    }
}

/// Ends every enclave of a host at once, as its power going off does.
///
/// For whoever simulates the instance: the processes get no chance to clean up, and the state that
/// they leave is removed.
pub fn power_off(host: &Host) -> Result<(), Failure> {
    let enclaves = Enclaves::lock(host)?.all().to_vec();
    for enclave in &enclaves {
        enclave.signal(Signal::SIGKILL, true);
        await_end(host, enclave);
    }
    Enclaves::lock(host).map(drop)
}

/// The enclaves of a host, while nobody else can change them.
#[derive(Debug)]
pub(crate) struct Enclaves<'a> {
    host: &'a Host,
    /// Unlocked when dropped.
    _lock: File,
    all: Vec<Enclave>,
}

impl<'a> Enclaves<'a> {
    /// Waits for its turn; removes what dead enclaves left, and gives back what they had.
    pub(crate) fn lock(host: &'a Host) -> Result<Self, Failure> {
        let path = host.run("lock");
        let lock = File::create(&path).map_err(|err| Failure::file(&path, "Open", &err))?;
        lock.lock().map_err(|err| Failure::file(&path, "Lock", &err))?;
        let mut enclaves = Self { host, _lock: lock, all: read_all(host)? };
        let (alive, dead): (Vec<_>, Vec<_>) =
            enclaves.all.drain(..).partition(|enclave| is_alive(host, enclave));
        enclaves.all = alive;
        for enclave in &dead {
            remove_traces(host, enclave);
        }
        if !dead.is_empty() {
            enclaves.settle()?;
        }
        Ok(enclaves)
    }

    /// Every enclave that has resources, ordered by id.
    pub(crate) fn all(&self) -> &[Enclave] {
        &self.all
    }

    /// The enclaves that commands show.
    pub(crate) fn running(&self) -> impl Iterator<Item = &Enclave> {
        self.all.iter().filter(|enclave| enclave.state == State::Running)
    }

    /// The running enclave with this id; like nitro-cli, looks only at what follows `-enc`.
    pub(crate) fn with_id(&self, id: &str) -> Option<&Enclave> {
        self.running().find(|enclave| enclave.slot() == Slot::in_enclave_id(id))
    }

    /// What the host has for enclaves, and what these have of it.
    pub(crate) fn parent(&self) -> Result<Parent, HostError> {
        let pool = self.host.pool()?;
        Ok(Parent {
            cores: pool.iter().map(|cpu| self.host.core_of(cpu)).collect(),
            pool,
            taken: self.all.iter().flat_map(|enclave| enclave.cpu_ids.clone()).collect::<CpuList>(),
            free_pages: HugePages::read(self.host)?.total.saturating_sub(self.pages_taken()),
            cids: self.all.iter().map(|enclave| enclave.cid).collect(),
        })
    }

    /// A name that no enclave has: `name`, or `name_1` and so on, as nitro-cli chooses.
    pub(crate) fn unique_name(&self, name: &str) -> String {
        let taken = |name: &str| self.all.iter().any(|enclave| enclave.name == name);
        if !taken(name) {
            return name.to_owned();
        }
        let mut number = 1_u32;
        loop {
            let numbered = format!("{name}_{number}");
            if !taken(&numbered) {
                return numbered;
            }
            number += 1;
        }
    }

    /// Adds an enclave, or replaces what was known of it.
    pub(crate) fn put(&mut self, enclave: &Enclave) -> Result<(), Failure> {
        write_state(self.host, enclave)?;
        self.all.retain(|other| other.id != enclave.id);
        self.all.push(enclave.clone());
        self.settle()
    }

    /// Forgets an enclave and gives back what it had.
    pub(crate) fn remove(&mut self, id: &str) -> Result<(), Failure> {
        for enclave in self.all.extract_if(.., |enclave| enclave.id == id) {
            remove_traces(self.host, &enclave);
        }
        self.settle()
    }

    /// Makes the host's free hugepages what the enclaves leave.
    fn settle(&self) -> Result<(), Failure> {
        let failed = |err: HostError| Failure::file(&self.host.root("sys"), "Write", &err);
        let HugePages { total, .. } = HugePages::read(self.host).map_err(failed)?;
        let free = total.saturating_sub(self.pages_taken());
        HugePages { total, free }.write(self.host).map_err(failed)
    }

    fn pages_taken(&self) -> u32 {
        self.all.iter().map(|enclave| enclave.memory_mib / PAGE_MIB).sum()
    }
}

/// Asks an enclave's process to end, makes it end if it does not, and waits until it has.
pub(crate) fn terminate(host: &Host, enclave: &Enclave) -> bool {
    enclave.signal(Signal::SIGTERM, false);
    if await_end(host, enclave) {
        return true;
    }
    enclave.signal(Signal::SIGKILL, true);
    await_end(host, enclave)
}

/// Waits, for a bounded time, until the lock on `alive` is free.
fn await_end(host: &Host, enclave: &Enclave) -> bool {
    let Ok(alive) = File::open(alive_file(host, enclave.slot())) else { return true };
    let (sender, ended) = mpsc::channel();
    // If the process never ends, this thread stays until this program does, which is soon.
    thread::spawn(move || sender.send(alive.lock().is_ok()));
    ended.recv_timeout(GRACE).unwrap_or(false)
}

/// The file that the enclave in `slot` holds a lock on while it lives.
pub(crate) fn alive_file(host: &Host, slot: &str) -> PathBuf {
    host.run(slot).join("alive")
}

fn is_alive(host: &Host, enclave: &Enclave) -> bool {
    File::open(alive_file(host, enclave.slot()))
        .is_ok_and(|alive| matches!(alive.try_lock(), Err(TryLockError::WouldBlock)))
}

fn remove_traces(host: &Host, enclave: &Enclave) {
    // Whatever is left of it has no lock on anything and is removed at the next occasion.
    let _ = fs::remove_file(host.vsock_socket(enclave.cid));
    let _ = fs::remove_dir_all(host.run(enclave.slot()));
    let _ = fs::remove_file(state_file(host, &enclave.id));
}

fn state_file(host: &Host, id: &str) -> PathBuf {
    host.run(&format!("{id}.json"))
}

fn write_state(host: &Host, enclave: &Enclave) -> Result<(), Failure> {
    let path = state_file(host, &enclave.id);
    let temporary = path.with_extension("new");
    let text = crate::output::pretty(enclave);
    fs::write(&temporary, text)
        .and_then(|()| fs::rename(&temporary, &path))
        .map_err(|err| Failure::file(&path, "Write", &err))
}

fn read_all(host: &Host) -> Result<Vec<Enclave>, Failure> {
    let run = host.run("");
    let failed = |err: io::Error| Failure::file(&run, "Read", &err);
    let mut enclaves = Vec::new();
    for entry in fs::read_dir(&run).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            enclaves.push(read_state(&path)?);
        }
    }
    enclaves.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(enclaves)
}

fn read_state(path: &Path) -> Result<Enclave, Failure> {
    let text = fs::read(path).map_err(|err| Failure::file(path, "Read", &err))?;
    serde_json::from_slice(&text).map_err(|err| Failure::file(path, "Read", &err))
}
