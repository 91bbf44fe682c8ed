//! A workload's files from a directory, and single ones.

use super::{
    ImagePath, ImagePathError,
    tree::{Contents, Node, Tree},
};
use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
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

/// Permission bits, set-user-id, set-group-id and sticky bits included.
const PERMISSIONS: u32 = 0o7777;

/// Adds single files, none of which may be where another one is already.
pub(super) fn add(tree: &mut Tree, files: &[WorkloadFile]) -> Result<(), FilesError> {
    for WorkloadFile { path, source, mode } in files {
        let node = Node::file(Contents::File(source.clone()), mode & PERMISSIONS);
        if tree.put(path.as_entry_name(), node) {
            return Err(FilesError::Duplicate { path: path.to_string() });
        }
    }
    Ok(())
}

/// Adds all that is below a directory: everything is root's, and of the permissions only whether the
/// owner may execute counts, since the others depend on who checked the files out and how.
pub(super) fn add_directory(tree: &mut Tree, directory: &Path) -> Result<(), FilesError> {
    add_below(tree, directory, "")
}

fn add_below(tree: &mut Tree, directory: &Path, above: &str) -> Result<(), FilesError> {
    let failed = |source| FilesError::Read { path: directory.to_owned(), source };
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let source = entry.path();
        let name = entry.file_name().into_string();
        let name = name.map_err(|_| FilesError::NotUtf8 { path: source.clone() })?;
        let path = if above.is_empty() { name } else { format!("{above}/{name}") };
        let failed = |err| FilesError::Read { path: source.clone(), source: err };
        let metadata = fs::symlink_metadata(&source).map_err(failed)?;
        if metadata.is_dir() {
            tree.put(check(&path, true)?, Node::directory(0o755));
            add_below(tree, &source, &path)?;
        } else if metadata.is_symlink() {
            let target = fs::read_link(&source).map_err(failed)?;
            let target =
                target.to_str().ok_or_else(|| FilesError::NotUtf8 { path: source.clone() })?;
            tree.put(check(&path, false)?, Node::symlink(target));
        } else if metadata.is_file() {
            let executable = metadata.permissions().mode() & 0o100 != 0;
            let mode = if executable { 0o755 } else { 0o644 };
            let contents = Contents::File(source.clone());
            tree.put(check(&path, false)?, Node::file(contents, mode));
        } else {
            return Err(FilesError::Special { path: source });
        }
    }
    Ok(())
}

/// Directories above the image's own files may be there; nothing else may.
fn check(path: &str, is_directory: bool) -> Result<&str, FilesError> {
    match path.parse::<ImagePath>() {
        Err(ImagePathError::Reserved { .. }) if is_directory && path == "etc" => Ok(path),
        Err(err) => Err(FilesError::Path(err)),
        Ok(_) => Ok(path),
    }
}

/// Why files cannot become part of an image.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// Two files of the workload are to be at one place, or one inside the other.
    #[error("`{path}` is taken by another file of the workload")]
    Duplicate {
        /// The place.
        path: String,
    },
    /// A name is not UTF-8.
    #[error("the name of {} is not UTF-8", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
    },
    /// A path in the enclave cannot be used.
    #[error("a path cannot be used")]
    Path(#[source] ImagePathError),
    /// A file or directory cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// What.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A socket, device or pipe.
    #[error("{} is neither a file nor a directory nor a link", path.display())]
    Special {
        /// What.
        path: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_directorys_permissions_are_made_plain() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        fs::create_dir_all(at("etc/app")).unwrap();
        fs::write(at("etc/app/conf"), "x").unwrap();
        fs::write(at("run.sh"), "x").unwrap();
        fs::set_permissions(at("etc/app"), fs::Permissions::from_mode(0o700)).unwrap();
        fs::set_permissions(at("etc/app/conf"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(at("run.sh"), fs::Permissions::from_mode(0o711)).unwrap();
        symlink("run.sh", at("start")).unwrap();
        let mut tree = Tree::default();
        add_directory(&mut tree, dir.path()).unwrap();
        let found: Vec<String> = tree
            .nodes()
            .map(|(path, node)| match node {
                Node::Directory { mode, .. } => format!("{path} d {mode:o}"),
                Node::File { mode, .. } => format!("{path} - {mode:o}"),
                Node::Symlink { target, .. } => format!("{path} -> {target}"),
                Node::Console => format!("{path} c"),
            })
            .collect();
        let expected =
            ["etc d 755", "etc/app d 755", "etc/app/conf - 644", "run.sh - 755", "start -> run.sh"];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_would_replace_the_images_own_files_is_refused() {
        for path in ["keep", "init", "dev/null", "etc/bailey/workload.json"] {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
            let outcome = add_directory(&mut Tree::default(), dir.path());
            assert!(matches!(outcome, Err(FilesError::Path(_))), "{path}");
        }
    }
}
