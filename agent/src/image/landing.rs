//! Bytes on their way to the disk, measured as they pass. Blocking.

use super::{
    checksum::{Mismatch, ObjectChecksum, Tally},
    part::Part,
    progress::Progressing,
};
use bailey_eif::{EifError, FileSha384, MeasuredFile, ParallelMeasurer};
use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};
use tokio::sync::mpsc;

/// What is to be found out about an image.
#[derive(Clone, Debug)]
pub(super) struct Inspection {
    /// How long it is.
    pub(super) size_bytes: u64,
    /// What S3 says about its bytes.
    pub(super) checksum: Option<ObjectChecksum>,
    /// Whether the hash of the whole file is asked for.
    pub(super) sha384: FileSha384,
}

/// Measures what has landed already, then writes and measures what is received, in that order.
pub(super) fn land(
    part: &mut Part,
    inspection: Inspection,
    mut bytes: mpsc::Receiver<Vec<u8>>,
    progress: &Progressing,
) -> Result<MeasuredFile, LandError> {
    let mut gauge = Gauge::new(inspection);
    let path = part.path().to_owned();
    let landed = part.landed().map_err(|source| LandError::Read { path: path.clone(), source })?;
    gauge.read(landed, &path, progress)?;
    while let Some(bytes) = bytes.blocking_recv() {
        gauge.push(&bytes)?;
        let written = part.append(&bytes);
        written.map_err(|source| LandError::Write { path: path.clone(), source })?;
        progress.advance(bytes.len());
    }
    gauge.finish()
}

/// Measures a file that is already there.
pub(super) fn measure(
    path: &Path,
    inspection: Inspection,
    progress: &Progressing,
) -> Result<MeasuredFile, LandError> {
    let file =
        File::open(path).map_err(|source| LandError::Read { path: path.to_owned(), source })?;
    let mut gauge = Gauge::new(inspection);
    gauge.read(file, path, progress)?;
    gauge.finish()
}

struct Gauge {
    measurer: ParallelMeasurer,
    tally: Option<Tally>,
    found_bytes: u64,
    wanted_bytes: u64,
}

impl Gauge {
    fn new(inspection: Inspection) -> Self {
        Self {
            measurer: ParallelMeasurer::new(inspection.sha384),
            tally: inspection.checksum.map(ObjectChecksum::tally),
            found_bytes: 0,
            wanted_bytes: inspection.size_bytes,
        }
    }

    fn read(
        &mut self,
        mut source: impl Read,
        path: &Path,
        progress: &Progressing,
    ) -> Result<(), LandError> {
        let mut buffer = vec![0; 1_024 * 1_024];
        loop {
            let read = source.read(&mut buffer);
            let count = read.map_err(|source| LandError::Read { path: path.to_owned(), source })?;
            let bytes = buffer.get(..count).unwrap_or_default();
            if bytes.is_empty() {
                return Ok(());
            }
            self.push(bytes)?;
            progress.advance(count);
        }
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), LandError> {
        self.found_bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if let Some(tally) = &mut self.tally {
            tally.update(bytes);
        }
        let pushed = self.measurer.push(bytes);
        // Not all bytes were seen, so S3's checksum cannot say whether these are the right ones.
        pushed.map_err(|source| LandError::Eif { proof: Proof::None, source })
    }

    fn finish(self) -> Result<MeasuredFile, LandError> {
        if self.found_bytes != self.wanted_bytes {
            return Err(LandError::Cut { at: self.found_bytes, wanted: self.wanted_bytes });
        }
        let proof = match self.tally.map(Tally::finish) {
            Some(judged) => judged.map(|()| Proof::Checksum).map_err(LandError::Damaged)?,
            None => Proof::None,
        };
        self.measurer.finish().map_err(|source| LandError::Eif { proof, source })
    }
}

/// What shows that bytes are those of the object, rather than what disk or network made of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Proof {
    /// They have the checksum that S3 names.
    Checksum,
    /// Nothing does.
    None,
}

/// Why the bytes did not become an image on the disk.
#[derive(Debug, thiserror::Error)]
pub enum LandError {
    /// Fewer or more bytes came than the object has.
    #[error("{at} of {wanted} bytes were read")]
    Cut {
        /// How many bytes came.
        at: u64,
        /// How many there are by S3's word.
        wanted: u64,
    },
    /// The bytes are not those that S3 has.
    #[error("the object was damaged on its way to the parent's disk")]
    Damaged(#[source] Mismatch),
    /// The bytes are not a good EIF.
    #[error("the object is not a valid EIF")]
    Eif {
        /// What shows that they are the object's.
        proof: Proof,
        /// What is wrong.
        source: EifError,
    },
    /// An image on the disk cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The image cannot be written to the disk.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}
