//! A layer put over those below it (OCI image-spec 1.1, `layer.md`).

use super::ContainerError;
use crate::build::{
    ImagePath, ImagePathError,
    tree::{Contents, Node, Owner, Tree},
};
use std::{fs::File, io, sync::Arc};
use tar::EntryType;

/// A file of this name hides the one without the prefix in the layers below.
const WHITEOUT: &str = ".wh.";

/// A file of this name hides everything in its directory in the layers below.
const OPAQUE: &str = ".wh..wh..opq";

/// How many symbolic links a path may lead through.
const MAX_LINKS: usize = 40;

/// Puts the layer in `file` over `tree`.
///
/// What is hidden is hidden first, wherever in the layer it says so, for that concerns the layers
/// below and never the layer itself. Devices are left out, and so is what is below /dev, /proc and
/// /sys, where the enclave has the kernel's own.
pub(super) fn apply(tree: &mut Tree, file: &Arc<File>) -> Result<(), ContainerError> {
    for_each(file, |entry, path| hide(tree, entry, path))?;
    for_each(file, |entry, path| add(tree, file, entry, path))
}

type Entry<'a, 'f> = tar::Entry<'a, &'f File>;

fn for_each(
    file: &Arc<File>,
    mut work: impl FnMut(&mut Entry<'_, '_>, &str) -> Result<(), ContainerError>,
) -> Result<(), ContainerError> {
    let mut source: &File = file;
    io::Seek::rewind(&mut source).map_err(ContainerError::Layer)?;
    let mut archive = tar::Archive::new(source);
    for entry in archive.entries().map_err(ContainerError::Layer)? {
        let mut entry = entry.map_err(ContainerError::Layer)?;
        let path = normal(&utf8(&entry.path_bytes())?)?;
        // The root itself is nobody's to change.
        if !path.is_empty() {
            work(&mut entry, &path)?;
        }
    }
    Ok(())
}

fn hide(tree: &mut Tree, _: &Entry<'_, '_>, path: &str) -> Result<(), ContainerError> {
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    if name == OPAQUE {
        let directory = resolve(tree, directory)?;
        tree.remove_below(&directory);
    } else if let Some(hidden) = name.strip_prefix(WHITEOUT) {
        // A name of `.` or `..` would mean another place.
        let hidden = normal(hidden)?;
        if !hidden.is_empty() {
            tree.remove(&join(&resolve(tree, directory)?, &hidden));
        }
    }
    Ok(())
}

fn add(
    tree: &mut Tree,
    file: &Arc<File>,
    entry: &mut Entry<'_, '_>,
    path: &str,
) -> Result<(), ContainerError> {
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    if name.starts_with(WHITEOUT) {
        return Ok(());
    }
    let path = join(&resolve(tree, directory)?, name);
    let kind = entry.header().entry_type();
    if ["dev", "proc", "sys"].iter().any(|top| is_within(&path, top)) {
        return Ok(());
    }
    if !is_free(&path, kind == EntryType::Directory) {
        return Err(ContainerError::Reserved { path });
    }
    let node = match kind {
        EntryType::GNUSparse => {
            let err = io::Error::other(format!("`{path}` is stored with holes"));
            return Err(ContainerError::Layer(err));
        }
        EntryType::Regular | EntryType::Continuous => {
            let (offset, size) = (entry.raw_file_position(), entry.size());
            let contents = Contents::Part { file: Arc::clone(file), offset, size };
            Node::File { contents, mode: mode(entry)?, owner: owner(entry)? }
        }
        EntryType::Directory => Node::Directory { mode: mode(entry)?, owner: owner(entry)? },
        EntryType::Symlink => {
            let target = utf8(&entry.link_name_bytes().unwrap_or_default())?;
            Node::Symlink { target, owner: owner(entry)? }
        }
        EntryType::Link => {
            let target = utf8(&entry.link_name_bytes().unwrap_or_default())?;
            let found = resolve_file(tree, &normal(&target)?)?;
            // A copy: the kernel would link them, but no program can tell without changing one.
            match tree.get(&found).cloned() {
                Some(node @ (Node::File { .. } | Node::Symlink { .. })) => node,
                _ => return Err(ContainerError::Link { path, target }),
            }
        }
        // Devices and pipes.
        _ => return Ok(()),
    };
    place(tree, &path, node);
    Ok(())
}

/// A directory over a directory changes its mode and owner; everything else replaces what was there.
fn place(tree: &mut Tree, path: &str, node: Node) {
    let both = matches!(tree.get(path), Some(Node::Directory { .. }))
        && matches!(node, Node::Directory { .. });
    if !both {
        tree.remove(path);
    }
    tree.put(path, node);
}

/// The image's own files, and directories above them.
fn is_free(path: &str, is_directory: bool) -> bool {
    match path.parse::<ImagePath>() {
        Ok(_) => true,
        Err(ImagePathError::Reserved { .. }) => is_directory && path == "etc",
        Err(ImagePathError::Malformed { .. }) => false,
    }
}

/// Where a directory's path leads in the tree, whatever links are on the way.
fn resolve(tree: &Tree, path: &str) -> Result<String, ContainerError> {
    let mut left: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
    let mut found: Vec<String> = Vec::new();
    let mut links = 0;
    while let Some(part) = left.pop() {
        match part.as_str() {
            "" | "." => continue,
            ".." => {
                // Above the root is the root, as in the enclave.
                found.pop();
                continue;
            }
            _ => found.push(part),
        }
        if let Some(Node::Symlink { target, .. }) = tree.get(&found.join("/")) {
            links += 1;
            if links > MAX_LINKS {
                return Err(ContainerError::Path { path: path.to_owned() });
            }
            found.pop();
            if target.starts_with('/') {
                found.clear();
            }
            left.extend(target.split('/').rev().map(str::to_owned));
        }
    }
    Ok(found.join("/"))
}

/// Where a file's path leads: links on the way count, the file itself is not followed.
fn resolve_file(tree: &Tree, path: &str) -> Result<String, ContainerError> {
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    Ok(join(&resolve(tree, directory)?, name))
}

fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}

/// The path without empty and `.` parts; `..` is refused, since no builder of images writes it.
fn normal(path: &str) -> Result<String, ContainerError> {
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if parts.iter().any(|part| *part == ".." || part.contains('\0')) {
        return Err(ContainerError::Path { path: path.to_owned() });
    }
    Ok(parts.join("/"))
}

fn utf8(bytes: &[u8]) -> Result<String, ContainerError> {
    let lossy = || ContainerError::Path { path: String::from_utf8_lossy(bytes).into_owned() };
    String::from_utf8(bytes.to_vec()).map_err(|_| lossy())
}

fn is_within(path: &str, top: &str) -> bool {
    path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn mode(entry: &Entry<'_, '_>) -> Result<u32, ContainerError> {
    entry.header().mode().map(|mode| mode & 0o7777).map_err(ContainerError::Layer)
}

fn owner(entry: &mut Entry<'_, '_>) -> Result<Owner, ContainerError> {
    let id = |number: io::Result<u64>| {
        let number = number.map_err(ContainerError::Layer)?;
        u32::try_from(number).map_err(|err| ContainerError::Layer(io::Error::other(err)))
    };
    Ok(Owner { uid: id(entry.header().uid())?, gid: id(entry.header().gid())? })
}
