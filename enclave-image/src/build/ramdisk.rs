//! Ramdisks: gzip-compressed cpio archives in the `newc` format that the kernel unpacks.

use super::{ImagePath, Kernel};
use cpio::newc::{self, ModeFileType};
use flate2::{Compression, GzBuilder};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

/// A file of the workload.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WorkloadFile {
    /// Where it is in the enclave.
    pub path: ImagePath,
    /// Where its contents are now.
    pub source: PathBuf,
    /// Its permission bits, such as `0o755`.
    pub mode: u32,
}

/// A ramdisk in the making: what is at each path, parents before children by the map's order.
#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: BTreeMap<String, Node>,
}

#[derive(Debug)]
enum Node {
    Console,
    Directory { mode: u32 },
    File { source: PathBuf, mode: u32 },
    Symlink { target: &'static str },
    Text { text: String },
}

/// The first ramdisk: `keep` and what it needs to come up.
pub(super) fn base(keep: &Path, kernel: &Kernel) -> Tree {
    let mut tree = Tree::default();
    for directory in ["dev", "etc", "proc", "run", "sys"] {
        tree.add(directory, Node::Directory { mode: 0o755 });
    }
    tree.add("tmp", Node::Directory { mode: 0o1777 });
    // The kernel opens it as init's standard streams before init can mount anything.
    tree.add("dev/console", Node::Console);
    tree.add("keep", Node::File { source: keep.to_owned(), mode: 0o755 });
    tree.add("init", Node::Symlink { target: "keep" });
    let mut list = Vec::with_capacity(kernel.modules.len());
    for module in &kernel.modules {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        let path = format!("lib/modules/{name}");
        list.push(format!("/{path}\n"));
        tree.add(&path, Node::File { source: module.clone(), mode: 0o644 });
    }
    tree.add("etc/bailey/modules", Node::Text { text: list.concat() });
    tree
}

/// The second ramdisk: the workload.
pub(super) fn workload(files: &[WorkloadFile]) -> Result<Tree, RamdiskError> {
    let mut tree = Tree::default();
    for WorkloadFile { path, source, mode } in files {
        let node = Node::File { source: source.clone(), mode: mode & PERMISSIONS };
        if tree.add(path.as_entry_name(), node) {
            return Err(RamdiskError::Duplicate { path: path.to_string() });
        }
    }
    Ok(tree)
}

/// Permission bits, set-user-id, set-group-id and sticky bits included.
const PERMISSIONS: u32 = 0o7777;

impl Tree {
    /// Adds a node and the directories above it; whether something else was there.
    fn add(&mut self, path: &str, node: Node) -> bool {
        let mut taken = false;
        for (end, _) in path.match_indices('/') {
            let parent = path.get(..end).unwrap_or_default().to_owned();
            let above = self.nodes.entry(parent).or_insert(Node::Directory { mode: 0o755 });
            taken |= !matches!(above, Node::Directory { .. });
        }
        taken | self.nodes.insert(path.to_owned(), node).is_some()
    }

