//! What this parent's image says of itself: the manifest that `ami/provision` bakes in.
//!
//! Its identity, the SHA-256 of its bytes, goes into every report, so that whoever built an image can tell
//! which parents were made of it. It is a claim like everything that a parent says: see `THREATS.md`.

use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The identity of the manifest at `path`, as `sha256:<hex>`; none where there is no manifest.
pub fn identity(path: &Path) -> Result<Option<String>, ManifestError> {
    Ok(bytes(path)?.map(|bytes| format!("sha256:{}", sha256(&bytes))))
}

/// The files that are not what the manifest at `path` says, each in words; none where there is no
/// manifest.
pub fn differences(path: &Path) -> Result<Option<Vec<String>>, ManifestError> {
    let Some(bytes) = bytes(path)? else { return Ok(None) };
    let manifest: Manifest = serde_json::from_slice(&bytes)
        .map_err(|source| ManifestError::Parse { path: path.to_owned(), source })?;
    Ok(Some(manifest.files.iter().filter_map(BakedFile::difference).collect()))
}

/// The part of a manifest that can be looked at again.
#[derive(Debug, Deserialize)]
struct Manifest {
    files: Vec<BakedFile>,
}

/// A file that was baked in.
#[derive(Debug, Deserialize)]
struct BakedFile {
    path: PathBuf,
    /// Of its bytes, in hex.
    sha256: String,
}

impl BakedFile {
    fn difference(&self) -> Option<String> {
        match fs::read(&self.path) {
            Ok(bytes) if sha256(&bytes) == self.sha256 => None,
            Ok(_) => Some(format!("`{}` was changed", self.path.display())),
            Err(error) => Some(format!("`{}`: {error}", self.path.display())),
        }
    }
}

fn bytes(path: &Path) -> Result<Option<Vec<u8>>, ManifestError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ManifestError::Read { path: path.to_owned(), source }),
    }
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Why a manifest says nothing.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is none.
    #[error("`{}` is not a manifest of a parent's image", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The parser's reason.
        source: serde_json::Error,
    },
    /// It cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_that_was_not_made_from_an_image_has_no_identity() {
        let path = tempfile::tempdir().unwrap().path().join("none.json");
        assert_eq!(identity(&path).unwrap(), None);
        assert_eq!(differences(&path).unwrap(), None);
    }

    #[test]
    fn the_identity_is_that_of_the_manifests_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("manifest.json");
        fs::write(&path, "abc").unwrap();
        let abc = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(identity(&path).unwrap().unwrap(), abc);
        assert!(matches!(differences(&path), Err(ManifestError::Parse { .. })));
    }

    #[test]
    fn a_file_that_was_changed_or_removed_since_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name);
        let mut files = Vec::new();
        for name in ["same", "changed", "removed"] {
            fs::write(file(name), name).unwrap();
            files
                .push(serde_json::json!({ "path": file(name), "sha256": sha256(name.as_bytes()) }));
        }
        let path = file("manifest.json");
        fs::write(&path, serde_json::json!({ "schema": 1, "files": files }).to_string()).unwrap();
        assert_eq!(differences(&path).unwrap(), Some(vec![]));

        fs::write(file("changed"), "otherwise").unwrap();
        fs::remove_file(file("removed")).unwrap();
        let found = differences(&path).unwrap().unwrap();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].ends_with("changed` was changed"), "{found:?}");
        assert!(found[1].contains("removed`: "), "{found:?}");
    }
}
