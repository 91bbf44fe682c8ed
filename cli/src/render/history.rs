//! The judgement on an enclave's history, as people read it.

use super::{instants, layout::section, verification::open};
use crate::{
    history::{FileView, History},
    output::one_line,
};

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
