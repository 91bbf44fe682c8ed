//! What is at each path of a ramdisk, before it is written.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Cursor, Read},
    ops::Bound,
    os::unix::fs::FileExt as _,
    path::PathBuf,
    sync::Arc,
};

/// A ramdisk in the making: parents before children by the map's order, and nothing twice.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    nodes: BTreeMap<String, Node>,
}

/// One path of a ramdisk.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Console,
    Directory { mode: u32, owner: Owner },
    File { contents: Contents, mode: u32, owner: Owner },
    Symlink { target: String, owner: Owner },
}

/// Whose a path is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Where a file's bytes are.
#[derive(Clone, Debug)]
pub(super) enum Contents {
    Bytes(Arc<[u8]>),
    File(PathBuf),
    /// A part of a larger file.
    Part {
        file: Arc<File>,
        offset: u64,
        size: u64,
    },
}

impl Node {
    pub(super) fn directory(mode: u32) -> Self {
        Self::Directory { mode, owner: Owner::default() }
    }

    pub(super) fn file(contents: Contents, mode: u32) -> Self {
        Self::File { contents, mode, owner: Owner::default() }
    }

    pub(super) fn symlink(target: &str) -> Self {
        Self::Symlink { target: target.to_owned(), owner: Owner::default() }
    }
}

impl Contents {
    pub(super) fn text(text: &str) -> Self {
        Self::Bytes(text.as_bytes().into())
    }

    /// The size in bytes, and the bytes.
    pub(super) fn open(&self) -> io::Result<(u64, Box<dyn Read>)> {
        match self {
            Self::Bytes(bytes) => {
                let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                Ok((size, Box::new(Cursor::new(Arc::clone(bytes)))))
            }
            Self::File(path) => {
                let file = File::open(path)?;
                let metadata = file.metadata()?;
                if metadata.is_file() {
                    Ok((metadata.len(), Box::new(file)))
                } else {
                    Err(io::Error::other(format!("{} is not a regular file", path.display())))
                }
            }
            Self::Part { file, offset, size } => {
                let part = Part { file: Arc::clone(file), offset: *offset, left: *size };
                Ok((*size, Box::new(part)))
            }
        }
    }

    /// All of it, at most `limit` bytes.
    pub(super) fn read(&self, limit: u64) -> io::Result<Vec<u8>> {
        let (size, body) = self.open()?;
        if size > limit {
            return Err(io::Error::other(format!("{size} bytes are more than {limit}")));
        }
        let mut bytes = Vec::new();
        body.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Reads a part of a file without moving the position that others read at.
#[derive(Debug)]
struct Part {
    file: Arc<File>,
    offset: u64,
    left: u64,
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read_at(buffer.get_mut(..most).unwrap_or_default(), self.offset)?;
        let moved = u64::try_from(count).unwrap_or(u64::MAX);
        self.offset = self.offset.saturating_add(moved);
        self.left = self.left.saturating_sub(moved);
        Ok(count)
    }
}

impl Tree {
    /// Puts a node at a path, and directories above it where nothing is; whether something that is
    /// no directory, or a file of that very name, was in the way.
    pub(super) fn put(&mut self, path: &str, node: Node) -> bool {
        let mut taken = false;
        for (end, _) in path.match_indices('/') {
            let parent = path.get(..end).unwrap_or_default().to_owned();
            let above = self.nodes.entry(parent).or_insert_with(|| Node::directory(0o755));
            taken |= !matches!(above, Node::Directory { .. });
        }
        taken | self.nodes.insert(path.to_owned(), node).is_some()
    }

    /// Removes a path with all that is below it; whether it was there.
    pub(super) fn remove(&mut self, path: &str) -> bool {
        self.remove_below(path);
        self.nodes.remove(path).is_some()
    }

    /// Removes all that is below a path; `""` is the root.
    pub(super) fn remove_below(&mut self, path: &str) {
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let from = Bound::Included(prefix.clone());
        let below: Vec<String> = self
            .nodes
            .range((from, Bound::Unbounded))
            .map(|(path, _)| path)
            .take_while(|path| path.starts_with(&prefix))
            .cloned()
            .collect();
        for path in below {
            self.nodes.remove(&path);
        }
    }

    pub(super) fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Every path, in order.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_str(), node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Node {
        Node::file(Contents::text("x"), 0o644)
    }

    #[test]
    fn two_things_at_one_place_are_noticed() {
        for (first, second) in [("a", "a"), ("a", "a/b"), ("a/b", "a")] {
            let mut tree = Tree::default();
            assert!(!tree.put(first, file()));
            assert!(tree.put(second, file()), "{first} {second}");
        }
        let mut tree = Tree::default();
        assert!(!tree.put("a/b", file()) && !tree.put("a/c", file()));
    }

    #[test]
    fn a_path_is_removed_with_what_is_below_it_and_nothing_else() {
        let mut tree = Tree::default();
        for path in ["a/b/c", "a/b/d", "a/b-c", "a/bc"] {
            tree.put(path, file());
        }
        assert!(tree.remove("a/b") && !tree.remove("a/b"));
        assert_eq!(tree.nodes().map(|(path, _)| path).collect::<Vec<_>>(), ["a", "a/b-c", "a/bc"]);
        tree.remove_below("");
        assert!(tree.is_empty());
    }

    #[test]
    fn a_part_of_a_file_is_read_whatever_others_read() {
        let mut whole = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut whole, b"0123456789").unwrap();
        let part = Contents::Part { file: Arc::new(whole), offset: 2, size: 5 };
        assert_eq!(part.read(5).unwrap(), b"23456");
        assert_eq!(part.read(5).unwrap(), b"23456");
        assert!(part.read(4).is_err());
    }
}
