//! What a report says, in words: the same in every form.

use super::super::{instants, meaning};
use crate::digest::Digest;
use bailey_attestation::{Outcome, RootFingerprint, TrustedRoots};
use bailey_model::report::{Check, PcrSource, Report, Verdict};

/// How good the news is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Tone {
    Bad,
    Good,
    Guarded,
}

/// The verdict in one word, what it means, and how good that is.
pub(super) fn verdict(report: &Report) -> (&'static str, String, Tone) {
    match (report.verdict, &report.rejection) {
        (Some(verdict), None) => {
            let (word, tone) = match verdict {
                Verdict::Authentic => ("AUTHENTIC", Tone::Guarded),
                Verdict::Debug => ("DEBUG", Tone::Bad),
                Verdict::Verified if under_awss_root(report) == Some(false) => {
                    ("VERIFIED", Tone::Guarded)
                }
                Verdict::Verified => ("VERIFIED", Tone::Good),
            };
            (word, meaning(verdict).to_owned(), tone)
        }
        (_, Some(code)) => ("REJECTED", format!("{code}: do not trust this enclave"), Tone::Bad),
        (None, None) => {
            ("NO VERDICT", "the report says neither that nor why not".to_owned(), Tone::Bad)
        }
    }
}

/// What the verdict means for who relies on the enclave.
pub(super) fn explanation(report: &Report) -> String {
    let genuine = "The document is genuine: a trusted root vouches for it, and it answers a \
                   question that was asked of this enclave alone.";
    let code = match (report.verdict, &report.rejection) {
        (Some(Verdict::Verified), None) => "The code that it measures is the code that was to run.",
        (Some(Verdict::Authentic), None) => {
            "Which code runs is open: nobody but the host itself said what should be measured."
        }
        (Some(Verdict::Debug), None) => {
            "But its measurements are zero, so any code may run, and the host can read along. \
             Entrust nothing to it."
        }
        (Some(_) | None, _) => return refusal(report),
    };
    format!("{genuine} {code}")
}

fn refusal(report: &Report) -> String {
    let failed =
        report.checks.iter().find(|check| super::outcome(&check.outcome) == Outcome::Failed);
    let failed = failed.map(|check| format!("The check {} failed. ", check.name));
    format!(
        "{}The enclave was not accepted, and nothing that the document says can be relied upon.",
        failed.unwrap_or_default()
    )
}

/// How many checks came to what.
pub(super) fn count(report: &Report) -> String {
    let kinds = [Outcome::Passed, Outcome::Failed, Outcome::NotChecked, Outcome::Waived];
    let counted = kinds.into_iter().filter_map(|kind| {
        let is = |check: &&Check| super::outcome(&check.outcome) == kind;
        let count = report.checks.iter().filter(is).count();
        (count > 0).then(|| format!("{count} {}", called(kind)))
    });
    let counted: Vec<_> = counted.collect();
    format!("Of {} checks: {}.", report.checks.len(), counted.join(", "))
}

/// Whether the chain starts at AWS's root; unknown when the report names no certificate.
pub(super) fn under_awss_root(report: &Report) -> Option<bool> {
    let root = report.certificates.first()?;
    let named = root.sha256.parse::<RootFingerprint>().ok();
    Some(named.is_some_and(|root| TrustedRoots::only(vec![root]) == TrustedRoots::aws()))
}

/// What a reader must know before believing the verdict.
pub(super) fn cautions(report: &Report) -> Vec<&'static str> {
    let local = "The certificate chain does not start at the AWS Nitro Enclaves root: the document \
                 was made under another root, as local clouds and tests do. It proves nothing \
                 about AWS hardware.";
    let agent = "The expected measurements came from the host itself, which cannot vouch for \
                 itself: no one independent says which code should run.";
    let from_host = report.pcr_source == PcrSource::Agent && report.verdict.is_some();
    let is_local = under_awss_root(report) == Some(false);
    [(is_local, local), (from_host, agent)].into_iter().filter(|c| c.0).map(|c| c.1).collect()
}

/// What no report can show, whatever its verdict.
pub(super) fn limits(report: &Report) -> [String; 3] {
    [
        format!(
            "Anything after {}: the enclave may have ended or been replaced since.",
            report.judged_at
        ),
        "What the code does: measurements say which image runs, not that it is free of faults."
            .to_owned(),
        "This rendering: it repeats what the report says and proves nothing by itself. The report \
         file does, when it is verified as below."
            .to_owned(),
    ]
}

/// Names and values about the report itself.
pub(super) fn subject(report: &Report, sha256: Digest) -> Vec<(&'static str, String)> {
    vec![
        ("Enclave", report.enclave_id.to_string()),
        ("Generation", report.generation.to_string()),
        ("Number in its generation", report.sequence.to_string()),
        ("Judged at", report.judged_at.to_string()),
        ("Nonce", hex::encode(report.nonce.as_slice())),
        ("Nonce issued at", report.nonce_issued_at.to_string()),
        ("SHA-256 of this report", sha256.to_string()),
        (
            "SHA-256 of the report before it",
            report.previous.clone().unwrap_or_else(|| "none: it is the first".to_owned()),
        ),
        (
            "Attestation document",
            format!(
                "{} bytes, SHA-256 {}",
                report.document.as_slice().len(),
                Digest::of(report.document.as_slice())
            ),
        ),
    ]
}

