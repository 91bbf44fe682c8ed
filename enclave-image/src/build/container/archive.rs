//! The parts of an image by name, in a tar file or in a directory.

use super::{ContainerError, scratch_file};
use crate::build::tree::Contents;
use aws_lc_rs::digest::{Context, SHA256};
use flate2::read::MultiGzDecoder;
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufReader, Read, Seek as _},
    path::{Path, PathBuf},
    sync::Arc,
};

/// The parts of an image.
#[derive(Debug)]
pub(super) enum Archive {
    Directory(PathBuf),
    Tar(BTreeMap<String, Contents>),
}

/// The largest description: manifests and configurations are some kB.
const MAX_JSON_BYTES: u64 = 8 * 1024 * 1024;

impl Archive {
    pub(super) fn open(path: &Path, scratch: &Path) -> Result<Self, ContainerError> {
        let failed = |source| ContainerError::Read { path: path.to_owned(), source };
        if path.is_dir() {
            return Ok(Self::Directory(path.to_owned()));
        }
        let (file, _) = unpacked(&Contents::File(path.to_owned()), scratch)?;
        let file = Arc::new(file);
        let mut parts = BTreeMap::new();
        let mut archive = tar::Archive::new(BufReader::new(file.as_ref()));
        for entry in archive.entries().map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let name = name.trim_start_matches("./").to_owned();
            if let Some(target) = entry.link_name_bytes() {
                // `docker save` links layers that several images have.
                let target = String::from_utf8_lossy(&target).into_owned();
                let target = beside(&name, &target, entry.header().entry_type().is_symlink());
                if let Some(contents) = parts.get(&target).cloned() {
                    parts.insert(name, contents);
                }
                continue;
            }
            let (offset, size) = (entry.raw_file_position(), entry.size());
            parts.insert(name, Contents::Part { file: Arc::clone(&file), offset, size });
        }
        Ok(Self::Tar(parts))
    }

    /// A part, if it is there.
    pub(super) fn get(&self, name: &str) -> Option<Contents> {
        match self {
            Self::Directory(directory) => {
                let inside = !name.starts_with('/') && !name.split('/').any(|part| part == "..");
                let path = directory.join(name);
                (inside && path.is_file()).then_some(Contents::File(path))
            }
            Self::Tar(parts) => parts.get(name).cloned(),
        }
    }

    /// A part that has to be there.
    pub(super) fn part(&self, name: &str) -> Result<Contents, ContainerError> {
        self.get(name).ok_or_else(|| ContainerError::Missing { name: name.to_owned() })
    }

    /// A part that is JSON.
    pub(super) fn json(&self, name: &str) -> Result<Vec<u8>, ContainerError> {
        let failed = |source| ContainerError::TooLarge { name: name.to_owned(), source };
        self.part(name)?.read(MAX_JSON_BYTES).map_err(failed)
    }

    /// The blob with this digest (`sha256:` and hex), checked to be that.
    pub(super) fn blob_json(&self, digest: &str) -> Result<Vec<u8>, ContainerError> {
        let bytes = self.json(&blob_name(digest)?)?;
        let found =
            sha256(&mut bytes.as_slice(), &mut io::sink()).map_err(ContainerError::Layer)?;
        if found == digest {
            Ok(bytes)
        } else {
            Err(ContainerError::Digest { wanted: digest.to_owned(), found })
        }
    }
}

/// Where the OCI layout has the blob with this digest.
pub(super) fn blob_name(digest: &str) -> Result<String, ContainerError> {
    match digest.strip_prefix("sha256:") {
        Some(hex) if hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            Ok(format!("blobs/sha256/{hex}"))
        }
        _ => Err(ContainerError::Missing { name: digest.to_owned() }),
    }
}

/// The target of a link in the archive: beside a symbolic link, from the top for a hard one.
fn beside(name: &str, target: &str, is_symbolic: bool) -> String {
    let mut parts: Vec<&str> = if is_symbolic { name.split('/').collect() } else { Vec::new() };
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The bytes, unpacked when they are gzip, in a file; and the digest of what is in it.
pub(super) fn unpacked(
    contents: &Contents,
    scratch: &Path,
) -> Result<(File, String), ContainerError> {
    let (_, body) = contents.open().map_err(ContainerError::Layer)?;
    let mut body = BufReader::new(body);
    let mut file = scratch_file(scratch)?;
    let gzip = io::BufRead::fill_buf(&mut body).map_err(ContainerError::Layer)?.starts_with(GZIP);
    let digest = if gzip {
        sha256(&mut MultiGzDecoder::new(body), &mut file)
    } else {
        sha256(&mut body, &mut file)
    };
    let digest = digest.map_err(ContainerError::Layer)?;
    file.rewind().map_err(ContainerError::Scratch)?;
    Ok((file, digest))
}

/// RFC 1952, section 2.3.1.
const GZIP: &[u8] = &[0x1f, 0x8b];

/// Copies, and says the digest of what was copied.
fn sha256(source: &mut impl Read, target: &mut impl io::Write) -> io::Result<String> {
    let mut hash = Context::new(&SHA256);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let count = match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
            Err(err) => return Err(err),
        };
        let bytes = buffer.get(..count).unwrap_or_default();
        hash.update(bytes);
        target.write_all(bytes)?;
    }
    Ok(format!("sha256:{}", hex::encode(hash.finish())))
}
