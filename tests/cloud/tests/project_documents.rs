//! The documents say what is so: what they name exists.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a document that cannot be read has failed its test"
)]

use bailey_model::failure::FailureCode;
use std::{
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The rows of the table that follows a heading row, as cells.
fn table(document: &str, heading: &str) -> Vec<Vec<String>> {
    let (_, rest) = document.split_once(heading).expect(heading);
    let rows = rest.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect())
        .collect()
}

fn unquoted(cell: &str) -> &str {
    cell.trim_matches('`')
}

/// Every source file of the project.
fn sources() -> Vec<String> {
    let mut sources = Vec::new();
    let mut directories = vec![root()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap().map(Result::unwrap) {
            let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push(fs::read_to_string(path).unwrap());
            }
        }
    }
    sources
}

#[test]
fn every_arrow_of_the_architecture_is_a_symbol_in_the_file_it_names() {
    let arrows = table(&read("ARCHITECTURE.md"), "| arrow | file | symbol |");
    assert!(arrows.len() >= 14, "{arrows:?}");
    for arrow in arrows {
        let [what, file, symbol] = arrow.as_slice() else { panic!("{arrow:?}") };
        let source = read(unquoted(file));
        let (owner, function) = match unquoted(symbol).split_once("::") {
            Some((owner, function)) => (Some(owner), function),
            None => (None, unquoted(symbol)),
        };
        let defined = source.contains(&format!("fn {function}("))
            || source.contains(&format!("fn {function}<"));
        assert!(defined, "{what}: {file} has no function {function}");
        if let Some(owner) = owner {
            let implements = source.lines().any(|line| {
                line.starts_with("impl")
                    && line.split(|c: char| !c.is_alphanumeric()).any(|word| word == owner)
            });
            assert!(implements, "{what}: {file} does not implement {owner}");
        }
    }
}

#[test]
fn every_promise_and_invariant_names_a_test_that_exists() {
    let sources = sources();
    let promises = table(&read("README.md"), "| promise | number | held by |");
    assert!(promises.len() >= 10);
    let invariants = table(&read("ARCHITECTURE.md"), "| invariant | held by |");
    let tests = promises.iter().map(|row| &row[2]).chain(invariants.iter().map(|row| &row[1]));
    let is_test = |name: &str| name.starts_with('`') && name.ends_with('`') && name.contains('_');
    for test in tests.filter(|name| is_test(name) && !name.contains(['/', '='])) {
        let definition = format!("fn {}(", unquoted(test));
        assert!(sources.iter().any(|source| source.contains(&definition)), "no test {test}");
    }
}

#[test]
fn the_readme_lists_every_failure_code() {
    let listed = table(&read("README.md"), "| code | when |");
    let listed: Vec<_> = listed.iter().map(|row| unquoted(&row[0]).to_owned()).collect();
    let codes: Vec<_> = FailureCode::ALL.iter().map(|code| code.as_str().to_owned()).collect();
    assert_eq!(listed, codes);
}

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    for document in
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "ami/README.md", "terraform/README.md"]
    {
        let text = read(document);
        let base = root().join(document).parent().unwrap().to_owned();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let is_local = !link.starts_with("http") && !link.starts_with('#');
            assert!(!is_local || base.join(link).exists(), "{document}: {link}");
        }
    }
}