/// Names and values about the parent instance.
pub(super) fn host(report: &Report) -> Vec<(&'static str, String)> {
    let host = &report.host;
    vec![
        ("Instance", host.instance_id.clone()),
        ("Type", host.instance_type.clone()),
        ("Availability zone", host.availability_zone.clone()),
        ("Role", host.role_arn.clone().unwrap_or_else(|| "not bound to one".to_owned())),
    ]
}

/// A check for a table: its name, what it is for, what it came to.
pub(super) struct CheckRow {
    pub(super) name: String,
    pub(super) purpose: &'static str,
    pub(super) outcome: Outcome,
    pub(super) expected: String,
    pub(super) found: String,
}

/// Every check, those that were made first.
pub(super) fn checks(report: &Report) -> (Vec<CheckRow>, Vec<CheckRow>) {
    let row = |check: &Check| {
        let shown = |text: Option<&str>| instants(text.unwrap_or("–"));
        CheckRow {
            name: check.name.clone(),
            purpose: purpose(&check.name),
            outcome: super::outcome(&check.outcome),
            expected: shown(check.expected.as_deref()),
            found: shown(check.found.as_deref()),
        }
    };
    let made = |row: &CheckRow| matches!(row.outcome, Outcome::Failed | Outcome::Passed);
    report.checks.iter().map(row).partition(made)
}

fn purpose(name: &str) -> &'static str {
    match name {
        "structure" => "The document has the form that AWS specifies",
        "root" => "The certificate chain starts at a trusted root",
        "certificates" => "Every certificate is well formed, with P-384 keys",
        "chain_names" => "Each certificate was issued by the one before it",
        "chain_constraints" => "Each authority may issue the certificate after it",
        "chain_validity" => "Every certificate was valid at that time",
        "chain_signatures" => "Each certificate is signed by the one before it",
        "document_signature" => "The document is signed by the enclave's module",
        "timestamp" => "The document is not from the future",
        "age" => "The document is fresh",
        "issued_at" => "The document was made after the nonce",
        "nonce" => "The document answers this question, and is no replay",
        "user_data" => "The document is bound to this enclave and generation",
        "public_key" => "The document carries the key that it should",
        "module_id" => "It is the same enclave as before",
        "instance" | "instance_pcr" => "The enclave runs on the instance that was launched",
        "role_pcr" => "The instance has its role",
        "debug" => "The enclave's memory cannot be read from outside",
        "pcr_0" => "The whole image is the expected one",
        "pcr_1" => "The kernel is the expected one",
        "pcr_2" => "The application is the expected one",
        "pcr_8" => "The image is signed by the expected key",
        name if name.starts_with("pcr_") => "A register has the expected value",
        _ => "",
    }
}

/// Names and values about the signed manifest that the expectations came from.
pub(super) fn manifest(report: &Report) -> Vec<(&'static str, String)> {
    let Some(manifest) = &report.manifest else { return Vec::new() };
    vec![
        ("Signed manifest", manifest.location.to_string()),
        ("SHA-256 of the key that signed it", manifest.key_id.clone()),
    ]
}

/// What an outcome is called.
pub(super) fn called(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Failed => "failed",
        Outcome::NotChecked => "not checked",
        Outcome::Passed => "passed",
        Outcome::Waived => "not asked for",
    }
}

/// What a certificate of the chain is for, from its place, as text for people.
pub(super) fn part(report: &Report, index: usize) -> &'static str {
    match index {
        0 => "Root",
        last if last.saturating_add(1) == report.certificates.len() => "Enclave's module",
        _ => "Authority",
    }
}

/// The start and the end of a certificate's validity.
pub(super) fn validity(certificate: &bailey_model::report::Certificate) -> String {
    format!("{} to {}", certificate.not_before, certificate.not_after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejection_names_the_check_that_failed() {
        let mut report = super::super::tests::example();
        assert!(explanation(&report).starts_with("The document is genuine: "));
        report.rejection = Some("debug_mode".to_owned());
        assert!(explanation(&report).starts_with("The check debug failed. "));
    }

    #[test]
    fn checks_are_counted_by_what_they_came_to() {
        let count = count(&super::super::tests::example());
        assert_eq!(count, "Of 6 checks: 3 passed, 1 failed, 1 not checked, 1 not asked for.");
    }

    #[test]
    fn a_verdict_under_another_root_than_awss_is_not_shown_as_good() {
        let mut report = super::super::tests::example();
        assert_eq!(verdict(&report).2, Tone::Guarded);
        report.certificates[0].sha256 = TrustedRoots::aws().to_string();
        assert_eq!(verdict(&report).2, Tone::Good);
        assert_eq!(cautions(&report), [""; 0]);
    }
}
