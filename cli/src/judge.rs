//! What `bailey verify` says of a report or a document.

use crate::{
    claims::{self, SKEW_MS},
    evidence::Evidence,
    nonce::NonceArgument,
    pcr_file::PcrArgument,
};
use bailey_attestation::{
    BytesRule, Check, DebugRule, DocumentSummary, InstanceBinding, ModuleIdRule, Outcome, PcrRule,
    PcrWanted, Policy, TrustedRoots, VerifyTime, verify,
};
use bailey_manifest::TrustedKeys;
use bailey_model::UnixMillis;
use serde::Serialize;

/// What the caller demands beyond authenticity.
#[derive(Clone, Debug)]
pub(crate) struct Demands {
    /// The roots that are trusted.
    pub(crate) roots: TrustedRoots,
    /// The nonce that the document must carry.
    pub(crate) nonce: Option<NonceArgument>,
    /// Registers that must hold these values.
    pub(crate) pcrs: Vec<PcrArgument>,
    /// The greatest age, in milliseconds.
    pub(crate) max_age_ms: Option<u64>,
    /// The parent on which the enclave must run.
    pub(crate) instance: Option<InstanceBinding>,
    /// Whose signature the manifest in the report must bear; anybody's when there is none.
    pub(crate) manifest_keys: TrustedKeys,
    /// Whether debug mode is refused.
    pub(crate) production: bool,
}

/// As of when something is judged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum AsOf {
    /// The time in the document.
    DocumentsOwn,
    /// The moment of asking.
    Now(UnixMillis),
    /// When the coordinator judged it, by its report.
    Report(UnixMillis),
    /// A time that the caller named.
    Stated(UnixMillis),
}

/// The judgement, as `--json` prints it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Judgement {
    /// Whether everything that was checked is as it must be.
    pub(crate) accepted: bool,
    /// As of when it was judged, in words.
    pub(crate) judged_as_of: String,
    /// The fingerprints of the trusted roots.
    pub(crate) roots: String,
    /// Whether AWS's root, and it alone, was trusted.
    pub(crate) aws_root: bool,
    /// Why the document is refused.
    pub(crate) rejection: Option<RejectionView>,
    /// The document's checks.
    pub(crate) checks: Vec<Check>,
    /// Where a report agrees with its document; empty for a bare document.
    pub(crate) report_checks: Vec<Check>,
    /// What nobody asked for.
    pub(crate) not_checked: Vec<NotChecked>,
    /// What the document says, when it is authentic.
    pub(crate) document: Option<DocumentSummary>,
}

/// Why a document is refused.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RejectionView {
    /// The stable code.
    pub(crate) code: &'static str,
    /// The reason with its values.
    pub(crate) message: String,
}

/// Something that was not checked, and what follows from that.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct NotChecked {
    /// What would be checked.
    pub(crate) what: &'static str,
    /// What may be the case, for all that was checked.
    pub(crate) risk: &'static str,
    /// The flag that asks for it.
    pub(crate) flag: &'static str,
}

/// Judges the evidence by the demands.
pub(crate) fn judge(evidence: &Evidence, demands: &Demands, as_of: AsOf) -> Judgement {
    let document = match evidence {
        Evidence::Document(bytes) => bytes.as_slice(),
        Evidence::Report(report) => report.document.as_slice(),
    };
    let verification = verify(document, &policy(demands, as_of));
    let report_checks = match (evidence, &verification.result) {
        (Evidence::Report(report), Ok(document)) => {
            claims::compare(report, document, &demands.manifest_keys)
        }
        (Evidence::Document(_), Ok(_)) if !demands.manifest_keys.is_empty() => {
            vec![claims::no_manifest("a bare document has none")]
        }
        _ => Vec::new(),
    };
    let contradicted = report_checks.iter().any(|check| check.outcome == Outcome::Failed);
    let rejection = verification
        .result
        .as_ref()
        .err()
        .map(|rejection| RejectionView { code: rejection.code(), message: rejection.to_string() });
    Judgement {
        accepted: verification.result.is_ok() && !contradicted,
        judged_as_of: as_of.to_string(),
        roots: demands.roots.to_string(),
        aws_root: demands.roots == TrustedRoots::aws(),
        rejection,
        not_checked: not_checked(demands, evidence, as_of),
        checks: verification.checks,
        report_checks,
        document: verification.result.ok().map(|document| document.summary()),
    }
}

