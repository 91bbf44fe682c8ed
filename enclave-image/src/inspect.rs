//! What is in an image: sections, measurements, signature, metadata, workload and files.

mod cpio;

pub use cpio::{FileEntry, FileKind, ListError};

use crate::{
    build::PROFILE_PATH,
    workload::{MANIFEST_PATH, MAX_MANIFEST_BYTES},
};
use bailey_eif::{
    MAX_SIGNATURE_LEN, Measurement, ReadError, SectionKind, SectionReader, SignatureCheck,
    SignatureError, check_signature, measure_file,
};
use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
};

/// What is in an image.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The measurements, the sections and the metadata, after the checksum was found right.
    pub measurement: Measurement,
    /// The kernel's command line.
    pub cmdline: String,
    /// Who signed the image, if anybody did.
    pub signature: Option<SignatureCheck>,
    /// The kernel profile, by the measured first ramdisk; images of other builders name none.
    pub profile: Option<String>,
    /// The workload's manifest, by the measured ramdisks, as it is written there.
    pub workload: Option<serde_json::Value>,
    /// The files of each ramdisk, in the order in which the kernel unpacks them.
    pub ramdisks: Vec<Vec<FileEntry>>,
}

/// The longest kernel command line shown, in bytes; x86-64 kernels take 2 KiB.
const MAX_CMDLINE_BYTES: u64 = 64 * 1024;

/// Reads an image whole.
pub fn inspect(path: &Path) -> Result<Inspection, InspectError> {
    let open =
        || File::open(path).map_err(|source| InspectError::Open { path: path.to_owned(), source });
    let measurement = measure_file(open()?).map_err(InspectError::Image)?;
    let mut reader = SectionReader::open(open()?).map_err(InspectError::Image)?;
    let mut cmdline = String::new();
    let section = reader.of_kind(SectionKind::Cmdline).next();
    if let Some(section) = section {
        let bytes = reader.read(section, MAX_CMDLINE_BYTES).map_err(InspectError::Image)?;
        cmdline = String::from_utf8_lossy(&bytes).into_owned();
    }
    let mut signature = None;
    let section = reader.of_kind(SectionKind::Signature).next();
    if let Some(section) = section {
        let bytes = reader.read(section, MAX_SIGNATURE_LEN).map_err(InspectError::Image)?;
        let check = check_signature(&bytes, &measurement.pcr0).map_err(InspectError::Signature)?;
        signature = Some(check);
    }
    let mut wanted = BTreeMap::from([(PROFILE_PATH, None), (WORKLOAD_PATH, None)]);
    let sections: Vec<_> = reader.of_kind(SectionKind::Ramdisk).collect();
    let mut ramdisks = Vec::with_capacity(sections.len());
    for (index, section) in sections.into_iter().enumerate() {
        let body = reader.body(section).map_err(InspectError::Image)?;
        let listed = cpio::list(body, MAX_MANIFEST_BYTES, &mut wanted);
        ramdisks.push(listed.map_err(|source| InspectError::Ramdisk { index, source })?);
    }
    let mut found = |path: &str| wanted.remove(path).flatten();
    let profile = found(PROFILE_PATH);
    let profile = profile.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned());
    let workload = found(WORKLOAD_PATH);
    let workload = workload.map(|bytes| {
        serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into_owned().into())
    });
    Ok(Inspection { measurement, cmdline, signature, profile, workload, ramdisks })
}

/// [`MANIFEST_PATH`] as an archive has it.
const WORKLOAD_PATH: &str = match MANIFEST_PATH.split_at_checked(1) {
    Some((_, path)) => path,
    None => MANIFEST_PATH,
};

/// Why an image cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The file is no good image.
    #[error("it is not a good image")]
    Image(#[source] ReadError),
    /// The file cannot be opened.
    #[error("cannot open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A ramdisk is not what the kernel unpacks.
    #[error("ramdisk {index} cannot be listed")]
    Ramdisk {
        /// Which, from 0.
        index: usize,
        /// Why.
        source: ListError,
    },
    /// The signature section cannot be read.
    #[error("its signature cannot be read")]
    Signature(#[source] SignatureError),
}
