//! Why an image is not on the disk.

use super::{landing::LandError, object::ObjectError};
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

impl Cause for FetchError {
    fn code(&self) -> FailureCode {
        match self {
            Self::Land(LandError::Eif(_)) => FailureCode::EifInvalid,
            Self::Cache(_) | Self::Interrupted | Self::Land(_) => FailureCode::EifFetchFailed,
            Self::Object(source) => source.code(),
            Self::Sha384 { .. } => FailureCode::MeasurementMismatch,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Cache(_) | Self::Land(LandError::Write { .. } | LandError::Read { .. }) => {
                Some("give the parent a larger disk, or raise cache_limit_mib of the agent")
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
