//! What a report says, in words: the same in every form.

use super::super::{instants, meaning};
use crate::digest::Digest;
use bailey_attestation::{Outcome, RootFingerprint, TrustedRoots};
use bailey_model::report::{Check, PcrSource, Report, Verdict};
use std::collections::BTreeSet;

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
        ("Attestation document", format!("{} bytes", report.document.as_slice().len())),
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
    pub(super) text: String,
}

/// Every check, those that were made first.
pub(super) fn checks(report: &Report) -> (Vec<CheckRow>, Vec<CheckRow>) {
    let row = |check: &Check| {
        let outcome = super::outcome(&check.outcome);
        let (expected, found) = (check.expected.as_deref(), check.found.as_deref());
        // Where the outcome stands in a column of its own, the text need not say it again.
        let text = match outcome {
            Outcome::Failed | Outcome::Passed => super::checked(outcome, expected, found),
            Outcome::NotChecked | Outcome::Waived => instants(found.unwrap_or("–")),
        };
        CheckRow { name: check.name.clone(), purpose: purpose(&check.name), outcome, text }
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

/// A register for a table.
pub(super) struct RegisterRow {
    pub(super) name: String,
    pub(super) expected: Option<String>,
    pub(super) found: Option<String>,
    pub(super) outcome: Outcome,
}

/// Every register that somebody expected something of, or that is not zero; and how many are left.
pub(super) fn registers(report: &Report) -> (Vec<RegisterRow>, usize) {
    let indices: BTreeSet<_> = report.pcrs.keys().chain(report.expected_pcrs.keys()).collect();
    let told = |index: &&u8| {
        **index <= 2
            || report.expected_pcrs.contains_key(index)
            || report.pcrs.get(index).is_some_and(|pcr| !pcr.is_zero())
    };
    let (told, zero): (Vec<&u8>, Vec<&u8>) = indices.into_iter().partition(told);
    let row = |index: &u8| {
        let (expected, found) = (report.expected_pcrs.get(index), report.pcrs.get(index));
        let outcome = match (expected, report.verdict) {
            (None, _) => Outcome::Waived,
            (_, Some(Verdict::Debug)) => Outcome::NotChecked,
            _ if found.is_none() && report.pcrs.is_empty() => Outcome::NotChecked,
            _ if expected == found => Outcome::Passed,
            _ => Outcome::Failed,
        };
        let shown = |pcr: Option<&bailey_model::Pcr>| pcr.map(ToString::to_string);
        let (expected, found) = (shown(expected), shown(found));
        RegisterRow { name: format!("PCR{index}"), expected, found, outcome }
    };
    (told.into_iter().map(row).collect(), zero.len())
}

/// Who says what the registers should hold.
pub(super) fn expectation(report: &Report) -> &'static str {
    match report.pcr_source {
        _ if report.expected_pcrs.is_empty() => "Nobody said what the measurements should be.",
        PcrSource::Agent => "The host measured the image itself; these are its expectations.",
        PcrSource::Record => "The expectations were given with the request to deploy.",
    }
}

/// The command with which anyone can verify the report file.
pub(super) fn command(report: &Report) -> String {
    let mut words = vec!["bailey verify report.json".to_owned()];
    if under_awss_root(report) == Some(false) {
        words.push("--root ROOT.pem".to_owned());
    }
    if matches!(report.verdict, Some(Verdict::Authentic | Verdict::Verified)) {
        words.push("--require-production".to_owned());
        let pcrs = report.expected_pcrs.iter();
        words.extend(pcrs.map(|(index, pcr)| format!("--pcr {index}={pcr}")));
    }
    words.push(format!("--nonce hex:{}", hex::encode(report.nonce.as_slice())));
    words.push(format!("--instance-id {}", quoted(&report.host.instance_id)));
    words.extend(report.host.role_arn.iter().map(|arn| format!("--role-arn {}", quoted(arn))));
    words.join(" \\\n  ")
}

/// A word for a shell: a report is written by others, and its reader will paste the command.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@+,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    let text = crate::output::one_line(&crate::output::harmless(text));
    format!("'{}'", text.replace('\'', r"'\''"))
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

/// The start and the end of a certificate's validity.
pub(super) fn validity(certificate: &bailey_model::report::Certificate) -> String {
    format!("{} to {}", certificate.not_before, certificate.not_after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_under_another_root_than_awss_is_not_shown_as_good() {
        let mut report = super::super::tests::example();
        assert_eq!(verdict(&report).2, Tone::Guarded);
        report.certificates[0].sha256 = TrustedRoots::aws().to_string();
        assert_eq!(verdict(&report).2, Tone::Good);
        assert_eq!(cautions(&report), [""; 0]);
    }

    #[test]
    fn what_a_shell_would_obey_is_quoted() {
        assert_eq!(quoted("arn:aws:iam::1:role/parent"), "arn:aws:iam::1:role/parent");
        assert_eq!(quoted("i-1; rm -rf ~"), "'i-1; rm -rf ~'");
        assert_eq!(quoted("it's\n$(x)"), r"'it'\''s $(x)'");
    }
}
