//! Ramdisks: gzip-compressed cpio archives in the `newc` format that the kernel unpacks.

use super::{
    Kernel,
    tree::{Contents, Node, Owner, Tree},
};
use cpio::newc::{self, ModeFileType};
use flate2::{Compression, GzBuilder};
use std::{
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

/// The first ramdisk: `keep` and what it needs to come up.
pub(super) fn base(keep: &Path, kernel: &Kernel) -> Tree {
    let mut tree = Tree::default();
    for directory in ["dev", "etc", "proc", "run", "sys"] {
        tree.put(directory, Node::directory(0o755));
    }
    tree.put("tmp", Node::directory(0o1777));
    // The kernel opens it as init's standard streams before init can mount anything.
    tree.put("dev/console", Node::Console);
    tree.put("keep", Node::file(Contents::File(keep.to_owned()), 0o755));
    tree.put("init", Node::symlink("keep"));
    let mut list = Vec::with_capacity(kernel.modules.len());
    for module in &kernel.modules {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        // Not below /lib, which is a link in many images of containers.
        let path = format!("etc/bailey/drivers/{name}");
        list.push(format!("/{path}\n"));
        tree.put(&path, Node::file(Contents::File(module.clone()), 0o644));
    }
    tree.put("etc/bailey/modules", Node::file(Contents::text(&list.concat()), 0o644));
    let profile = format!("{}\n", kernel.profile);
    tree.put(PROFILE_PATH, Node::file(Contents::text(&profile), 0o644));
    tree
}

/// Where an image says which kernel profile it has.
pub(crate) const PROFILE_PATH: &str = "etc/bailey/profile";

/// Writes the compressed archive of a tree.
pub(super) fn write(tree: &Tree, target: impl Write) -> Result<(), RamdiskError> {
    // The header's time, name and system are fixed, so that only the contents matter.
    let mut archive = GzBuilder::new().mtime(0).operating_system(255).write(target, LEVEL);
    for (inode, (path, node)) in (1_u32..).zip(tree.nodes()) {
        write_node(node, inode, path, &mut archive)?;
    }
    let archive = newc::trailer(archive).map_err(RamdiskError::Write)?;
    archive.finish().map(drop).map_err(RamdiskError::Write)
}

/// Fixed, because the level changes the bytes and with them the measurements.
const LEVEL: Compression = Compression::new(6);

fn write_node(
    node: &Node,
    inode: u32,
    path: &str,
    archive: &mut impl Write,
) -> Result<(), RamdiskError> {
    let entry = newc::Builder::new(path).ino(inode);
    match node {
        // Character device 5:1 is the system console (Documentation/admin-guide/devices.txt).
        Node::Console => {
            let entry = entry.mode(0o600).set_mode_file_type(ModeFileType::Char);
            write_entry(entry.rdev_major(5).rdev_minor(1), 0, io::empty(), archive)
        }
        Node::Directory { mode, owner } => {
            let entry = owned(entry, *owner).mode(*mode).nlink(2);
            let entry = entry.set_mode_file_type(ModeFileType::Directory);
            write_entry(entry, 0, io::empty(), archive)
        }
        Node::File { contents, mode, owner } => {
            let entry = owned(entry, *owner).mode(*mode);
            let entry = entry.set_mode_file_type(ModeFileType::Regular);
            let failed = |source| RamdiskError::Read { path: path.into(), source };
            let (size, body) = contents.open().map_err(failed)?;
            let size = u32::try_from(size)
                .map_err(|_| RamdiskError::TooLarge { path: path.into(), size })?;
            write_entry(entry, size, body, archive)
        }
        Node::Symlink { target, owner } => {
            let entry = owned(entry, *owner).mode(0o777);
            let entry = entry.set_mode_file_type(ModeFileType::Symlink);
            let size = u32::try_from(target.len()).unwrap_or(u32::MAX);
            write_entry(entry, size, target.as_bytes(), archive)
        }
    }
}

fn owned(entry: newc::Builder, owner: Owner) -> newc::Builder {
    entry.uid(owner.uid).gid(owner.gid)
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
    /// A file's contents cannot be read.
    #[error("cannot read what is to become /{}", path.display())]
    Read {
        /// Where it was to be in the enclave.
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
    #[error("/{} has {size} bytes, a ramdisk's files have less than 4 GiB", path.display())]
    TooLarge {
        /// Where it was to be in the enclave.
        path: PathBuf,
        /// Its size, in bytes.
        size: u64,
    },
    /// The archive cannot be written.
    #[error("cannot copy into the archive")]
    Write(#[source] io::Error),
}
