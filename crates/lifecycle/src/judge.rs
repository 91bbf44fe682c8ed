//! Judging an enclave's answer.
//!
//! What a document is held against comes from the ledger; of the host's words only the document
//! itself counts, and the host's own measuring where the record expects nothing.

use crate::{
    config::Config,
    ledger::{Attested, Entry, Host, Judgement},
    shared::shown_by,
    view::View,
};
use bailey_attestation::{
    BytesRule, DebugRule, InstanceBinding, ModuleIdRule, Outcome, PcrRule, PcrWanted, Policy,
    Verification, VerifiedDocument, VerifyTime, verify_cached,
};
use bailey_model::{
    Base64Bytes, Pcr, PcrSet, UnixMillis, binding,
    failure::{Failure, FailureCode},
    hosts::{Nonce, ObservedAssignment},
    record::Configuration,
    report::{self, Certificate, Check, PcrSource, Report, Verdict},
};
use sha2::{Digest, Sha256};
use std::time::Duration;

/// The registers that measure the image; all zero in debug mode.
const IMAGE_PCRS: std::ops::RangeInclusive<u8> = 0..=2;

/// Judges `document`, the host's answer to `nonce`.
pub(crate) fn judge(
    entry: &Entry,
    host: &Host,
    nonce: &Nonce,
    assignment: &ObservedAssignment,
    document: &Base64Bytes,
    view: &View<'_>,
    config: &Config,
) -> Judgement {
    let now = view.now;
    let configuration = entry.configuration();
    let expectation = Expectation::of(entry, assignment);
    let policy = policy(entry, host, nonce, &expectation, config, now);
    let verification = verify_cached(document.as_slice(), &policy, &config.chains);
    let verdict = verification.result.as_ref().ok().map(|doc| expectation.verdict(doc));
    let report_key = report_key(entry, nonce.sequence);
    let location = format!("s3://{}/{report_key}", config.reports_bucket);
    let attested =
        verification.result.as_ref().ok().zip(verdict).map(|(document, verdict)| Attested {
            verdict,
            pcrs: pcr_set(document),
            pcr_source: expectation.source,
            verified_at: now,
            module_id: document.module_id().to_owned(),
            report: location.clone(),
        });
    let failure = failure(configuration, &verification, verdict, &location, now)
        .or_else(|| shown_before(entry, attested.as_ref(), view));
    let report =
        report(entry, host, nonce, document, view, config, &expectation, &verification, verdict);
    // A value of our own types always has a JSON form.
    let report = serde_json::to_string_pretty(&report).unwrap_or_default();
    Judgement {
        report_sha256: hex::encode(Sha256::digest(report.as_bytes())),
        report_key,
        report,
        sequence: nonce.sequence,
        attested,
        failure,
    }
}

/// What the registers should hold, and who says so.
struct Expectation {
    pcrs: PcrSet,
    source: PcrSource,
    debug: bool,
}

impl Expectation {
    fn of(entry: &Entry, assignment: &ObservedAssignment) -> Self {
        let debug = entry.configuration().is_some_and(|configuration| configuration.debug_mode);
        let (pcrs, source) = entry
            .expected_pcrs()
            .unwrap_or_else(|| (assignment.measurements.clone(), PcrSource::Agent));
        Self { pcrs, source, debug }
    }

    /// In debug mode the registers say nothing about the image. Otherwise they must not be zero,
    /// whatever the host says that they should be.
    fn rules(&self) -> Vec<PcrRule> {
        if self.debug {
            return Vec::new();
        }
        let image = IMAGE_PCRS
            .filter(|index| !self.pcrs.contains_key(index))
            .map(|index| PcrRule { index, wanted: PcrWanted::NonZero });
        let given = self
            .pcrs
            .iter()
            .map(|(index, pcr)| PcrRule { index: *index, wanted: PcrWanted::Exactly(pcr.0) });
        image.chain(given).collect()
    }

    fn verdict(&self, document: &VerifiedDocument) -> Verdict {
        if document.is_debug() {
            Verdict::Debug
        } else if self.source != PcrSource::Agent && !self.debug && names_image(&self.pcrs) {
            Verdict::Verified
        } else {
            Verdict::Authentic
        }
    }
}

/// Whether these registers say which image runs: the whole image (PCR0), its two parts (PCR1 and
/// PCR2), or who signed it (PCR8).
pub(crate) fn names_image(pcrs: &PcrSet) -> bool {
    let has = |index: u8| pcrs.contains_key(&index);
    has(0) || (has(1) && has(2)) || has(8)
}

