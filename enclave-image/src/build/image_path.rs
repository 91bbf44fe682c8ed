//! Paths in the enclave.

use std::{fmt, path::Path, str::FromStr};

/// A path in the enclave, relative to its root: no empty, `.` or `..` component, and none of the
/// paths that the image itself needs.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ImagePath(String);

/// The kernel unpacks all ramdisks over each other, so a workload's file could replace these.
const RESERVED: [&str; 6] = ["init", "keep", "dev", "proc", "sys", "etc/bailey"];

impl FromStr for ImagePath {
    type Err = ImagePathError;

    fn from_str(text: &str) -> Result<Self, ImagePathError> {
        let path = text.strip_prefix('/').unwrap_or(text);
        let bad = |part: &str| matches!(part, "" | "." | "..") || part.contains('\0');
        if path.split('/').any(bad) {
            return Err(ImagePathError::Malformed { path: text.to_owned() });
        }
        let within = |path: &str, above: &str| Path::new(path).starts_with(above);
        if RESERVED.iter().any(|reserved| within(path, reserved) || within(reserved, path)) {
            return Err(ImagePathError::Reserved { path: text.to_owned() });
        }
        Ok(Self(path.to_owned()))
    }
}

impl ImagePath {
    /// The path as an archive has it: without a leading slash.
    pub(super) fn as_entry_name(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ImagePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.0)
    }
}

/// Why a text is not an [`ImagePath`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ImagePathError {
    /// It could mean another place, or none.
    #[error("`{path}` is not a path below the image's root")]
    Malformed {
        /// The text.
        path: String,
    },
    /// The image needs that place itself.
    #[error("`{path}` belongs to the image itself")]
    Reserved {
        /// The text.
        path: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_escape_or_replace_the_images_own_files_are_refused() {
        for text in ["", "/", "a//b", "../a", "a/./b", "a/", "a\0"] {
            let expected = ImagePathError::Malformed { path: text.to_owned() };
            assert_eq!(text.parse::<ImagePath>(), Err(expected));
        }
        for text in ["/init", "keep", "keep/x", "/etc/bailey/modules", "dev/console", "etc"] {
            let expected = ImagePathError::Reserved { path: text.to_owned() };
            assert_eq!(text.parse::<ImagePath>(), Err(expected));
        }
        assert_eq!("/app/keeper".parse::<ImagePath>().unwrap().to_string(), "/app/keeper");
    }
}
