//! Whether every report of a history is where it belongs.

use super::{Ends, Entry};
use crate::digest::Digest;
use bailey_model::report::Report;
use std::path::Path;

/// What is wrong, in words.
pub(super) struct Findings {
    /// For each file, in the files' order.
    pub(super) of_files: Vec<Vec<String>>,
    /// For all of them together.
    pub(super) of_directory: Vec<String>,
}

pub(super) fn check(entries: &[Entry], ends: Ends) -> Findings {
    let mut of_files = Vec::with_capacity(entries.len());
    let mut before: Option<&Entry> = None;
    for entry in entries {
        of_files.push(match &entry.report {
            Err(reason) => vec![format!("is foreign: it holds no report: {reason}")],
            Ok(report) => {
                let mut problems: Vec<_> = place(entry, report).into_iter().collect();
                problems.extend(owner(entries, report));
                problems.extend(link(entries, before, report, ends.from));
                before = Some(entry);
                problems
            }
        });
    }
    Findings { of_files, of_directory: end(entries, before, ends.head).into_iter().collect() }
}

/// A file that bears numbers must bear those of its report: `<generation>/<sequence>.json`.
fn place(entry: &Entry, report: &Report) -> Option<String> {
    let path = Path::new(&entry.name);
    let number = |part: Option<&std::ffi::OsStr>| part?.to_str()?.parse::<u64>().ok();
    let sequence = number(path.file_stem());
    let generation = number(path.parent().and_then(Path::file_name));
    let differs = |named: Option<u64>, said: u64| named.is_some_and(|named| named != said);
    (differs(sequence, report.sequence) || differs(generation, report.generation.0)).then(|| {
        format!(
            "lies in the wrong place: it says that it is number {} of generation {}",
            report.sequence, report.generation
        )
    })
}

/// All reports must be of one enclave, the first one's.
fn owner(entries: &[Entry], report: &Report) -> Option<String> {
    let first = entries.iter().find_map(|entry| entry.report.as_ref().ok())?;
    (report.enclave_id != first.enclave_id).then(|| {
        format!(
            "is foreign: it is of `{}`, the history of `{}`",
            report.enclave_id, first.enclave_id
        )
    })
}

fn link(
    entries: &[Entry],
    before: Option<&Entry>,
    report: &Report,
    from: Option<Digest>,
) -> Option<String> {
    let wanted = before.map_or(from, |entry| Some(entry.digest));
    let named = report.previous.as_deref();
    let found = named.and_then(|text| text.parse::<Digest>().ok());
    if found == wanted && named.is_some() == wanted.is_some() {
        return None;
    }
    let elsewhere = entries.iter().find(|entry| Some(entry.digest) == found);
    Some(match (before, named, elsewhere) {
        (_, _, Some(other)) => format!("is out of order: the report before it is `{}`", other.name),
        (Some(before), None, _) => {
            format!("says that it is the first, but `{}` lies before it", before.name)
        }
        (Some(before), Some(named), _) => format!(
            "does not follow `{}`, whose SHA-256 is {}: it follows {named}, which is missing or \
             was edited",
            before.name, before.digest
        ),
        (None, None, _) => {
            "says that it is the first report, but the history was to start later".to_owned()
        }
        (None, Some(named), _) => format!(
            "is not the start: it follows {named}, which is missing (if the history starts here, \
             say so with --from)"
        ),
    })
}

/// The last report must be the head.
fn end(entries: &[Entry], last: Option<&Entry>, head: Digest) -> Option<String> {
    let Some(last) = last else {
        return Some(format!("it holds no report, and the head is {head}"));
    };
    if last.digest == head {
        return None;
    }
    Some(match entries.iter().find(|entry| entry.digest == head) {
        Some(entry) => format!("the head is `{}`, but `{}` lies after it", entry.name, last.name),
        None => format!(
            "it ends with `{}`, SHA-256 {}, which is not the head {head}: later reports are \
             missing, or that one was edited",
            last.name, last.digest
        ),
    })
}
