//! Whether a report says of its document what the document says of itself.
//!
//! A report is written by the coordinator, and anyone may edit a copy of it; the document is signed.
//! A report that contradicts its document is refused, however good the document is.

use bailey_attestation::{Check, Outcome, VerifiedDocument, pcr3_for_role, pcr4_for_instance};
use bailey_manifest::TrustedKeys;
use bailey_model::{
    Pcr, PcrSet, binding,
    report::{PcrSource, Report, Verdict},
};

/// One check for each thing that a report says and its document can confirm.
pub(crate) fn compare(
    report: &Report,
    document: &VerifiedDocument,
    manifest_keys: &TrustedKeys,
) -> Vec<Check> {
    let mut checks = vec![
        nonce(report, document),
        binding(report, document),
        issued_at(report, document),
        instance(report, document),
        instance_register(report, document),
        role(report, document),
        pcrs(report, document),
        certificates(report, document),
        verdict(report, document),
    ];
    checks.extend(manifest(report, document, manifest_keys));
    checks
}

/// The greatest difference between the clocks of a module and a coordinator, in milliseconds.
pub(crate) const SKEW_MS: u64 = 300_000;

fn nonce(report: &Report, document: &VerifiedDocument) -> Check {
    equal("report_nonce", hex::encode(report.nonce.as_slice()), shown(document.nonce()))
}

/// `user_data` must tie the document to the enclave, the generation and the nonce of the report.
fn binding(report: &Report, document: &VerifiedDocument) -> Check {
    let id = report.enclave_id.as_str();
    let expected = binding::user_data(id, report.generation.0, report.nonce.as_slice());
    equal("report_binding", hex::encode(expected), shown(document.user_data()))
}

fn issued_at(report: &Report, document: &VerifiedDocument) -> Check {
    let earliest = report.nonce_issued_at.0.saturating_sub(SKEW_MS);
    let found = document.timestamp_ms();
    let expected = format!("at least {earliest}");
    check("report_issued_at", found >= earliest, expected, found.to_string())
}

fn instance(report: &Report, document: &VerifiedDocument) -> Check {
    let prefix = format!("{}-enc", report.host.instance_id);
    let found = document.module_id();
    check("report_instance", found.starts_with(&prefix), format!("{prefix}…"), found.to_owned())
}

fn instance_register(report: &Report, document: &VerifiedDocument) -> Check {
    let expected = pcr4_for_instance(&report.host.instance_id);
    equal("report_instance_pcr", hex::encode(expected), register(document, 4))
}

fn role(report: &Report, document: &VerifiedDocument) -> Check {
    let found = register(document, 3);
    match &report.host.role_arn {
        Some(arn) => equal("report_role_pcr", hex::encode(pcr3_for_role(arn)), found),
        None => Check {
            name: "report_role_pcr".to_owned(),
            outcome: Outcome::Waived,
            expected: "anything".to_owned(),
            found: Some(found),
        },
    }
}

/// Every register that either side names must be the same on both; zero and absent are alike.
fn pcrs(report: &Report, document: &VerifiedDocument) -> Check {
    let stated = document_pcrs(document);
    let zero = Pcr([0; 48]);
    let value = |pcrs: &PcrSet, index: u8| pcrs.get(&index).copied().unwrap_or(zero);
    let wrong: Vec<_> = (0..=31)
        .filter(|index| value(&report.pcrs, *index) != value(&stated, *index))
        .map(|index| format!("PCR{index}"))
        .collect();
    let found = match wrong.len() {
        0 => "the document's registers".to_owned(),
        _ => format!("other values of {}", wrong.join(", ")),
    };
    check("report_pcrs", wrong.is_empty(), "the document's registers".to_owned(), found)
}

fn certificates(report: &Report, document: &VerifiedDocument) -> Check {
    let joined = |hashes: Vec<&str>| hashes.join(" ");
    let found = joined(document.certificates().iter().map(|cert| &*cert.sha256).collect());
    let expected = joined(report.certificates.iter().map(|cert| &*cert.sha256).collect());
    equal("report_certificates", expected, found)
}

