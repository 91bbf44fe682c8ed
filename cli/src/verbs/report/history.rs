//! `bailey report --history`: a copy of every report of an enclave, up to the head of its chain.

use super::source::Source;
use crate::{
    archive::Archive,
    digest::Digest,
    evidence::parse_report,
    exit::{Advise, Exit, Outcome},
    output, render,
};
use bailey_model::report::Report;
use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

/// Writes the history into `directory`, and prints its head and how to verify it.
///
/// The record is read before the bucket is listed, so that the list reaches its head. What comes
/// after the head is of a judgement that the record does not show yet, and is left out.
pub(super) async fn save(source: Source, directory: &Path) -> Outcome {
    let head = source.head();
    let id = source.id().clone();
    let archive = source.archive()?;
    let (count, last) = copy(&archive, head, directory).await?;
    let Some((last, report)) = last else {
        return Err(SaveError::Empty { id: id.to_string() }.into());
    };
    let whole = head.is_none_or(|head| head == last);
    let saved = render::Saved { id, count, directory, head, last, report: report.as_ref() };
    output::print(&render::saved(&saved))?;
    Ok(if whole { Exit::Done } else { Exit::Negative })
}

/// The last report: the digest of its bytes, and what it says when it is one.
type Last = Option<(Digest, Option<Report>)>;

async fn copy(
    archive: &Archive,
    head: Option<Digest>,
    directory: &Path,
) -> Result<(usize, Last), Box<dyn Advise>> {
    let mut last = None;
    let mut count: usize = 0;
    for place in archive.places().await? {
        let bytes = archive.read(place).await?;
        write(&directory.join(place.file()), &bytes)?;
        count = count.saturating_add(1);
        let digest = Digest::of(&bytes);
        last = Some((digest, parse_report(&bytes).ok()));
        if head == Some(digest) {
            break;
        }
    }
    Ok((count, last))
}

/// Writes a file that is not there yet. Reports never change, so one that is there is the same,
/// or not to be lost.
fn write(file: &Path, bytes: &[u8]) -> Result<(), SaveError> {
    let failed = |source| SaveError::Write { file: file.to_owned(), source };
    fs::create_dir_all(file.parent().unwrap_or(file)).map_err(failed)?;
    match OpenOptions::new().write(true).create_new(true).open(file) {
        Ok(mut new) => new.write_all(bytes).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let there = fs::read(file).map_err(failed)?;
            if there == bytes { Ok(()) } else { Err(SaveError::Differs { file: file.to_owned() }) }
        }
        Err(source) => Err(failed(source)),
    }
}

/// Why a history was not saved.
#[derive(Debug, thiserror::Error)]
enum SaveError {
    /// Another report was there, and was left as it is.
    #[error("`{}` is there already and differs from the report in the bucket", file.display())]
    Differs { file: PathBuf },
    /// The bucket has no report of this enclave.
    #[error("there is no report of `{id}` in the bucket")]
    Empty { id: String },
    /// A file cannot be written.
    #[error("cannot write `{}`", file.display())]
    Write { file: PathBuf, source: io::Error },
}

impl Advise for SaveError {
    fn advice(&self) -> Option<String> {
        match self {
            Self::Differs { .. } => {
                Some("one of the two was edited; write into another directory".to_owned())
            }
            Self::Empty { .. } | Self::Write { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_differs_is_neither_overwritten_nor_taken_for_the_report() {
        let directory = tempfile::TempDir::new().unwrap();
        let file = directory.path().join("1").join("0000000001.json");
        write(&file, b"report").unwrap();
        write(&file, b"report").unwrap();
        assert!(matches!(write(&file, b"other"), Err(SaveError::Differs { .. })));
        assert_eq!(fs::read(&file).unwrap(), b"report");
    }
}
