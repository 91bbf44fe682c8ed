//! The manifest of an image: what it is, and what it measures to.

use crate::{Pcr, PcrSet};
use serde::{Deserialize, Serialize};

/// Says what an image is and measures to.
///
/// By itself it vouches for nothing: a signed one does.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Manifest {
    /// Name of the image.
    pub name: String,
    /// Version of the image.
    pub version: String,
    /// Which kernel it has: `aws` or `local`.
    pub profile: String,
    /// The registers that AWS's tools show for the image.
    pub measurements: Measurements,
    /// SHA-384 of the whole file.
    pub eif_sha384: Pcr,
    /// Size of the file, in bytes.
    pub size_bytes: u64,
}

/// The registers by the names that AWS's tools use.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub struct Measurements {
    /// Kernel, command line and every ramdisk.
    pub pcr0: Pcr,
    /// Kernel, command line and the first ramdisk.
    pub pcr1: Pcr,
    /// The other ramdisks: the workload.
    pub pcr2: Pcr,
    /// The signing certificate, in a signed image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pcr8: Option<Pcr>,
}

impl Measurements {
    /// The registers by index.
    #[must_use]
    pub fn pcrs(&self) -> PcrSet {
        let always = [(0, self.pcr0), (1, self.pcr1), (2, self.pcr2)];
        always.into_iter().chain(self.pcr8.map(|pcr| (8, pcr))).collect()
    }
}
