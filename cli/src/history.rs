//! What `bailey verify --chain` says of an enclave's history: a directory of its reports.
//!
//! Each report names the SHA-256 of the one before it, and the ledger holds that of the last one.
//! Whoever knows this head can tell whether a copy of the history is whole: nothing can be taken
//! out of it, put into it, moved or edited without a digest that no longer fits.

mod links;

use crate::{
    digest::Digest,
    evidence::{Evidence, bounded, parse_report},
    exit::Advise,
    judge::{AsOf, Demands, Judgement, judge},
};
use bailey_attestation::Outcome;
use bailey_model::{UnixMillis, report::Report};
use serde::Serialize;
use std::{
    cmp::Ordering,
    ffi::OsStr,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// What a history must begin and end with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    /// SHA-256 of the report before the first; nothing comes before the first when absent.
    pub(crate) from: Option<Digest>,
    /// SHA-256 of the last report.
    pub(crate) head: Digest,
}

/// One file of the directory.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Its path below the directory.
    pub(crate) name: String,
    /// The digest of its bytes.
    pub(crate) digest: Digest,
    /// What it holds, or why that is no report.
    pub(crate) report: Result<Report, String>,
}

/// The judgement on a history, as `--json` prints it.
#[derive(Debug, Serialize)]
pub(crate) struct History {
    /// Whether the history is whole and each of its reports is accepted.
    pub(crate) accepted: bool,
    /// Whether the history is whole: nothing is missing, edited, moved or foreign.
    pub(crate) intact: bool,
    /// Every file in its order.
    pub(crate) files: Vec<FileView>,
    /// What is wrong with the directory as a whole.
    pub(crate) problems: Vec<String>,
}

/// One file of a history.
#[derive(Debug, Serialize)]
pub(crate) struct FileView {
    /// Its path below the directory.
    pub(crate) name: String,
    /// The digest of its bytes, in hex.
    pub(crate) sha256: String,
    /// What is wrong with its place in the history.
    pub(crate) problems: Vec<String>,
    /// The judgement on the report; absent when the file holds none.
    pub(crate) judgement: Option<Judgement>,
}

/// Reads every file of the directory, in the order of the chain: by generation, then by sequence.
pub(crate) fn read(directory: &Path) -> Result<Vec<Entry>, HistoryError> {
    let mut paths = Vec::new();
    list(directory, directory, &mut paths)?;
    paths.sort_by(|a, b| in_order(a, b));
    paths.into_iter().map(|path| entry(directory, &path)).collect()
}

/// Judges the history, and each report of it by the demands and as of the time that `as_of` gives.
pub(crate) fn judge_all(
    entries: Vec<Entry>,
    ends: Ends,
    demands: &Demands,
    as_of: impl Fn(UnixMillis) -> AsOf,
) -> History {
    let links::Findings { of_files, of_directory } = links::check(&entries, ends);
    let files: Vec<_> = entries
        .into_iter()
        .zip(of_files)
        .map(|(entry, problems)| {
            let Entry { name, digest, report } = entry;
            let judgement = report.ok().map(|report| {
                let at = as_of(report.judged_at);
                judge(&Evidence::Report(Box::new(report)), demands, at)
            });
            FileView { name, sha256: digest.to_string(), problems, judgement }
        })
        .collect();
    let intact = of_directory.is_empty() && files.iter().all(|file| file.problems.is_empty());
    let good = |file: &FileView| file.judgement.as_ref().is_some_and(|j| j.accepted);
    History { accepted: intact && files.iter().all(good), intact, files, problems: of_directory }
}

impl Judgement {
    /// Why it is not accepted, in one line.
    pub(crate) fn refusal(&self) -> Option<String> {
        if let Some(rejection) = &self.rejection {
            return Some(format!("{}: {}", rejection.code, rejection.message));
        }
        let failed = self.report_checks.iter().find(|check| check.outcome == Outcome::Failed)?;
        Some(format!("{}: the document is authentic, but the report says otherwise", failed.name))
    }
}

/// Paths relative to `root`. Symbolic links are followed to files alone, so that no loop of
/// directories keeps the walk from ending.
fn list(root: &Path, directory: &Path, paths: &mut Vec<PathBuf>) -> Result<(), HistoryError> {
    let failed = |source| HistoryError::List { directory: directory.to_owned(), source };
    for item in fs::read_dir(directory).map_err(failed)? {
        let item = item.map_err(failed)?;
        let path = item.path();
        if item.file_type().map_err(failed)?.is_dir() {
            list(root, &path, paths)?;
        } else {
            paths.push(path.strip_prefix(root).unwrap_or(&path).to_owned());
        }
    }
    Ok(())
}

/// Numbers by their value, so that generation 10 comes after generation 9; the rest by its bytes.
fn in_order(a: &Path, b: &Path) -> Ordering {
    fn key(part: &OsStr) -> (u64, &OsStr) {
        let stem = Path::new(part).file_stem().and_then(OsStr::to_str);
        (stem.and_then(|stem| stem.parse().ok()).unwrap_or(u64::MAX), part)
    }
    a.iter().map(key).cmp(b.iter().map(key))
}

fn entry(directory: &Path, path: &Path) -> Result<Entry, HistoryError> {
    let file = directory.join(path);
    let bytes = File::open(&file)
        .and_then(bounded)
        .map_err(|source| HistoryError::Read { file, source })?;
    let report = parse_report(&bytes).map_err(|error| bailey_runtime::chain(&error));
    Ok(Entry { name: path.display().to_string(), digest: Digest::of(&bytes), report })
}

/// Why a history cannot be judged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HistoryError {
    /// The directory cannot be listed.
    #[error("cannot list `{}`", directory.display())]
    List { directory: PathBuf, source: io::Error },
    /// A file in it cannot be read.
    #[error("cannot read `{}`", file.display())]
    Read { file: PathBuf, source: io::Error },
}

impl Advise for HistoryError {}

#[cfg(test)]
mod tests;
