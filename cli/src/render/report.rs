//! An attestation report as an auditor reads it.

mod commands;
mod facts;
mod html;
mod markdown;
mod registers;

use super::{instants, layout::section, mark};
use crate::digest::Digest;
use bailey_attestation::Outcome;
use bailey_model::{
    PcrSet,
    report::{Certificate, Check, Report, Verdict},
};
pub(super) use commands::chain_command;
use std::fmt::Write as _;

/// A form for people.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Form {
    /// One page that needs nothing else.
    Html,
    /// Markdown, as GitHub reads it.
    Markdown,
    /// Text for a terminal.
    Text,
}

/// The whole report: the verdict first, then what it rests on. `sha256` is that of the file.
pub(crate) fn report(report: &Report, sha256: Digest, form: Form) -> String {
    match form {
        Form::Html => html::html(report, sha256),
        Form::Markdown => markdown::markdown(report, sha256),
        Form::Text => text(report, sha256),
    }
}

fn text(report: &Report, sha256: Digest) -> String {
    let (word, meaning, _) = facts::verdict(report);
    let mut text = format!("{}\n", crate::output::one_line(&format!("{word} {meaning}")));
    for caution in facts::cautions(report) {
        let _ = writeln!(text, "! {caution}");
    }
    text.push_str(&section("Report", &subject(report, sha256)));
    text.push_str(&section("Checks", &checks(&report.checks)));
    text.push_str(&section("Measurements", &measurements(report)));
    text.push_str(&section("Certificates, root first", &certificates(&report.certificates)));
    text
}

fn subject(report: &Report, sha256: Digest) -> Vec<(&'static str, String)> {
    let host = &report.host;
    let previous = report.previous.as_ref();
    let software: Vec<_> =
        report.software.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let mut pairs = vec![
        ("enclave", format!("{}, generation {}", report.enclave_id, report.generation)),
        ("number", report.sequence.to_string()),
        ("judged at", report.judged_at.to_string()),
        ("instance", host.instance_id.clone()),
        ("type and zone", format!("{} in {}", host.instance_type, host.availability_zone)),
    ];
    pairs.extend(host.role_arn.clone().map(|arn| ("role", arn)));
    pairs.push(("nonce", hex::encode(report.nonce.as_slice())));
    pairs.push(("nonce issued", report.nonce_issued_at.to_string()));
    pairs.push(("document", format!("{} bytes", report.document.as_slice().len())));
    pairs.push(("this report", format!("SHA-256 {sha256}")));
    pairs.push((
        "previous",
        previous.map_or_else(|| "none".to_owned(), |hash| format!("SHA-256 {hash}")),
    ));
    if !software.is_empty() {
        pairs.push(("software", software.join(", ")));
    }
    pairs
}

fn checks(checks: &[Check]) -> Vec<(String, String)> {
    checks
        .iter()
        .map(|check| {
            let outcome = outcome(&check.outcome);
            let text = checked(outcome, check.expected.as_deref(), check.found.as_deref());
            (format!("{} {}", mark(outcome), check.name), text)
        })
        .collect()
}

/// What a check came to, in one line.
pub(super) fn checked(outcome: Outcome, expected: Option<&str>, found: Option<&str>) -> String {
    let expected = expected.map_or_else(|| "nothing in particular".to_owned(), instants);
    let found = found.map_or_else(|| "nothing".to_owned(), instants);
    match outcome {
        Outcome::Failed => format!("wanted {expected}; found {found}"),
        Outcome::NotChecked => "not reached".to_owned(),
        Outcome::Passed if expected == found => "as demanded".to_owned(),
        Outcome::Passed => found,
        Outcome::Waived => format!("not asked for; found {found}"),
    }
}

/// An outcome that this version does not know proves nothing.
fn outcome(text: &str) -> Outcome {
    match text {
        "failed" => Outcome::Failed,
        "passed" => Outcome::Passed,
        "waived" => Outcome::Waived,
        _ => Outcome::NotChecked,
    }
}

fn measurements(report: &Report) -> Vec<(String, String)> {
    let mut lines = super::registers(&report.pcrs);
    let expected = match different(&report.expected_pcrs, &report.pcrs) {
        _ if report.expected_pcrs.is_empty() => "nothing".to_owned(),
        // Zero registers measure nothing, so there is nothing to hold against the expectation.
        _ if report.verdict == Some(Verdict::Debug) => {
            "not compared: zero in debug mode".to_owned()
        }
        wrong if wrong.is_empty() => "met".to_owned(),
        wrong => format!("not met by PCR {}", wrong.join(", ")),
    };
    let source = report.pcr_source.as_str();
    lines.push(("expected".to_owned(), format!("{expected} (by the {source})")));
    lines
}

