//! Nothing of the emulation is part of what runs in production.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a workspace that cannot be read has failed its test"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn manifest(directory: &Path) -> toml::Table {
    let path = directory.join("Cargo.toml");
    let text = fs::read_to_string(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
    text.parse().unwrap()
}

/// The directory of every crate of the workspace.
fn members() -> Vec<PathBuf> {
    let workspace = manifest(&root());
    let patterns = workspace["workspace"]["members"].as_array().unwrap().clone();
    let mut members = Vec::new();
    for pattern in patterns.iter().map(|pattern| pattern.as_str().unwrap()) {
        match pattern.strip_suffix("/*") {
            None => members.push(root().join(pattern)),
            Some(parent) => members.extend(
                fs::read_dir(root().join(parent)).unwrap().map(|entry| entry.unwrap().path()),
            ),
        }
    }
    members
}

fn name(manifest: &toml::Table) -> String {
    manifest["package"]["name"].as_str().unwrap().to_owned()
}

/// The names of what a crate is built with: dependencies of every kind but those of its tests, on every
/// platform.
fn dependencies(manifest: &toml::Table) -> Vec<String> {
    let platforms = manifest.get("target").and_then(toml::Value::as_table);
    let platforms = platforms.into_iter().flat_map(toml::Table::values);
    let tables = platforms.filter_map(toml::Value::as_table).chain([manifest]);
    let kinds = ["dependencies", "build-dependencies"];
    let lists = tables.flat_map(|table| kinds.map(|kind| table.get(kind)));
    let lists = lists.flatten().filter_map(toml::Value::as_table);
    lists.flat_map(|list| list.keys().cloned()).collect()
}

#[test]
fn no_production_crate_is_built_with_a_crate_for_tests() {
    let (for_tests, production): (Vec<_>, Vec<_>) =
        members().into_iter().partition(|member| member.starts_with(root().join("tests")));
    let for_tests: BTreeMap<_, _> =
        for_tests.iter().map(|member| (name(&manifest(member)), member)).collect();
    assert!(for_tests.contains_key("bailey-enclave-vm"), "{for_tests:?}");
    assert!(for_tests.contains_key("bailey-simulated-nsm"), "{for_tests:?}");
    for member in ["agent", "cli", "coordinator", "enclave-image", "crates/attestation"] {
        assert!(production.contains(&root().join(member)), "{member}: {production:?}");
    }
    for member in production {
        let manifest = manifest(&member);
        let wrong: Vec<_> = dependencies(&manifest)
            .into_iter()
            .filter(|dependency| for_tests.contains_key(dependency))
            .collect();
        assert_eq!(wrong, Vec::<String>::new(), "{} is built with it", name(&manifest));
    }
}
