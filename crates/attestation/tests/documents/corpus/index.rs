//! What `index.json` says of each document.

use bailey_attestation::{
    BytesRule, DebugRule, InstanceBinding, ModuleIdRule, PcrRule, PcrWanted, Policy,
    RootFingerprint, TrustedRoots, VerifyTime,
};
use serde::{Deserialize, Serialize};

use crate::common::{AUTHORITY, NOW_MS};

/// The judgement on a document that is good.
pub(super) const ACCEPTED: &str = "accepted";

/// One file of the corpus.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) file: String,
    /// What is special about it, for people.
    pub(super) what: String,
    /// A rejection's code, or [`ACCEPTED`].
    pub(super) expected: String,
    pub(super) terms: Terms,
}

/// The policy by which a document is judged; what is left out is not asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Terms {
    /// SHA-256 of the trusted root's DER, in hex.
    pub(super) root: String,
    /// The time, in milliseconds since the Unix epoch; left out for the document's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) at_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) skew_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) max_age_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) issued_at_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) nonce: Option<Bytes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) user_data: Option<Bytes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) public_key: Option<Bytes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) module_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) instance_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) role_arn: Option<String>,
    /// Whether debug mode is refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) refuse_debug: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) pcrs: Vec<Pcr>,
}

/// What a field of bytes must be.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Bytes {
    /// Left out, null or empty.
    Absent,
    /// These, in hex.
    Exactly(String),
}

/// What a register must hold; values are hex.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pcr {
    pub(super) index: u8,
    pub(super) wanted: Wanted,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Wanted {
    Exactly(String),
    NonZero,
    OneOf(Vec<String>),
    Zero,
}

impl Terms {
    /// Asks for nothing but authenticity, under the local root, a second after the documents are
    /// made.
    pub(super) fn authentic() -> Self {
        Self::under_root(AUTHORITY.certificate_der())
    }

    pub(super) fn under_root(der: &[u8]) -> Self {
        Self {
            root: RootFingerprint::of_der(der).to_string(),
            at_ms: Some(NOW_MS),
            skew_ms: 0,
            max_age_ms: None,
            issued_at_ms: None,
            nonce: None,
            user_data: None,
            public_key: None,
            module_id: None,
            instance_id: None,
            role_arn: None,
            refuse_debug: false,
            pcrs: Vec::new(),
        }
    }

    pub(super) fn policy(&self) -> Policy {
        Policy {
            roots: TrustedRoots::only(vec![self.root.parse().unwrap()]),
            time: self.at_ms.map_or(VerifyTime::DocumentsOwn, VerifyTime::At),
            skew_ms: self.skew_ms,
            max_age_ms: self.max_age_ms,
            issued_at_ms: self.issued_at_ms,
            nonce: bytes_rule(self.nonce.as_ref()),
            user_data: bytes_rule(self.user_data.as_ref()),
            public_key: bytes_rule(self.public_key.as_ref()),
            module_id: self.module_id.clone().map_or(ModuleIdRule::Any, ModuleIdRule::Exactly),
            instance: self.instance_id.clone().map(|instance_id| InstanceBinding {
                instance_id,
                role_arn: self.role_arn.clone(),
            }),
            debug: if self.refuse_debug { DebugRule::Refuse } else { DebugRule::Allow },
            pcrs: self.pcrs.iter().map(pcr_rule).collect(),
        }
    }
}

fn bytes_rule(bytes: Option<&Bytes>) -> BytesRule {
    match bytes {
        None => BytesRule::Any,
        Some(Bytes::Absent) => BytesRule::Absent,
        Some(Bytes::Exactly(wanted)) => BytesRule::Exactly(hex::decode(wanted).unwrap()),
    }
}

fn pcr_rule(Pcr { index, wanted }: &Pcr) -> PcrRule {
    let value = |text: &String| hex::decode(text).unwrap().try_into().unwrap();
    let wanted = match wanted {
        Wanted::Exactly(text) => PcrWanted::Exactly(value(text)),
        Wanted::NonZero => PcrWanted::NonZero,
        Wanted::OneOf(texts) => PcrWanted::OneOf(texts.iter().map(value).collect()),
        Wanted::Zero => PcrWanted::Zero,
    };
    PcrRule { index: *index, wanted }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
