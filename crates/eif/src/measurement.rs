//! What measuring an image yields.

use crate::{
    format::{Architecture, SectionInfo},
    pcr::{Application, Boot},
    scan::Scanned,
};
use bailey_model::{Pcr, PcrSet};
use serde::{Deserialize, Serialize};

/// What an image measures to, and what it consists of.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Measurement {
    /// Kernel, command line and every ramdisk.
    pub pcr0: Pcr,
    /// Kernel, command line and the first ramdisk.
    pub pcr1: Pcr,
    /// The ramdisks after the first.
    pub pcr2: Pcr,
    /// The signing certificate; present if and only if the image is signed.
    pub pcr8: Option<Pcr>,
    /// Size of the image, in bytes.
    pub size_bytes: u64,
    /// What the image runs on, by its unmeasured header.
    pub architecture: Architecture,
    /// The sections in file order.
    pub sections: Vec<SectionInfo>,
    /// The metadata section's JSON, unmeasured; see [`ImageMetadata`](crate::ImageMetadata).
    pub metadata: Option<serde_json::Value>,
}

impl Measurement {
    pub(crate) fn new(scanned: Scanned, boot: Boot, application: Application) -> Self {
        let Scanned { size_bytes, architecture, sections, pcr8, metadata } = scanned;
        let (pcr0, pcr1) = boot.finish();
        let pcr2 = application.finish();
        Self { pcr0, pcr1, pcr2, pcr8, size_bytes, architecture, sections, metadata }
    }

    /// Whether the image carries a signature. The signature was not verified.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        self.pcr8.is_some()
    }

    /// The registers by index, to compare with expected ones.
    #[must_use]
    pub fn pcrs(&self) -> PcrSet {
        let measured = [(0, self.pcr0), (1, self.pcr1), (2, self.pcr2)];
        measured.into_iter().chain(self.pcr8.map(|pcr| (8, pcr))).collect()
    }
}
