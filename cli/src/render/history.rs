//! The judgement on an enclave's history, as people read it.

use super::{instants, layout::section, report::chain_command, verification::open};
use crate::{
    digest::Digest,
    history::{FileView, History},
    output::{one_line, shell_word},
};
use bailey_model::{EnclaveId, report::Report};
use std::path::Path;

/// A copy of a history that was just made.
#[derive(Debug)]
pub(crate) struct Saved<'a> {
    pub(crate) id: EnclaveId,
    pub(crate) count: usize,
    pub(crate) directory: &'a Path,
    /// The head that the record names.
    pub(crate) head: Option<Digest>,
    /// The digest of the last file.
    pub(crate) last: Digest,
    /// What the last file says, when it holds a report.
    pub(crate) report: Option<&'a Report>,
}

/// How much there is, its head and who says so, and how to verify it.
pub(crate) fn saved(saved: &Saved<'_>) -> String {
    let Saved { id, count, directory, head, last, report } = saved;
    let directory = shell_word(&directory.to_string_lossy());
    let reports = if *count == 1 { "report" } else { "reports" };
    let says = match head {
        Some(head) if head == last => "which is the head that the record names".to_owned(),
        Some(head) => format!("but the record names the head {head}: later reports are missing"),
        None => "the record names no head, so that later ones could be missing".to_owned(),
    };
    let head = head.unwrap_or(*last).to_string();
    let command = report.map_or_else(
        || format!("bailey verify --chain {directory} --head {head}"),
        |report| chain_command(report, &directory, &head),
    );
    format!(
        "{count} {reports} of {id} in {directory}\nthe last has SHA-256 {last}, {says}\n\nVerify \
         them offline:\n  {}\n",
        command.replace('\n', "\n  ")
    )
}

/// The judgement first, then what is wrong and where, then every file.
pub(crate) fn history(history: &History) -> String {
    let mut text = format!("{}\n", headline(history));
    text.push_str(&section("What is wrong", &problems(history)));
    text.push_str(&section("Reports", &files(&history.files)));
    // The flags are the same for every report, and so is what they leave open.
    let judgement = history.files.iter().find_map(|file| file.judgement.as_ref());
    text.push_str(&judgement.map(open).unwrap_or_default());
    text
}

fn headline(history: &History) -> String {
    let count = history.files.len();
    let refused = |file: &&FileView| file.judgement.as_ref().is_none_or(|j| !j.accepted);
    let refused = history.files.iter().filter(refused).count();
    match (history.intact, refused) {
        (false, _) => "REJECTED: the history is not whole".to_owned(),
        (true, 0) if count == 1 => {
            "ACCEPTED: the history is whole, its one report is authentic".to_owned()
        }
        (true, 0) => {
            format!("ACCEPTED: the history is whole, each of its {count} reports is authentic")
        }
        (true, refused) => {
            format!("REJECTED: the history is whole, but {refused} of its {count} reports fail")
        }
    }
}

fn problems(history: &History) -> Vec<(String, String)> {
    let of_file = |file: &FileView| {
        let refusal = file.judgement.as_ref().and_then(crate::judge::Judgement::refusal);
        let refusal = refusal.map(|reason| format!("is not accepted: {}", instants(&reason)));
        let name = one_line(&file.name);
        let line = move |problem: String| (format!("✗ {name}"), problem);
        file.problems.clone().into_iter().chain(refusal).map(line).collect::<Vec<_>>()
    };
    let whole = history.problems.iter().map(|text| ("✗ the directory".to_owned(), text.clone()));
    history.files.iter().flat_map(of_file).chain(whole).collect()
}

fn files(files: &[FileView]) -> Vec<(String, String)> {
    let line = |file: &FileView| {
        let accepted = file.judgement.as_ref().is_some_and(|judgement| judgement.accepted);
        let mark = if accepted && file.problems.is_empty() { '✓' } else { '✗' };
        (format!("{mark} {}", one_line(&file.name)), format!("SHA-256 {}", file.sha256))
    };
    files.iter().map(line).collect()
}