fn policy(demands: &Demands, as_of: AsOf) -> Policy {
    let nonce = match &demands.nonce {
        Some(NonceArgument(bytes)) => BytesRule::Exactly(bytes.clone()),
        None => BytesRule::Any,
    };
    let named = demands.pcrs.iter().map(|PcrArgument { index, value }| PcrRule {
        index: *index,
        wanted: PcrWanted::Exactly(value.0),
    });
    let image: &[u8] = if demands.production { &[0, 1, 2] } else { &[] };
    let measured = image.iter().map(|index| PcrRule { index: *index, wanted: PcrWanted::NonZero });
    Policy {
        roots: demands.roots.clone(),
        time: as_of.verify_time(),
        skew_ms: SKEW_MS,
        max_age_ms: demands.max_age_ms,
        issued_at_ms: None,
        nonce,
        user_data: BytesRule::Any,
        public_key: BytesRule::Any,
        module_id: ModuleIdRule::Any,
        instance: demands.instance.clone(),
        debug: if demands.production { DebugRule::Refuse } else { DebugRule::Allow },
        pcrs: measured.chain(named).collect(),
    }
}

impl AsOf {
    fn verify_time(self) -> VerifyTime {
        match self {
            Self::DocumentsOwn => VerifyTime::DocumentsOwn,
            Self::Now(at) | Self::Report(at) | Self::Stated(at) => VerifyTime::At(at.0),
        }
    }
}

impl std::fmt::Display for AsOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::DocumentsOwn => f.write_str("the document's own time"),
            Self::Now(at) => write!(f, "now, {at}"),
            Self::Report(at) => write!(f, "the time of the report, {at}"),
            Self::Stated(at) => write!(f, "the time that was asked for, {at}"),
        }
    }
}

/// What the demands leave open, with what may be the case because of it.
fn not_checked(demands: &Demands, evidence: &Evidence, as_of: AsOf) -> Vec<NotChecked> {
    let signed = !demands.manifest_keys.is_empty();
    let has_manifest = matches!(evidence, Evidence::Report(report) if report.manifest.is_some());
    let image_named = signed || demands.pcrs.iter().any(|pcr| matches!(pcr.index, 0..=2 | 8));
    let open = [
        (
            !image_named,
            NotChecked {
                what: "measurements",
                risk: "any code may run in this enclave",
                flag: "--pcr 0=HEX",
            },
        ),
        (
            has_manifest && !signed,
            NotChecked {
                what: "the manifest's signature",
                risk: "anybody may have said what the image measures to",
                flag: "--manifest-key",
            },
        ),
        (
            demands.nonce.is_none(),
            NotChecked {
                what: "nonce",
                risk: "the document may be a replay of an older one",
                flag: "--nonce",
            },
        ),
        (
            !demands.production,
            NotChecked {
                what: "debug mode",
                risk: "the parent may be able to read the enclave's memory",
                flag: "--require-production",
            },
        ),
        (
            demands.instance.is_none(),
            NotChecked {
                what: "host",
                risk: "the enclave may run on any instance of any account",
                flag: "--instance-id",
            },
        ),
        (
            !matches!(as_of, AsOf::Now(_)),
            NotChecked {
                what: "today's time",
                risk: "the enclave may have ended since",
                flag: "--at",
            },
        ),
    ];
    open.into_iter().filter(|(is_open, _)| *is_open).map(|(_, entry)| entry).collect()
}

#[cfg(test)]
pub(crate) mod tests;
