//! An attestation report: everything it takes to judge a document again, offline.

use crate::{Base64Bytes, EnclaveId, Generation, PcrSet, S3Location, UnixMillis};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// The value of [`Report::schema`] that this version writes.
pub const SCHEMA: &str = "bailey.report/1";

/// An attestation report, stored as one JSON object.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// Whose enclave.
    pub enclave_id: EnclaveId,
    /// Which accepted request.
    pub generation: Generation,
    /// Place in the enclave's chain of reports, from 1; it is also the nonce's sequence.
    pub sequence: u64,
    /// SHA-256 of the report before it in the chain, in hex; absent in the first.
    pub previous: Option<String>,
    /// When the coordinator judged the document.
    pub judged_at: UnixMillis,
    /// The verdict; absent when the document was rejected.
    pub verdict: Option<Verdict>,
    /// The stable code of the rejection.
    pub rejection: Option<String>,
    /// The raw `COSE_Sign1`.
    pub document: Base64Bytes,
    /// The nonce that it had to carry.
    pub nonce: Base64Bytes,
    /// When the nonce was issued.
    pub nonce_issued_at: UnixMillis,
    /// Every check in order, passed ones too.
    pub checks: Vec<Check>,
    /// PCRs as the document states them.
    pub pcrs: PcrSet,
    /// PCRs that were expected.
    pub expected_pcrs: PcrSet,
    /// Where the expectation came from.
    pub pcr_source: PcrSource,
    /// The signed manifest that they came from, when they did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<SignedManifest>,
    /// The certificate chain, root first.
    pub certificates: Vec<Certificate>,
    /// The parent instance.
    pub host: Host,
    /// Versions of the programs that took part: name to version.
    pub software: BTreeMap<String, String>,
}

/// How strong a verified document is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Signed by a trusted root and bound to this assignment; nobody independent says what the
    /// measurements should be.
    Authentic,
    /// The enclave runs in debug mode: its memory can be read, its measurements are zero.
    Debug,
    /// Authentic, and the measurements are those that the record or a signed manifest demanded.
    Verified,
}

impl Verdict {
    /// The verdict's name in records and reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Authentic => "authentic",
            Self::Debug => "debug",
            Self::Verified => "verified",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where expected PCRs came from.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PcrSource {
    /// A manifest that a key of the coordinator's configuration signed.
    Manifest,
    /// `expected_pcrs` of the accepted record.
    Record,
    /// The agent's own measuring of the image: a parent cannot vouch for itself.
    Agent,
}

impl PcrSource {
    /// The source's name in records and reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Manifest => "manifest",
            Self::Record => "record",
        }
    }
}

/// Which signed manifest of an image counted.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SignedManifest {
    /// Where it was.
    pub location: S3Location,
    /// The signed file itself, so that whoever has the key can check it: a DSSE envelope, JSON.
    pub envelope: Base64Bytes,
    /// The key that signed it: SHA-256 of its DER (`SubjectPublicKeyInfo`), in hex.
    pub key_id: String,
}

/// One check of a document.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Check {
    /// What was checked; stable.
    pub name: String,
    /// `passed`, `failed`, `not_checked` (an earlier one failed) or `waived` (nothing was demanded).
    pub outcome: String,
    /// What had to be found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
}

/// One certificate of the chain.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Certificate {
    /// The subject, as RFC 4514 writes it.
    pub subject: String,
    /// SHA-256 of the DER, in hex.
    pub sha256: String,
    /// Start of the validity.
    pub not_before: UnixMillis,
    /// End of the validity.
    pub not_after: UnixMillis,
}

/// The parent on which the enclave runs.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Host {
    /// The instance's id, to which PCR4 and the module id are bound.
    pub instance_id: String,
    /// The instance's type.
    pub instance_type: String,
    /// Its availability zone.
    pub availability_zone: String,
    /// The role to which PCR3 is bound, when one is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
}
