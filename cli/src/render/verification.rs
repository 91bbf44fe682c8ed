//! The judgement on a report or a document, as people read it.

use super::{instants, layout::section, mark, report::checked};
use crate::{judge::Judgement, output::one_line};
use bailey_attestation::{Check, DocumentSummary};
use bailey_model::UnixMillis;

/// The judgement first, then each check, then, loudly, what was not checked.
pub(crate) fn verification(judgement: &Judgement) -> String {
    let mut text = format!("{}\n", one_line(&headline(judgement)));
    text.push_str(&section("Judged", &basis(judgement)));
    text.push_str(&section("Checks of the document", &checks(&judgement.checks)));
    text.push_str(&section(
        "Does the report say what its document says?",
        &checks(&judgement.report_checks),
    ));
    text.push_str(&judgement.document.as_ref().map(contents).unwrap_or_default());
    text.push_str(&open(judgement));
    text
}

fn headline(judgement: &Judgement) -> String {
    if let Some(reason) = judgement.refusal() {
        return format!("REJECTED {}", instants(&reason));
    }
    let debug = judgement.document.as_ref().is_some_and(|document| document.debug);
    let extent = if judgement.not_checked.is_empty() { "" } else { " as far as it was checked" };
    if debug {
        return format!("ACCEPTED, DEBUG: authentic{extent}, of an enclave in debug mode");
    }
    format!("ACCEPTED: authentic{extent}")
}

fn basis(judgement: &Judgement) -> Vec<(&'static str, String)> {
    let roots = if judgement.aws_root {
        "AWS's root G1".to_owned()
    } else {
        format!("not AWS's, but SHA-256 {}", judgement.roots)
    };
    vec![("as of", judgement.judged_as_of.clone()), ("trusted root", roots)]
}

fn checks(checks: &[Check]) -> Vec<(String, String)> {
    checks
        .iter()
        .map(|check| {
            let name = format!("{} {}", mark(check.outcome), check.name);
            (name, checked(check.outcome, Some(&check.expected), check.found.as_deref()))
        })
        .collect()
}

fn contents(document: &DocumentSummary) -> String {
    let mut pairs = vec![
        ("module".to_owned(), document.module_id.clone()),
        ("made at".to_owned(), UnixMillis(document.timestamp_ms).to_string()),
    ];
    let zero = |value: &str| value.bytes().all(|digit| digit == b'0');
    let shown = document.pcrs.iter().filter(|(index, value)| **index <= 2 || !zero(value));
    pairs.extend(shown.map(|(index, value)| (format!("PCR{index}"), value.clone())));
    section("The document", &pairs)
}

/// What nobody asked for.
pub(super) fn open(judgement: &Judgement) -> String {
    let pairs: Vec<_> = judgement
        .not_checked
        .iter()
        .map(|entry| (format!("! {}", entry.what), format!("{} ({})", entry.risk, entry.flag)))
        .collect();
    section("NOT CHECKED, since no flag asked for it", &pairs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::{NotChecked, RejectionView};
    use bailey_attestation::Outcome;

    fn check(name: &str, outcome: Outcome) -> Check {
        let found = (outcome != Outcome::NotChecked).then(|| "this".to_owned());
        Check { name: name.to_owned(), outcome, expected: "that".to_owned(), found }
    }

    fn accepted() -> Judgement {
        Judgement {
            accepted: true,
            judged_as_of: "the document's own time".to_owned(),
            roots: "ab".to_owned(),
            aws_root: false,
            rejection: None,
            checks: vec![check("structure", Outcome::Passed), check("nonce", Outcome::Waived)],
            report_checks: vec![check("report_nonce", Outcome::Passed)],
            not_checked: vec![NotChecked { what: "nonce", risk: "a replay", flag: "--nonce" }],
            document: Some(DocumentSummary {
                module_id: "i-1-enc01".to_owned(),
                timestamp_ms: 1_735_732_800_000,
                debug: false,
                pcrs: [(0, "ab".to_owned()), (5, "00".to_owned())].into(),
                public_key: None,
                user_data: None,
                nonce: None,
                certificates: Vec::new(),
            }),
        }
    }

    #[test]
    fn an_accepted_report_says_loudly_what_nobody_asked_for() {
        assert_eq!(verification(&accepted()), ACCEPTED);
    }

    const ACCEPTED: &str = "\
ACCEPTED: authentic as far as it was checked

Judged
  as of         the document's own time
  trusted root  not AWS's, but SHA-256 ab

Checks of the document
  ✓ structure  this
  – nonce      not asked for; found this

Does the report say what its document says?
  ✓ report_nonce  this

The document
  module   i-1-enc01
  made at  2025-01-01T12:00:00Z
  PCR0     ab

NOT CHECKED, since no flag asked for it
  ! nonce  a replay (--nonce)
";

    #[test]
    fn a_debug_document_is_accepted_and_marked() {
        let mut judgement = accepted();
        judgement.document.as_mut().unwrap().debug = true;
        let text = verification(&judgement);
        assert!(text.starts_with("ACCEPTED, DEBUG: authentic as far as it was checked,"), "{text}");
    }

    #[test]
    fn a_rejection_comes_first_with_its_code() {
        let mut judgement = accepted();
        judgement.rejection =
            Some(RejectionView { code: "CoseSignature", message: "bad\nsignature".to_owned() });
        assert!(verification(&judgement).starts_with("REJECTED CoseSignature: bad signature\n"));
    }

    #[test]
    fn a_report_that_contradicts_its_document_is_rejected_by_name() {
        let mut judgement = accepted();
        judgement.report_checks = vec![check("report_pcrs", Outcome::Failed)];
        let text = verification(&judgement);
        assert!(text.starts_with("REJECTED report_pcrs: the document is authentic, but"), "{text}");
        assert!(text.contains("✗ report_pcrs  wanted that; found this"), "{text}");
    }
}