fn policy(
    entry: &Entry,
    host: &Host,
    nonce: &Nonce,
    expectation: &Expectation,
    config: &Config,
    now: UnixMillis,
) -> Policy {
    let bound = binding::user_data(entry.id.as_str(), entry.generation.0, nonce.bytes.as_slice());
    Policy {
        roots: config.roots.clone(),
        time: VerifyTime::At(now.0),
        skew_ms: millis(config.skew),
        max_age_ms: Some(millis(config.nonce_ttl.saturating_add(config.skew))),
        issued_at_ms: Some(nonce.issued_at.0),
        nonce: BytesRule::Exactly(nonce.bytes.0.clone()),
        user_data: BytesRule::Exactly(bound.to_vec()),
        // keep puts a key only into what its workload asks for, and that can hold any nonce and any
        // user data: it answers nobody here.
        public_key: BytesRule::Absent,
        // Pinned by the first document of an enclave, until its host reports another start.
        module_id: entry.attested.as_ref().map_or(ModuleIdRule::Any, |attested| {
            ModuleIdRule::Exactly(attested.module_id.clone())
        }),
        instance: Some(InstanceBinding {
            instance_id: host.instance_id.clone(),
            role_arn: config.role_arn.clone(),
        }),
        debug: if expectation.debug { DebugRule::Allow } else { DebugRule::Refuse },
        pcrs: expectation.rules(),
    }
}

fn failure(
    configuration: Option<&Configuration>,
    verification: &Verification,
    verdict: Option<Verdict>,
    location: &str,
    now: UnixMillis,
) -> Option<Failure> {
    if let Err(rejection) = &verification.result {
        let message = format!("{}: {rejection} (report: {location})", rejection.code());
        return Some(Failure::new(FailureCode::AttestationRejected, message, now));
    }
    let verdict = verdict.filter(|verdict| *verdict != Verdict::Verified)?;
    let required = configuration.is_some_and(|configuration| configuration.require_verified);
    required.then(|| {
        let message = format!(
            "the verdict is {verdict}, and the record requires verified (report: {location})"
        );
        Failure::new(FailureCode::NotVerified, message, now)
    })
}

/// A shared host that shows one enclave as two is not believed; the document itself is in order.
fn shown_before(entry: &Entry, attested: Option<&Attested>, view: &View<'_>) -> Option<Failure> {
    let Attested { module_id, report, .. } = attested?;
    let other = shown_by(module_id, entry, view.slot)?;
    let message = format!("{module_id} is the enclave of {other} already (report: {report})");
    Some(Failure::new(FailureCode::AttestationRejected, message, view.now))
}

/// Ten digits, so that the keys of a chain sort in its order.
fn report_key(entry: &Entry, sequence: u64) -> String {
    format!("reports/{}/{}/{sequence:010}.json", entry.id, entry.generation)
}

#[expect(clippy::too_many_arguments, reason = "a report holds all that a judgement saw")]
fn report(
    entry: &Entry,
    host: &Host,
    nonce: &Nonce,
    document: &Base64Bytes,
    view: &View<'_>,
    config: &Config,
    expectation: &Expectation,
    verification: &Verification,
    verdict: Option<Verdict>,
) -> Report {
    let verified = verification.result.as_ref().ok();
    let mut software = config.software.clone();
    let agent = view.observed.map(|observed| observed.agent_version.clone());
    software.extend(agent.map(|version| ("bailey-agent".to_owned(), version)));
    let image = view.observed.and_then(|observed| observed.parent_image.clone());
    software.extend(image.map(|image| ("parent-image".to_owned(), image)));
    Report {
        schema: report::SCHEMA.to_owned(),
        enclave_id: entry.id.clone(),
        generation: entry.generation,
        sequence: nonce.sequence,
        previous: entry.chain.as_ref().map(|head| head.sha256.clone()),
        judged_at: view.now,
        verdict,
        rejection: verification.result.as_ref().err().map(|r| r.code().to_owned()),
        document: document.clone(),
        nonce: nonce.bytes.clone(),
        nonce_issued_at: nonce.issued_at,
        checks: verification.checks.iter().map(check).collect(),
        pcrs: verified.map(pcr_set).unwrap_or_default(),
        expected_pcrs: expectation.pcrs.clone(),
        pcr_source: expectation.source,
        manifest: entry.signed_manifest().map(|signed| signed.evidence.clone()),
        certificates: verified.map(certificates).unwrap_or_default(),
        host: report::Host {
            instance_id: host.instance_id.clone(),
            instance_type: host.instance_type.to_string(),
            availability_zone: host.availability_zone.clone(),
            role_arn: config.role_arn.clone(),
        },
        software,
    }
}

fn check(check: &bailey_attestation::Check) -> Check {
    let outcome = match check.outcome {
        Outcome::Failed => "failed",
        Outcome::NotChecked => "not_checked",
        Outcome::Passed => "passed",
        Outcome::Waived => "waived",
    };
    Check {
        name: check.name.clone(),
        outcome: outcome.to_owned(),
        expected: Some(check.expected.clone()),
        found: check.found.clone(),
    }
}

fn certificates(document: &VerifiedDocument) -> Vec<Certificate> {
    let certificate = |summary: &bailey_attestation::CertificateSummary| Certificate {
        subject: summary.subject.clone(),
        sha256: summary.sha256.clone(),
        not_before: UnixMillis(summary.not_before_ms),
        not_after: UnixMillis(summary.not_after_ms),
    };
    document.certificates().iter().map(certificate).collect()
}

fn pcr_set(document: &VerifiedDocument) -> PcrSet {
    document.pcrs().iter().map(|(index, value)| (*index, Pcr(*value))).collect()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
