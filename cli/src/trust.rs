//! The roots that flags name.

use crate::exit::Advise;
use bailey_attestation::{FingerprintError, RootFingerprint, TrustedRoots};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The roots in these PEM files; AWS's when there are none.
pub(crate) fn trusted(files: &[PathBuf]) -> Result<TrustedRoots, RootError> {
    if files.is_empty() {
        return Ok(TrustedRoots::aws());
    }
    let roots = files.iter().map(|file| root(file)).collect::<Result<_, _>>()?;
    Ok(TrustedRoots::only(roots))
}

fn root(file: &Path) -> Result<RootFingerprint, RootError> {
    let named = || file.to_owned();
    let pem =
        fs::read_to_string(file).map_err(|source| RootError::Read { file: named(), source })?;
    RootFingerprint::of_pem(&pem).map_err(|source| RootError::Content { file: named(), source })
}

/// Why a root cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RootError {
    /// The file holds no certificate.
    #[error("`{}` names no root", file.display())]
    Content { file: PathBuf, source: FingerprintError },
    /// The file cannot be read.
    #[error("cannot read `{}`", file.display())]
    Read { file: PathBuf, source: io::Error },
}

impl Advise for RootError {
    fn advice(&self) -> Option<String> {
        match self {
            Self::Content { .. } => Some("give a file with one certificate in PEM".to_owned()),
            Self::Read { .. } => None,
        }
    }
}
