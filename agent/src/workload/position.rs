//! How far each enclave's output was read, so that the next agent goes on there.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

/// The positions, a small file for each enclave.
///
/// A position is written after what it counts was handed on: an agent that dies in between reads a line
/// twice, and none is lost.
#[derive(Clone, Debug)]
pub(crate) struct Positions(PathBuf);

impl Positions {
    /// Those below the agent's state.
    pub(crate) fn below(state_dir: &Path) -> Self {
        Self(state_dir.join("output"))
    }

    /// The sequence of the last entry that was read of an enclave.
    pub(crate) fn read(&self, nitro_id: &str) -> Option<u64> {
        fs::read_to_string(self.file(nitro_id)?).ok()?.trim().parse().ok()
    }

    /// Remembers it.
    pub(crate) fn write(&self, nitro_id: &str, sequence: u64) -> io::Result<()> {
        let Some(file) = self.file(nitro_id) else { return Ok(()) };
        fs::create_dir_all(&self.0)?;
        // Not synced: a power cut ends the enclave, too.
        let beside = file.with_extension("new");
        fs::write(&beside, sequence.to_string())?;
        fs::rename(beside, file)
    }

    /// Forgets all other enclaves.
    pub(crate) fn keep(&self, nitro_ids: &BTreeSet<&str>) {
        let Ok(entries) = fs::read_dir(&self.0) else { return };
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path.file_name().and_then(|name| name.to_str());
            if !name.is_some_and(|name| nitro_ids.contains(name)) {
                // A file that stays costs a few bytes.
                let _ = fs::remove_file(path);
            }
        }
    }

    /// nitro-cli's ids are `i-…-enc…`; a name that could lead elsewhere is no file of ours.
    fn file(&self, nitro_id: &str) -> Option<PathBuf> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        (!nitro_id.is_empty() && nitro_id.chars().all(plain)).then(|| self.0.join(nitro_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_outlives_the_agent_and_ends_with_its_enclave() {
        let dir = tempfile::tempdir().unwrap();
        let positions = Positions::below(dir.path());
        assert_eq!(positions.read("i-1-enc2"), None);
        positions.write("i-1-enc2", 7).unwrap();
        positions.write("i-1-enc3", 8).unwrap();
        positions.keep(&BTreeSet::from(["i-1-enc3"]));
        let again = Positions::below(dir.path());
        assert_eq!((again.read("i-1-enc2"), again.read("i-1-enc3")), (None, Some(8)));
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let positions = Positions::below(&dir.path().join("state"));
        positions.write("../escaped", 7).unwrap();
        positions.write("", 7).unwrap();
        assert_eq!(positions.read("../escaped"), None);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
