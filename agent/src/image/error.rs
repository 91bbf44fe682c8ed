//! Why an image is not on the disk.

use super::{
    landing::{LandError, Proof},
    object::ObjectError,
};
use crate::ports::Cause;
use bailey_model::{Pcr, failure::FailureCode};
use std::{io, path::PathBuf};

/// Why a fetch failed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The cache cannot take it.
    #[error("cannot keep the image on the parent's disk")]
    Cache(#[source] CacheError),
    /// The work was interrupted inside the agent.
    #[error("the fetch was interrupted")]
    Interrupted,
    /// The bytes are not a good image, or the disk refused them.
    #[error(transparent)]
    Land(LandError),
    /// S3 did not give it.
    #[error(transparent)]
    Object(ObjectError),
    /// The file is not the one that the record names.
    #[error("the object's SHA-384 is {found}, eif_sha384 is {wanted}")]
    Sha384 {
        /// The hash that the record demands.
        wanted: Pcr,
        /// The hash of what was read.
        found: Pcr,
    },
}

impl FetchError {
    /// Whether reading the object from its start may end better: what was read is not proven to be
    /// what S3 has, or S3 has something else by now.
    pub(super) fn may_be_damage(&self) -> bool {
        matches!(
            self,
            Self::Land(
                LandError::Cut { .. }
                    | LandError::Damaged(_)
                    | LandError::Eif { proof: Proof::None, .. }
                    | LandError::Read { .. }
            ) | Self::Object(ObjectError::Changed { .. })
        )
    }
}

impl Cause for FetchError {
    fn code(&self) -> FailureCode {
        match self {
            Self::Cache(source) => source.code(),
            Self::Interrupted => FailureCode::EifFetchFailed,
            Self::Land(LandError::Eif { .. }) => FailureCode::EifInvalid,
            Self::Land(LandError::Cut { .. } | LandError::Damaged(_)) => {
                FailureCode::EifFetchFailed
            }
            Self::Land(LandError::Read { source, .. } | LandError::Write { source, .. }) => {
                disk_code(source)
            }
            Self::Object(source) => source.code(),
            Self::Sha384 { .. } => FailureCode::MeasurementMismatch,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Cache(CacheError::Limit { .. }) => {
                Some("raise cache_limit_mib of the agent, or end an enclave on this parent")
            }
            Self::Land(LandError::Damaged(_)) => {
                Some("deploy again; if it stays so, the parent's disk or memory is failing")
            }
            Self::Sha384 { .. } => Some(
                "the object at eif_path is not the file that eif_sha384 describes; publish the \
                 right image or correct eif_sha384",
            ),
            _ => None,
        }
    }
}

/// Why the cache cannot take an image.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// A file cannot be made.
    #[error("cannot create `{}`", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The directory cannot be used.
    #[error("cannot use the cache in `{}`", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The disk is too full.
    #[error("`{}` needs {needed_bytes} bytes, {free_bytes} are free", path.display())]
    DiskFull {
        /// The cache's directory.
        path: PathBuf,
        /// What must be free, the agent's reserve included.
        needed_bytes: u64,
        /// What is free.
        free_bytes: u64,
    },
    /// The cache's limit is too low.
    #[error(
        "the image of {size_bytes} bytes does not fit beside {held_bytes} bytes in use, the cache \
         may hold {limit_bytes}"
    )]
    Limit {
        /// The image's size.
        size_bytes: u64,
        /// What is in the cache and cannot be evicted.
        held_bytes: u64,
        /// What the cache may hold.
        limit_bytes: u64,
    },
}

impl CacheError {
    fn code(&self) -> FailureCode {
        match self {
            Self::Create { source, .. } | Self::Directory { source, .. } => disk_code(source),
            Self::DiskFull { .. } | Self::Limit { .. } => FailureCode::HostDiskFull,
        }
    }
}

/// A disk that is full needs room; any other that refuses needs somebody who looks at it.
fn disk_code(source: &io::Error) -> FailureCode {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            FailureCode::HostDiskFull
        }
        _ => FailureCode::HostDiskUnusable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;

    #[test]
    fn a_full_disk_is_told_from_one_that_may_not_be_written() {
        let code = |errno: Errno| {
            FetchError::Land(LandError::Write { path: "x".into(), source: errno.into() }).code()
        };
        for errno in [Errno::ENOSPC, Errno::EDQUOT, Errno::EFBIG] {
            assert_eq!(code(errno), FailureCode::HostDiskFull, "{errno}");
        }
        for errno in [Errno::EACCES, Errno::EPERM, Errno::EROFS, Errno::EIO] {
            assert_eq!(code(errno), FailureCode::HostDiskUnusable, "{errno}");
        }
    }
}
