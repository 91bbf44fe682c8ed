//! What is written beside an image.

use super::{BuildOptions, Profile};
use bailey_eif::{Measurement, Pcr};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Says what an image is and measures to; `expected_pcrs` of a record can be filled from it.
///
/// Unsigned: it vouches for nothing by itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Manifest {
    /// Name of the image.
    pub name: String,
    /// Version of the image.
    pub version: String,
    /// Which kernel it has.
    pub profile: Profile,
    /// The registers that AWS's tools show for the image.
    pub measurements: ManifestMeasurements,
    /// SHA-384 of the whole file, in hex.
    pub eif_sha384: String,
    /// Size of the file, in bytes.
    pub size_bytes: u64,
}

/// The registers by the names that AWS's tools use.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub struct ManifestMeasurements {
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

impl Manifest {
    pub(super) fn new(options: &BuildOptions, measured: &Measurement, eif_sha384: String) -> Self {
        Self {
            name: options.name.clone(),
            version: options.version.clone(),
            profile: options.kernel.profile,
            measurements: ManifestMeasurements {
                pcr0: measured.pcr0,
                pcr1: measured.pcr1,
                pcr2: measured.pcr2,
                pcr8: measured.pcr8,
            },
            eif_sha384,
            size_bytes: measured.size_bytes,
        }
    }
}

/// Where the manifest of the image at `image` is: the same name with `.manifest.json` after it.
#[must_use]
pub fn manifest_path(image: &Path) -> PathBuf {
    let mut path = image.as_os_str().to_owned();
    path.push(".manifest.json");
    PathBuf::from(path)
}
