//! What the coordinator writes on the web app's record.
//!
//! A projection of the ledger for the web app to read: lost or overwritten attributes are written
//! again, and no decision ever reads them.

use crate::{
    Generation, PcrSet, UnixMillis,
    failure::{Failure, FailureCode},
    hosts::{FetchProgress, WorkloadHealth},
    report::{PcrSource, Verdict},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Bailey's attributes on a record, apart from `status` and the times of the write.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Projection {
    /// How far the enclave is; finer than the status, for people.
    pub phase: String,
    /// Which accepted request this is about.
    pub generation: Generation,
    /// Where it runs and how it came there.
    pub deployment: Deployment,
    /// Also `deployment.instance_id`: today's web app reads it at the top.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// Why it failed, or why an edit was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorView>,
    /// Also `error.message`: today's web app reads it at the top.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// Also `error.code`: today's web app reads it at the top.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_type: Option<FailureCode>,
    /// What the newest document proved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestation: Option<AttestationView>,
}

impl Projection {
    /// The names of Bailey's attributes that a write removes when it does not set them.
    pub const OPTIONAL: [&str; 5] =
        ["instance_id", "error", "error_message", "error_type", "attestation"];

    /// Sets or clears the error in each place where it is read.
    pub fn set_error(&mut self, failure: Option<&Failure>) {
        self.error = failure.map(ErrorView::from);
        self.error_message = failure.map(|failure| failure.message.clone());
        self.error_type = failure.map(|failure| failure.code);
    }
}

/// How a workload is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct HealthView {
    /// `healthy` or `unhealthy`.
    pub status: String,
    /// What was seen when it became so.
    pub detail: String,
    /// Since when: RFC 3339.
    pub since: String,
}

impl From<&WorkloadHealth> for HealthView {
    fn from(health: &WorkloadHealth) -> Self {
        let status = if health.healthy { "healthy" } else { "unhealthy" };
        let WorkloadHealth { detail, since, .. } = health;
        Self { status: status.to_owned(), detail: detail.clone(), since: since.to_string() }
    }
}

/// Where an enclave runs and how it came there.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Deployment {
    /// The parent's ARN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The parent's instance id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// The slot of the parent, when other enclaves may run there too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_host: Option<String>,
    /// The parent's type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<String>,
    /// The type that the record asked for, when another one had to be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_instance_type: Option<String>,
    /// The parent's zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub availability_zone: Option<String>,
    /// What the parent says its image is: `sha256:<hex>` of the manifest that was baked in. A claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_image: Option<String>,
    /// The enclave's vsock context id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enclave_cid: Option<u32>,
    /// How often the enclave ended by itself and was started again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts: Option<u32>,
    /// What the image's probe of its workload found last, by the parent's word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthView>,
    /// When each phase was first entered: phase to RFC 3339 time.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub phases: BTreeMap<String, String>,
    /// How much of the image has been read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<ProgressView>,
    /// The newest things worth a person's attention.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// How much of an image has been read.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ProgressView {
    /// Bytes read and measured.
    pub done_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

impl From<&FetchProgress> for ProgressView {
    fn from(progress: &FetchProgress) -> Self {
        Self { done_bytes: progress.done_bytes, total_bytes: progress.total_bytes }
    }
}

/// A failure, with its time as a web app reads it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ErrorView {
    /// The stable code.
    pub code: FailureCode,
    /// What was wrong and where.
    pub message: String,
    /// What to do about it.
    pub hint: String,
    /// RFC 3339 time.
    pub at: String,
}

impl From<&Failure> for ErrorView {
    fn from(failure: &Failure) -> Self {
        Self {
            code: failure.code,
            message: failure.message.clone(),
            hint: failure.hint.clone(),
            at: failure.at.to_string(),
        }
    }
}

/// What the newest document proved.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AttestationView {
    /// How strong the proof is.
    pub verdict: Verdict,
    /// PCRs as the document states them.
    pub pcrs: PcrSet,
    /// Where the expected ones came from.
    pub pcr_source: PcrSource,
    /// RFC 3339 time of the coordinator's judgement.
    pub verified_at: String,
    /// `s3://` location of the report.
    pub report: String,
    /// SHA-256 of the newest report of the enclave's chain, in hex; it may be a later one, of a
    /// rejection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain_head: Option<String>,
}

/// Formats the times of phases for [`Deployment::phases`].
#[must_use]
pub fn phase_times<K: ToString>(times: &BTreeMap<K, UnixMillis>) -> BTreeMap<String, String> {
    times.iter().map(|(phase, at)| (phase.to_string(), at.to_string())).collect()
}