fn verdict(report: &Report, document: &VerifiedDocument) -> Check {
    let strongest = strongest(report, document);
    // A coordinator may be more careful than the evidence, never less.
    let careful = |verdict| verdict == Verdict::Authentic && strongest == Verdict::Verified;
    let (agrees, found) = match (report.verdict, &report.rejection) {
        (Some(verdict), None) => (verdict == strongest || careful(verdict), verdict.to_string()),
        (_, Some(code)) => (false, format!("a rejection, {code}")),
        (None, None) => (false, "no verdict".to_owned()),
    };
    check("report_verdict", agrees, strongest.to_string(), found)
}

/// With keys, a manifest in the report must bear a signature of one of them and state what the
/// document's registers hold; none when neither the report nor the caller speaks of a manifest.
fn manifest(report: &Report, document: &VerifiedDocument, keys: &TrustedKeys) -> Option<Check> {
    let Some(manifest) = &report.manifest else {
        return (!keys.is_empty()).then(|| no_manifest("the report has none"));
    };
    if keys.is_empty() {
        return Some(Check {
            name: MANIFEST.to_owned(),
            outcome: Outcome::Waived,
            expected: "anything".to_owned(),
            found: Some(format!("a signature of the key {}", manifest.key_id)),
        });
    }
    let expected = || "a trusted signature over the document's registers".to_owned();
    let signed = match keys.open(manifest.envelope.as_slice()) {
        Ok(signed) => signed,
        Err(error) => return Some(check(MANIFEST, false, expected(), error.to_string())),
    };
    let stated = document_pcrs(document);
    let other = signed.manifest().measurements.pcrs().into_iter().find(|(index, pcr)| {
        stated.get(index) != Some(pcr) || report.expected_pcrs.get(index) != Some(pcr)
    });
    let found = match other {
        Some((index, pcr)) => format!("PCR{index} {pcr}"),
        None => format!("that of the key {}", signed.key_id()),
    };
    Some(check(MANIFEST, other.is_none(), expected(), found))
}

const MANIFEST: &str = "report_manifest";

/// The check of a signed manifest where there is none.
pub(crate) fn no_manifest(found: &str) -> Check {
    check(MANIFEST, false, "a signed manifest".to_owned(), found.to_owned())
}

/// The verdict to which document and expectations lead.
fn strongest(report: &Report, document: &VerifiedDocument) -> Verdict {
    let stated = document_pcrs(document);
    let met = report.expected_pcrs.iter().all(|(index, pcr)| stated.get(index) == Some(pcr));
    let by_somebody_else = match report.pcr_source {
        PcrSource::Agent => false,
        PcrSource::Manifest => report.manifest.is_some(),
        PcrSource::Record => true,
    };
    let demanded = by_somebody_else && !report.expected_pcrs.is_empty();
    if document.is_debug() {
        Verdict::Debug
    } else if demanded && met {
        Verdict::Verified
    } else {
        Verdict::Authentic
    }
}

fn document_pcrs(document: &VerifiedDocument) -> PcrSet {
    document.pcrs().iter().map(|(index, value)| (*index, Pcr(*value))).collect()
}

fn register(document: &VerifiedDocument, index: u8) -> String {
    document.pcrs().get(&index).map_or_else(|| "absent".to_owned(), hex::encode)
}

fn shown(bytes: Option<&[u8]>) -> String {
    bytes.map_or_else(|| "absent".to_owned(), hex::encode)
}

fn equal(name: &str, expected: String, found: String) -> Check {
    check(name, expected == found, expected, found)
}

fn check(name: &str, agrees: bool, expected: String, found: String) -> Check {
    let outcome = if agrees { Outcome::Passed } else { Outcome::Failed };
    Check { name: name.to_owned(), outcome, expected, found: Some(found) }
}
