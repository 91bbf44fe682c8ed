//! The guides name what there is: every command with its options, every value of an environment, every
//! output, every alarm and every error code.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a document that cannot be read has failed its test"
)]

use bailey_local_cloud::local::Options;
use bailey_model::failure::FailureCode;
use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

const GUIDES: [&str; 10] = [
    "README.md",
    "THREATS.md",
    "ami/README.md",
    "docs/costs.md",
    "docs/deploy.md",
    "docs/migration.md",
    "docs/networking.md",
    "docs/runbook.md",
    "docs/seed.md",
    "docs/upgrade.md",
];

fn root() -> PathBuf {
    let here =
        env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
    Path::new(&here).join("../..").canonicalize().unwrap()
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What is code in a document: lines of its shell blocks without comments, and what stands between
/// backticks elsewhere.
fn code(document: &str) -> Vec<String> {
    let (mut code, mut block, mut prose) = (Vec::new(), None, String::new());
    for line in document.lines() {
        match (line.trim_start().strip_prefix("```"), block) {
            (Some(language), None) => block = Some(language == "sh"),
            (Some(_), Some(_)) => block = None,
            (None, Some(true)) => {
                code.push(line.split(" # ").next().unwrap_or_default().trim().to_owned());
            }
            (None, Some(false)) => {}
            (None, None) => {
                prose.push_str(line);
                prose.push('\n');
            }
        }
    }
    code.extend(prose.split('`').skip(1).step_by(2).map(|span| span.replace('\n', " ")));
    code
}

/// Every piece of code in the guides, with where it stands.
fn all_code() -> Vec<(&'static str, String)> {
    GUIDES.iter().flat_map(|guide| code(&read(guide)).into_iter().map(|it| (*guide, it))).collect()
}

fn options(words: &[&str]) -> BTreeSet<String> {
    let options = words.iter().filter(|word| word.starts_with("--"));
    options.map(|word| word.trim_end_matches([',', ';', '.']).to_owned()).collect()
}

/// What a program says of itself.
fn help(program: &Path, words: &[&str]) -> String {
    let output = Command::new(program).args(words).arg("--help").output().unwrap();
    assert!(output.status.success(), "{} {words:?}: {output:?}", program.display());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_script_and_target_that_the_guides_name_exists_with_its_options() {
    let targets = read("Makefile");
    let mut seen = 0;
    for (guide, code) in all_code() {
        let words: Vec<&str> = code.split_whitespace().collect();
        let Some(first) = words.first() else { continue };
        if *first == "make"
            && let Some(target) = words.get(1)
        {
            let rule = format!("\n{target}:");
            assert!(targets.contains(&rule), "{guide}: {code}: no target {target}");
            seen += 1;
        }
        if !first.starts_with("scripts/") && !first.ends_with("ami/provision") {
            continue;
        }
        // An archive's folder stands before the latter.
        let path = if first.ends_with("ami/provision") { "ami/provision" } else { first };
        let script = root().join(path);
        seen += 1;
        assert!(script.exists(), "{guide}: {path} is not there");
        let text = read(path);
        for option in options(&words) {
            let taken =
                text.contains(&format!("{option})")) || text.contains(&format!("{option} |"));
            // Those of the smoke test are passed on.
            let passed_on =
                path == "scripts/smoke-test" && read("tests/aws/smoke").contains(&option);
            assert!(taken || passed_on, "{guide}: {code}: {path} takes no {option}");
        }
    }
    assert!(seen > 40, "{seen}");
}

#[test]
fn every_command_of_our_programs_that_the_guides_name_exists_with_its_options() {
    let programs = Options::find().unwrap().binaries.agent.parent().unwrap().to_owned();
    let mut seen = 0;
    for (guide, code) in all_code() {
        let words: Vec<&str> = code.split_whitespace().collect();
        let is_verb = |word: &str| word.chars().all(|c| c.is_ascii_lowercase());
        let Some(program @ ("bailey" | "bailey-agent" | "bailey-coordinator")) =
            words.first().copied()
        else {
            continue;
        };
        let mut verbs: Vec<&str> =
            words.get(1).filter(|word| is_verb(word)).copied().into_iter().collect();
        if verbs.first().is_some_and(|verb| ["eif", "image"].contains(verb)) {
            let is_second = |word: &str| !word.starts_with('-') && is_verb(&word.replace('-', ""));
            verbs.extend(words.get(2).filter(|word| is_second(word)));
        }
        let text = help(&programs.join(program), &verbs);
        for option in options(&words) {
            assert!(text.contains(&option), "{guide}: {code}: no {option} in\n{text}");
        }
        seen += 1;
    }
    assert!(seen > 40, "{seen}");
}

/// The names that a Terraform file declares.
fn declared(text: &str, what: &str) -> BTreeSet<String> {
    let start = format!("{what} \"");
    let names = text.lines().filter_map(|line| line.strip_prefix(&start)?.split('"').next());
    names.map(str::to_owned).collect()
}

#[test]
fn every_value_and_output_of_an_environment_that_the_guides_name_exists() {
    for environment in ["dev", "staging", "prod"] {
        let file = |name: &str| read(format!("terraform/environments/{environment}/{name}.tf"));
        let (variables, outputs) =
            (declared(&file("variables"), "variable"), declared(&file("outputs"), "output"));
        assert!(variables.len() > 10 && outputs.len() > 10);
        let guide = read("docs/deploy.md");
        let (_, rest) = guide.split_once("| variable | is |").unwrap();
        let rows = rest.lines().skip(2).take_while(|line| line.trim_start().starts_with('|'));
        let cells = rows.filter_map(|row| row.split('|').nth(1));
        let named = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
        let elsewhere = [
            "allow_ingress_from_anywhere",
            "ami_id",
            "coordinator_archive",
            "enclave_bucket_arns",
            "more_eif_bucket_arns",
            "release_sha256",
        ];
        let networking = read("docs/networking.md");
        let set = values_set(&networking);
        assert_eq!(set, ["parents_ingress", "parents_egress"]);
        for variable in named.chain(elsewhere).chain(set) {
            assert!(variables.contains(variable), "no variable {variable} in {environment}");
        }
        for (guide, code) in all_code() {
            if let Some(output) = code.strip_prefix("terraform output ") {
                assert!(outputs.contains(output), "{guide}: no output {output} in {environment}");
            }
        }
    }
}

/// The names to which a document's blocks of values give something.
fn values_set(document: &str) -> Vec<&str> {
    let blocks = document.split("```hcl\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines = blocks.flat_map(str::lines).filter(|line| !line.starts_with([' ', ']', '}']));
    lines.filter_map(|line| line.split(" = ").next()).collect()
}

/// The headings of a document that hold one name in backticks, after `before`.
fn sections(document: &str, before: &str) -> Vec<String> {
    let start = format!("### {before}`");
    let names = document.lines().filter_map(|line| line.strip_prefix(&start)?.strip_suffix('`'));
    names.map(str::to_owned).collect()
}

#[test]
fn the_runbook_has_a_section_for_every_error_code() {
    let codes: Vec<_> = FailureCode::ALL.iter().map(|code| code.as_str().to_owned()).collect();
    assert_eq!(sections(&read("docs/runbook.md"), ""), codes);
}

#[test]
fn the_runbook_has_a_section_for_every_alarm() {
    let file = "terraform/modules/observability/main.tf";
    let text = read(file);
    let (_, rest) = text.split_once("\n  alarms = {\n").expect("a map of alarms");
    let (map, _) = rest.split_once("\n  }\n").unwrap();
    let is_key = |line: &&str| {
        line.starts_with("    ") && !line.starts_with("     ") && line.ends_with(" = {")
    };
    let mut alarms: BTreeSet<String> = map
        .lines()
        .filter(is_key)
        .map(|line| line.trim().trim_end_matches(" = {").to_owned())
        .collect();
    alarms.extend(
        declared(&text, "resource \"aws_cloudwatch_metric_alarm\"")
            .into_iter()
            .filter(|it| it != "this"),
    );
    let described: BTreeSet<String> =
        sections(&read("docs/runbook.md"), "Alarm ").into_iter().collect();
    assert_eq!(described, alarms);
}

/// What the guide that Bailey replaces asks for, says and advises.
const SEED: [&str; 21] = [
    "create backend",
    "deploy",
    "connect table",
    "build and push",
    "insert record",
    "monitor",
    "verify in the console",
    "dashboard",
    "DEPLOYING → DEPLOYED",
    "instance with enclave enabled",
    "no errors in logs",
    "backend creation fails",
    "deployment fails",
    "function fails",
    "timeout",
    "web-app integration",
    "production environment",
    "alerts",
    "notifications",
    "custom metrics",
    "the trigger function's and the workflow's logs",
];

#[test]
fn everything_of_the_seed_has_something_here_that_exists() {
    let guide = read("docs/seed.md");
    let (_, rest) = guide.split_once("| kind | there | here |").unwrap();
    let rows = rest.lines().skip(2).take_while(|line| line.starts_with('|'));
    let rows: BTreeMap<&str, &str> = rows
        .map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect::<Vec<_>>())
        .map(|cells| (cells[1], cells[2]))
        .collect();
    for item in SEED {
        let here = rows.get(item).unwrap_or_else(|| panic!("{item} is not in docs/seed.md"));
        assert!(here.contains('`') || here.contains("]("), "{item}: {here} names nothing");
    }
}

#[test]
fn every_link_of_the_guides_leads_to_a_file_and_to_a_heading_in_it() {
    for guide in GUIDES {
        let base = root().join(guide).parent().unwrap().to_owned();
        let text = read(guide);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http") {
                continue;
            }
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { root().join(guide) } else { base.join(path) };
            assert!(target.exists(), "{guide}: {link}");
            if !heading.is_empty() {
                let headings: Vec<String> = fs::read_to_string(&target)
                    .unwrap()
                    .lines()
                    .filter(|line| line.starts_with('#'))
                    .map(|line| anchor(line.trim_start_matches('#').trim()))
                    .collect();
                assert!(headings.contains(&heading.to_owned()), "{guide}: {link}: {headings:?}");
            }
        }
    }
}

/// As forges make one of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

#[test]
fn code_is_found_in_blocks_and_between_backticks() {
    let text = "a `b c` d\n```sh\nscripts/x --y  # why\n```\n```\nnot code\n```\n`e`\n";
    assert_eq!(code(text), ["scripts/x --y", "b c", "e"]);
    assert_eq!(anchor("Alarm `function-errors`"), "alarm-function-errors");
}