fn different(expected: &PcrSet, found: &PcrSet) -> Vec<String> {
    let wrong = expected.iter().filter(|(index, value)| found.get(index) != Some(value));
    wrong.map(|(index, _)| index.to_string()).collect()
}

fn certificates(certificates: &[Certificate]) -> Vec<(String, String)> {
    let line = |certificate: &Certificate| {
        let Certificate { subject, sha256, not_before, not_after } = certificate;
        (subject.clone(), format!("{not_before} to {not_after}, SHA-256 {sha256}"))
    };
    certificates.iter().map(line).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::json;

    pub(super) fn example() -> Report {
        let pcr = "ab".repeat(48);
        serde_json::from_value(json!({
            "schema": bailey_model::report::SCHEMA, "enclave_id": "demo", "generation": 2,
            "sequence": 1, "previous": null, "judged_at": 1_735_732_800_000_u64,
            "verdict": "verified", "rejection": null, "document": "AAEC", "nonce": "AP8=",
            "nonce_issued_at": 1_735_732_799_000_u64,
            "checks": [
                {"name": "structure", "outcome": "passed", "expected": "a COSE_Sign1",
                 "found": "as expected, 3 bytes"},
                {"name": "nonce", "outcome": "passed", "expected": "00ff", "found": "00ff"},
                {"name": "public_key", "outcome": "waived", "expected": "anything",
                 "found": "absent"},
                {"name": "debug", "outcome": "failed", "expected": "not debug mode",
                 "found": "debug mode"},
                {"name": "timestamp", "outcome": "passed",
                 "expected": "at most 1735733100000", "found": "1735732799500"},
                {"name": "pcr_0", "outcome": "not_checked", "expected": "ab"},
            ],
            "pcrs": {"0": pcr}, "expected_pcrs": {"0": pcr, "1": pcr}, "pcr_source": "record",
            "certificates": [{"subject": "CN=root", "sha256": "cd", "not_before": 0,
                "not_after": 1_735_732_800_000_u64}],
            "host": {"instance_id": "i-1", "instance_type": "m5.xlarge",
                "availability_zone": "eu-west-1a"},
            "software": {"bailey-agent": "0.1.0"},
        }))
        .unwrap()
    }

    #[test]
    fn a_report_starts_with_its_verdict_and_holds_all_that_it_rests_on() {
        let caution = facts::cautions(&example())[0];
        let expected = EXPECTED
            .replace("$AB", &"ab".repeat(48))
            .replace("$LOCAL", caution)
            .replace("$EMPTY", &Digest::of(b"").to_string());
        assert_eq!(text(&example(), Digest::of(b"")), expected);
    }

    #[test]
    fn the_zeros_of_debug_mode_are_not_held_against_the_expectation() {
        let debug = Report { verdict: Some(Verdict::Debug), ..example() };
        assert!(
            text(&debug, Digest::of(b""))
                .contains("not compared: zero in debug mode (by the record)")
        );
    }

    const EXPECTED: &str = "\
VERIFIED authentic, and measures what was demanded
! $LOCAL

Report
  enclave        demo, generation 2
  number         1
  judged at      2025-01-01T12:00:00Z
  instance       i-1
  type and zone  m5.xlarge in eu-west-1a
  nonce          00ff
  nonce issued   2025-01-01T11:59:59Z
  document       3 bytes
  this report    SHA-256 $EMPTY
  previous       none
  software       bailey-agent 0.1.0

Checks
  ✓ structure   as expected, 3 bytes
  ✓ nonce       as demanded
  – public_key  not asked for; found absent
  ✗ debug       wanted not debug mode; found debug mode
  ✓ timestamp   2025-01-01T11:59:59.5Z
  – pcr_0       not reached

Measurements
  PCR0      $AB
  expected  not met by PCR 1 (by the record)

Certificates, root first
  CN=root  1970-01-01T00:00:00Z to 2025-01-01T12:00:00Z, SHA-256 cd
";

    #[test]
    fn a_rejection_says_so_first() {
        let mut rejected = example();
        rejected.verdict = None;
        rejected.rejection = Some("NonceMismatch".to_owned());
        let text = text(&rejected, Digest::of(b""));
        assert!(text.starts_with("REJECTED NonceMismatch: do not trust this enclave\n"), "{text}");
    }
}
