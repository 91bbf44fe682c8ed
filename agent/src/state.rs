//! What the agent writes down for its next start.
//!
//! ```text
//! desired-version           the highest version of the desired state that was seen
//! assignments/<name>.json   a Memory for each assignment
//! cache/                    images
//! agent.lock                held while an agent runs
//! start.lock                held by nitro-cli while it starts an enclave
//! ```
//! Losing any of it starts nothing twice: enclaves are recognised by their names, and the desired
//! state is read anew. An enclave whose memory is lost is reported under its nitro-cli id with no
//! restarts, and the coordinator has it attest again when that is not the one it knows.

use crate::{assignment::Memory, files, host::Host, name::EnclaveName};
use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

/// The agent's directory, held by this process.
#[derive(Debug)]
pub struct StateDir {
    root: PathBuf,
    /// What was last written, to write only what changed.
    written: BTreeMap<EnclaveName, Memory>,
    version: Option<u64>,
    _lock: File,
}

impl StateDir {
    /// Opens the directory, which is made when absent, for this process alone.
    pub fn open(root: PathBuf) -> Result<Self, StateError> {
        let assignments = root.join("assignments");
        if let Err(source) = fs::create_dir_all(&assignments) {
            return Err(StateError::File { action: "create", path: assignments, source });
        }
        let lock = lock(&root.join("agent.lock"))?;
        Ok(Self { root, written: BTreeMap::new(), version: None, _lock: lock })
    }

    /// Where images are cached.
    #[must_use]
    pub fn cache(&self) -> PathBuf {
        cache_below(&self.root)
    }

    /// The file that nitro-cli holds while it starts an enclave.
    #[must_use]
    pub fn start_lock(&self) -> PathBuf {
        start_lock_below(&self.root)
    }

    /// What an agent has written down below `root`, also while it runs.
    pub fn look(root: &Path) -> Result<Vec<Memory>, StateError> {
        memories(root)
    }

    /// The host as the last agent left it.
    pub fn host(&self) -> Result<Host, StateError> {
        Ok(Host::new(self.seen_version()?, memories(&self.root)?))
    }

    /// Writes down what changed. What cannot be written is tried again with the next change.
    pub fn save(&mut self, host: &Host) {
        if let Err(err) = self.try_save(host) {
            let reason = bailey_runtime::chain(&err);
            log::error!(error = reason.as_str(); "state not written");
        }
    }

    fn try_save(&mut self, host: &Host) -> Result<(), StateError> {
        if self.version != host.seen_version()
            && let Some(version) = host.seen_version()
        {
            write(&self.root.join(VERSION), version.to_string().as_bytes())?;
            self.version = Some(version);
        }
        let memories: BTreeMap<&EnclaveName, &Memory> = host.memories().collect();
        for (name, memory) in &memories {
            if self.written.get(*name) != Some(*memory) {
                let json = serde_json::to_vec(memory).map_err(StateError::Encode)?;
                write(&self.file(name), &json)?;
                self.written.insert((*name).clone(), (*memory).clone());
            }
        }
        let gone = self.written.keys().filter(|name| !memories.contains_key(name)).cloned();
        for name in gone.collect::<Vec<_>>() {
            let path = self.file(&name);
            remove(path)?;
            self.written.remove(&name);
        }
        Ok(())
    }

    fn file(&self, name: &EnclaveName) -> PathBuf {
        self.root.join("assignments").join(format!("{name}.json"))
    }

    fn seen_version(&self) -> Result<Option<u64>, StateError> {
        let path = self.root.join(VERSION);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text.trim().parse().ok()),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StateError::File { action: "read", path, source }),
        }
    }
}

fn memories(root: &Path) -> Result<Vec<Memory>, StateError> {
    let directory = root.join("assignments");
    let unreadable = |source| StateError::File { action: "read", path: directory.clone(), source };
    let mut memories = Vec::new();
    for entry in fs::read_dir(&directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        memories.extend(remembered(&path));
    }
    Ok(memories)
}

/// Where images are cached by an agent whose directory is `root`.
pub(crate) fn cache_below(root: &Path) -> PathBuf {
    root.join("cache")
}

/// The file that nitro-cli holds while it starts an enclave for such an agent.
pub(crate) fn start_lock_below(root: &Path) -> PathBuf {
    root.join("start.lock")
}

const VERSION: &str = "desired-version";

/// A damaged file is as good as none.
fn remembered(path: &Path) -> Option<Memory> {
    let bytes = fs::read(path).ok()?;
    let memory = serde_json::from_slice(&bytes);
    if path.extension().is_some_and(|extension| extension == "json") && memory.is_err() {
        let path = path.display().to_string();
        log::warn!(path = path.as_str(); "state file not understood, ignored");
    }
    memory.ok()
}

fn lock(path: &Path) -> Result<File, StateError> {
    let unusable = |source| StateError::File { action: "lock", path: path.to_owned(), source };
    let file = File::options().append(true).create(true).open(path).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StateError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(unusable(source)),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    files::write_atomically(path, bytes).map_err(|source| StateError::File {
        action: "write",
        path: path.to_owned(),
        source,
    })
}

fn remove(path: PathBuf) -> Result<(), StateError> {
    match fs::remove_file(&path) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => {
            Err(StateError::File { action: "remove", path, source: err })
        }
        _ => Ok(()),
    }
}

/// Why the agent's state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A memory has no JSON form.
    #[error("cannot encode what is remembered of an assignment")]
    Encode(#[source] serde_json::Error),
    /// A file or directory cannot be used.
    #[error("cannot {action} `{}`", path.display())]
    File {
        /// What was to be done.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Another agent runs on this directory.
    #[error("another agent holds `{}`", path.display())]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{NOW, assignment};
    use bailey_model::hosts::Desired;

    fn desired(version: u64, ids: &[&str]) -> Desired {
        let assignments = ids.iter().map(|id| assignment(id, 1)).collect();
        Desired { version, drain: false, assignments, pool: None }
    }

    fn reconciled(state: &StateDir, desired: Desired) -> Host {
        let mut host = state.host().unwrap();
        host.desire(desired);
        host.listed(host.mark(), vec![], NOW);
        host.orders(NOW);
        host
    }

    #[test]
    fn what_was_saved_is_there_after_a_restart_and_what_ended_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let mut state = StateDir::open(directory.path().to_owned()).unwrap();
        let host = reconciled(&state, desired(7, &["a", "b"]));
        state.save(&host);
        assert_eq!(memories(&state.root).unwrap().len(), 2);
        drop(state);

        let state = StateDir::open(directory.path().to_owned()).unwrap();
        let mut host = state.host().unwrap();
        assert_eq!(host.seen_version(), Some(7));
        assert!(!host.desire(desired(6, &[])));
    }

    #[test]
    fn a_forgotten_assignment_has_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let mut state = StateDir::open(directory.path().to_owned()).unwrap();
        let mut host = reconciled(&state, desired(1, &["a"]));
        state.save(&host);
        host.desire(desired(2, &[]));
        host.orders(NOW);
        state.save(&host);
        assert_eq!(memories(&state.root).unwrap(), []);
    }

    #[test]
    fn a_second_agent_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let _first = StateDir::open(directory.path().to_owned()).unwrap();
        let err = StateDir::open(directory.path().to_owned()).unwrap_err();
        assert!(matches!(err, StateError::InUse { .. }), "{err:?}");
    }

    #[test]
    fn a_damaged_file_is_ignored() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(directory.path().to_owned()).unwrap();
        fs::write(directory.path().join("assignments/x.json"), "{").unwrap();
        assert_eq!(memories(&state.root).unwrap(), []);
    }
}
