//! What the report of a verification shows.

use std::collections::BTreeSet;

use bailey_attestation::{
    BytesRule, Check, DebugRule, Outcome, PcrRule, PcrWanted, Policy, Rejection, verify,
};

use crate::common::{genuine, policy};

fn outcomes(checks: &[Check]) -> Vec<(&str, Outcome)> {
    checks.iter().map(|check| (check.name.as_str(), check.outcome)).collect()
}

fn with_rules() -> Policy {
    Policy {
        nonce: BytesRule::Exactly(b"another".to_vec()),
        debug: DebugRule::Refuse,
        pcrs: vec![PcrRule { index: 0, wanted: PcrWanted::NonZero }],
        ..policy()
    }
}

#[test]
fn every_check_is_listed_in_order_whether_it_passed_or_was_waived() {
    let rule = Policy { nonce: BytesRule::Exactly(b"the nonce".to_vec()), ..with_rules() };
    let verification = verify(&genuine(), &rule);
    assert!(verification.result.is_ok());
    assert_eq!(
        outcomes(&verification.checks),
        [
            ("structure", Outcome::Passed),
            ("root", Outcome::Passed),
            ("certificates", Outcome::Passed),
            ("chain_names", Outcome::Passed),
            ("chain_constraints", Outcome::Passed),
            ("chain_validity", Outcome::Passed),
            ("chain_signatures", Outcome::Passed),
            ("document_signature", Outcome::Passed),
            ("timestamp", Outcome::Passed),
            ("age", Outcome::Waived),
            ("issued_at", Outcome::Waived),
            ("nonce", Outcome::Passed),
            ("user_data", Outcome::Waived),
            ("public_key", Outcome::Waived),
            ("module_id", Outcome::Waived),
            ("instance", Outcome::Waived),
            ("instance_pcr", Outcome::Waived),
            ("role_pcr", Outcome::Waived),
            ("debug", Outcome::Passed),
            ("pcr_0", Outcome::Passed),
        ]
    );
    assert!(verification.checks.iter().all(|check| check.found.is_some()));
}

#[test]
fn checks_after_the_first_that_failed_are_listed_as_not_made() {
    let verification = verify(&genuine(), &with_rules());
    let failed = verification.checks.iter().position(|check| check.name == "nonce").unwrap();
    let (before, rest) = verification.checks.split_at(failed);
    assert!(before.iter().all(|check| [Outcome::Passed, Outcome::Waived].contains(&check.outcome)));
    assert_eq!(rest[0].outcome, Outcome::Failed);
    assert_eq!(rest[0].expected, hex::encode("another"));
    assert_eq!(rest[0].found, Some(verification.result.unwrap_err().to_string()));
    assert!(rest[1..].iter().all(|check| check.outcome == Outcome::NotChecked));
    assert!(rest[1..].iter().all(|check| check.found.is_none()));
}

#[test]
fn a_document_that_cannot_be_read_still_lists_every_check() {
    let verification = verify(b"", &with_rules());
    assert_eq!(verification.result.unwrap_err(), Rejection::Truncated { at: 0 });
    assert_eq!(verification.checks.len(), 20);
    assert_eq!(verification.checks[0].outcome, Outcome::Failed);
    assert!(verification.checks[1..].iter().all(|check| check.outcome == Outcome::NotChecked));
}

#[test]
fn checks_and_summary_keep_their_json_form() {
    let verification = verify(&genuine(), &policy());
    let json = serde_json::to_value(&verification.checks).unwrap();
    assert_eq!(json[9]["name"], "age");
    assert_eq!(json[9]["outcome"], "waived");
    assert_eq!(json[9]["expected"], "anything");
    assert_eq!(json[9]["found"], "1000 ms");
    let read: Vec<Check> = serde_json::from_value(json).unwrap();
    assert_eq!(read, verification.checks);
    let summary = serde_json::to_value(verification.result.unwrap().summary()).unwrap();
    assert_eq!(summary["pcrs"]["0"], "a0".repeat(48));
    assert_eq!(summary["nonce"], hex::encode("the nonce"));
    assert_eq!(summary["debug"], false);
    assert_eq!(summary["certificates"].as_array().unwrap().len(), 5);
}

#[test]
fn every_rejection_has_a_code_of_its_own() {
    let codes: BTreeSet<&str> = Rejection::CODES.iter().copied().collect();
    assert_eq!(codes.len(), Rejection::CODES.len());
    assert_eq!(Rejection::Debug.code(), "debug");
    assert!(codes.iter().all(|code| {
        code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit())
    }));
}

#[test]
fn the_table_of_the_documentation_has_every_code_with_what_it_prevents_and_its_source() {
    let table = include_str!("../../rejections.md");
    let rows = table.lines().skip(2).map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [code, prevents, source] = cells[..] else { panic!("{line}") };
        assert!(prevents.starts_with("that ") && !source.is_empty(), "{line}");
        code.trim_matches('`')
    });
    assert_eq!(rows.collect::<Vec<_>>(), Rejection::CODES);
}
