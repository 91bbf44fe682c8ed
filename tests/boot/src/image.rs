//! Taking an image apart for a machine that knows nothing of images.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use bailey_eif::{ReadError, SectionKind, SectionReader};

/// The longest command line, in bytes (`COMMAND_LINE_SIZE` of x86).
const MAX_CMDLINE: u64 = 2_048;

/// The parts of an image, as files.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Parts {
    pub(crate) kernel: PathBuf,
    /// All ramdisks, one behind the other: the kernel unpacks them over one another.
    pub(crate) ramdisk: PathBuf,
    pub(crate) cmdline: String,
}

/// Writes the parts of the image into `directory`.
pub(crate) fn take_apart(image: &Path, directory: &Path) -> Result<Parts, ImageError> {
    let open = |source| ImageError::Open { path: image.to_owned(), source };
    let mut reader =
        SectionReader::open(File::open(image).map_err(open)?).map_err(ImageError::Read)?;
    let kernel = write(&mut reader, SectionKind::Kernel, directory.join("kernel"))?;
    let ramdisk = write(&mut reader, SectionKind::Ramdisk, directory.join("ramdisk"))?;
    let mut cmdline = Vec::new();
    let sections: Vec<_> = reader.of_kind(SectionKind::Cmdline).collect();
    for section in sections {
        cmdline.extend(reader.read(section, MAX_CMDLINE).map_err(ImageError::Read)?);
    }
    let cmdline = String::from_utf8_lossy(&cmdline).trim_matches(['\0', '\n', ' ']).to_owned();
    Ok(Parts { kernel, ramdisk, cmdline })
}

/// Writes every section of one kind.
fn write(
    reader: &mut SectionReader<File>,
    kind: SectionKind,
    path: PathBuf,
) -> Result<PathBuf, ImageError> {
    let failed = |source| ImageError::Write { path: path.clone(), source };
    let mut file = File::create(&path).map_err(failed)?;
    let sections: Vec<_> = reader.of_kind(kind).collect();
    for section in sections {
        let mut body = reader.body(section).map_err(ImageError::Read)?;
        io::copy(&mut body, &mut file).map_err(failed)?;
    }
    Ok(path)
}

/// Why an image cannot be taken apart.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImageError {
    /// It cannot be opened.
    #[error("cannot open {}", path.display())]
    Open {
        /// The image.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// It is not an image.
    #[error("cannot read the image")]
    Read(#[source] ReadError),
    /// A part cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The part.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}
