//! The corpus in `corpus/` at the crate's root: documents in files, each with the judgement due.
//!
//! It is for other verifiers as much as for this one. `BAILEY_WRITE_CORPUS=1 cargo test -p
//! bailey-attestation --test documents corpus` writes it anew, with new keys.

mod certificates;
mod encodings;
mod genuine;
mod index;
mod policies;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs};

use bailey_attestation::{Rejection, verify};

use self::index::{ACCEPTED, Entry, Terms};

/// A document that is to be written, with the judgement due.
#[derive(Clone)]
struct Case {
    what: String,
    expected: &'static str,
    terms: Terms,
    document: Vec<u8>,
}

impl Case {
    /// A document that is refused, whatever the policy asks beyond its root and the time.
    fn refused(expected: &'static str, what: impl Into<String>, document: Vec<u8>) -> Self {
        Self { what: what.into(), expected, terms: Terms::authentic(), document }
    }

    fn accepted(what: impl Into<String>, document: Vec<u8>) -> Self {
        Self::refused(ACCEPTED, what, document)
    }

    fn under(self, terms: Terms) -> Self {
        Self { terms, ..self }
    }
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn entries() -> Vec<Entry> {
    let text = fs::read_to_string(directory().join("index.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Every file but the index.
fn document_names() -> BTreeSet<String> {
    let files = fs::read_dir(directory()).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != "index.json").collect()
}

/// Writes the corpus anew when it is asked to, before it is judged.
fn write() {
    let directory = directory();
    fs::create_dir_all(&directory).unwrap();
    for name in document_names() {
        fs::remove_file(directory.join(name)).unwrap();
    }
    let cases =
        [genuine::cases(), encodings::cases(), certificates::cases(), policies::cases()].concat();
    let mut entries: Vec<Entry> = Vec::new();
    for Case { what, expected, terms, document } in cases {
        let earlier = entries.iter().filter(|entry| entry.expected == expected).count();
        let file = format!("{expected}-{:02}.cose", earlier + 1);
        fs::write(directory.join(&file), document).unwrap();
        entries.push(Entry { file, what, expected: expected.to_owned(), terms });
    }
    let text = serde_json::to_string_pretty(&entries).unwrap();
    fs::write(directory.join("index.json"), text + "\n").unwrap();
}

#[test]
fn every_document_of_the_corpus_is_judged_as_its_index_says() {
    if env::var_os("BAILEY_WRITE_CORPUS").is_some() {
        write();
    }
    let entries = entries();
    let wrong: Vec<String> = entries.iter().filter_map(misjudged).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_covers_every_code(&entries);
    assert_lists_every_file(&entries);
}

/// Whether there is such a document, and it is judged so.
pub(crate) fn holds(expected: &str, what: &str) -> bool {
    let entries = entries();
    let mut found = entries.iter().filter(|entry| entry.expected == expected && entry.what == what);
    found.any(|entry| misjudged(entry).is_none())
}

fn misjudged(entry: &Entry) -> Option<String> {
    let document = fs::read(directory().join(&entry.file)).unwrap();
    let judged = match verify(&document, &entry.terms.policy()).result {
        Ok(_) => ACCEPTED,
        Err(rejection) => rejection.code(),
    };
    let Entry { file, what, expected, .. } = entry;
    (judged != expected).then(|| format!("{file} ({what}): {judged}, not {expected}"))
}

fn assert_covers_every_code(entries: &[Entry]) {
    let expected: BTreeSet<&str> = entries.iter().map(|entry| entry.expected.as_str()).collect();
    let codes = Rejection::CODES.iter().copied().chain([ACCEPTED]).collect();
    assert_eq!(expected, codes);
    let accepted = entries.iter().filter(|entry| entry.expected == ACCEPTED).count();
    assert!(accepted >= 10, "{accepted} are accepted");
    assert!(entries.len() - accepted >= 100, "{} are refused", entries.len() - accepted);
}

fn assert_lists_every_file(entries: &[Entry]) {
    let listed: BTreeSet<String> = entries.iter().map(|entry| entry.file.clone()).collect();
    assert_eq!(listed.len(), entries.len());
    assert_eq!(listed, document_names());
}