    /// Writes the compressed archive.
    pub(super) fn write_to(&self, target: impl Write) -> Result<(), RamdiskError> {
        // The header's time, name and system are fixed, so that only the contents matter.
        let mut archive = GzBuilder::new().mtime(0).operating_system(255).write(target, LEVEL);
        for (inode, (path, node)) in (1_u32..).zip(&self.nodes) {
            node.write(inode, path, &mut archive)?;
        }
        let archive = newc::trailer(archive).map_err(RamdiskError::Write)?;
        archive.finish().map(drop).map_err(RamdiskError::Write)
    }
}

/// Fixed, because the level changes the bytes and with them the measurements.
const LEVEL: Compression = Compression::new(6);

impl Node {
    fn write(&self, inode: u32, path: &str, archive: &mut impl Write) -> Result<(), RamdiskError> {
        let entry = newc::Builder::new(path).ino(inode);
        match self {
            // Character device 5:1 is the system console (Documentation/admin-guide/devices.txt).
            Self::Console => {
                let entry = entry.mode(0o600).set_mode_file_type(ModeFileType::Char);
                write_entry(entry.rdev_major(5).rdev_minor(1), 0, io::empty(), archive)
            }
            Self::Directory { mode } => {
                let entry = entry.mode(*mode).nlink(2).set_mode_file_type(ModeFileType::Directory);
                write_entry(entry, 0, io::empty(), archive)
            }
            Self::File { source, mode } => {
                let entry = entry.mode(*mode).set_mode_file_type(ModeFileType::Regular);
                write_file(entry, source, archive)
            }
            Self::Symlink { target } => {
                let entry = entry.mode(0o777).set_mode_file_type(ModeFileType::Symlink);
                write_bytes(entry, target.as_bytes(), archive)
            }
            Self::Text { text } => {
                let entry = entry.mode(0o644).set_mode_file_type(ModeFileType::Regular);
                write_bytes(entry, text.as_bytes(), archive)
            }
        }
    }
}

fn write_file(
    entry: newc::Builder,
    path: &Path,
    archive: &mut impl Write,
) -> Result<(), RamdiskError> {
    let failed = |source| RamdiskError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(RamdiskError::NotAFile { path: path.to_owned() });
    }
    let size = u32::try_from(metadata.len())
        .map_err(|_| RamdiskError::TooLarge { path: path.to_owned(), size: metadata.len() })?;
    write_entry(entry, size, file, archive)
}

fn write_bytes(
    entry: newc::Builder,
    bytes: &[u8],
    archive: &mut impl Write,
) -> Result<(), RamdiskError> {
    // Link targets and lists of modules are short.
    write_entry(entry, u32::try_from(bytes.len()).unwrap_or(u32::MAX), bytes, archive)
}

/// Writes one entry whose body has exactly `size` bytes.
fn write_entry(
    entry: newc::Builder,
    size: u32,
    body: impl Read,
    archive: &mut impl Write,
) -> Result<(), RamdiskError> {
    let mut writer = entry.write(archive, size);
    let wanted = u64::from(size);
    // A file that shrinks meanwhile would shift every entry after it.
    let copied = io::copy(&mut body.take(wanted), &mut writer).map_err(RamdiskError::Write)?;
    if copied != wanted {
        return Err(RamdiskError::Shrunk { wanted, copied });
    }
    writer.finish().map(drop).map_err(RamdiskError::Write)
}

/// Why a ramdisk cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum RamdiskError {
    /// Two files of the workload are to be at one place, or one inside the other.
    #[error("`{path}` is taken by another file of the workload")]
    Duplicate {
        /// The place.
        path: String,
    },
    /// A source is a directory or something else without contents.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// The source.
        path: PathBuf,
    },
    /// A source cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The source.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A source was changed while it was copied.
    #[error("a file had {wanted} bytes and then only {copied}")]
    Shrunk {
        /// Its size before.
        wanted: u64,
        /// How many bytes came.
        copied: u64,
    },
    /// The format has 32 bits for a file's size.
    #[error("{} has {size} bytes, a ramdisk's files have less than 4 GiB", path.display())]
    TooLarge {
        /// The source.
        path: PathBuf,
        /// Its size, in bytes.
        size: u64,
    },
    /// The archive cannot be written.
    #[error("cannot copy into the archive")]
    Write(#[source] io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_files_at_one_place_are_refused() {
        let file = |path: &str| WorkloadFile {
            path: path.parse().unwrap(),
            source: "/dev/null".into(),
            mode: 0o644,
        };
        for (first, second) in [("a", "/a"), ("a", "a/b"), ("a/b", "a")] {
            let outcome = workload(&[file(first), file(second)]);
            assert!(matches!(outcome, Err(RamdiskError::Duplicate { .. })), "{first} {second}");
        }
        assert!(workload(&[file("a/b"), file("a/c")]).is_ok());
    }
}
