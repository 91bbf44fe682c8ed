//! Why an enclave is not running, in words that a person can act on.

use crate::UnixMillis;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A failure as the record's `error` shows it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Failure {
    /// What kind of failure; stable, for programs.
    pub code: FailureCode,
    /// What was wrong and where.
    pub message: String,
    /// What to do about it.
    pub hint: String,
    /// When it was noticed.
    pub at: UnixMillis,
}

impl Failure {
    /// A failure with its code's usual hint.
    #[must_use]
    pub fn new(code: FailureCode, message: impl Into<String>, at: UnixMillis) -> Self {
        Self { code, message: message.into(), hint: code.hint().to_owned(), at }.bounded()
    }

    /// This failure with its texts cut to [`MAX_TEXT_BYTES`]: they are copied into events and
    /// records, which have to stay small.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        cut(&mut self.message, MAX_TEXT_BYTES);
        cut(&mut self.hint, MAX_TEXT_BYTES);
        self
    }
}

/// The longest message or hint, in bytes.
pub const MAX_TEXT_BYTES: usize = 2_048;

/// Cuts `text` to at most `limit` bytes, at a character's start.
pub(crate) fn cut(text: &mut String, limit: usize) {
    text.truncate(text.floor_char_boundary(limit));
}

/// The kinds of failure; the names are stable, programs may match on them.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[non_exhaustive]
pub enum FailureCode {
    /// The enclave's attestation document did not verify.
    AttestationRejected,
    /// The enclave did not answer on vsock in time.
    AttestationUnavailable,
    /// EC2 has no capacity, or the account's quota is used up.
    CapacityUnavailable,
    /// A live enclave's configuration was edited.
    ConfigurationChangeRefused,
    /// The deploy did not finish within its deadline.
    DeployTimeout,
    /// The parent may not read the EIF; S3 says so of an absent one too, to whoever may not list.
    EifAccessDenied,
    /// The EIF could not be read from S3 for a reason that has no code of its own.
    EifFetchFailed,
    /// The object is not a valid EIF.
    EifInvalid,
    /// The bucket, key or version does not exist.
    EifNotFound,
    /// The EIF's bucket lies in another region than the parent.
    EifWrongRegion,
    /// nitro-cli could not start the enclave.
    EnclaveStartFailed,
    /// The enclave ended by itself and is not to be started again.
    EnclaveStopped,
    /// The parent's disk or image cache has no room for the EIF.
    HostDiskFull,
    /// The parent's disk refuses to be read or written: permissions, or a fault.
    HostDiskUnusable,
    /// The instance ended without having been asked to.
    HostLost,
    /// The instance runs but its agent was never heard of.
    HostUnreachable,
    /// The parent lacks the CPUs or the memory for the enclave.
    InsufficientHostResources,
    /// The record's configuration cannot be used.
    InvalidConfiguration,
    /// EC2 refused to launch the instance.
    LaunchFailed,
    /// The image's signed manifest is there and cannot be believed; nothing was launched.
    ManifestRejected,
    /// The EIF's measurements are not the expected ones; it was never launched.
    MeasurementMismatch,
    /// The document is authentic, but the record asks for a verified one.
    NotVerified,
    /// The request makes no sense in the phase in which it was read.
    RequestRefused,
}

impl FailureCode {
    /// Every code, in alphabetical order.
    pub const ALL: [Self; 23] = [
        Self::AttestationRejected,
        Self::AttestationUnavailable,
        Self::CapacityUnavailable,
        Self::ConfigurationChangeRefused,
        Self::DeployTimeout,
        Self::EifAccessDenied,
        Self::EifFetchFailed,
        Self::EifInvalid,
        Self::EifNotFound,
        Self::EifWrongRegion,
        Self::EnclaveStartFailed,
        Self::EnclaveStopped,
        Self::HostDiskFull,
        Self::HostDiskUnusable,
        Self::HostLost,
        Self::HostUnreachable,
        Self::InsufficientHostResources,
        Self::InvalidConfiguration,
        Self::LaunchFailed,
        Self::ManifestRejected,
        Self::MeasurementMismatch,
        Self::NotVerified,
        Self::RequestRefused,
    ];

    /// The code's name in records and reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AttestationRejected => "AttestationRejected",
            Self::AttestationUnavailable => "AttestationUnavailable",
            Self::CapacityUnavailable => "CapacityUnavailable",
            Self::ConfigurationChangeRefused => "ConfigurationChangeRefused",
            Self::DeployTimeout => "DeployTimeout",
            Self::EifAccessDenied => "EifAccessDenied",
            Self::EifFetchFailed => "EifFetchFailed",
            Self::EifInvalid => "EifInvalid",
            Self::EifNotFound => "EifNotFound",
            Self::EifWrongRegion => "EifWrongRegion",
            Self::EnclaveStartFailed => "EnclaveStartFailed",
            Self::EnclaveStopped => "EnclaveStopped",
            Self::HostDiskFull => "HostDiskFull",
            Self::HostDiskUnusable => "HostDiskUnusable",
            Self::HostLost => "HostLost",
            Self::HostUnreachable => "HostUnreachable",
            Self::InsufficientHostResources => "InsufficientHostResources",
            Self::InvalidConfiguration => "InvalidConfiguration",
            Self::LaunchFailed => "LaunchFailed",
            Self::ManifestRejected => "ManifestRejected",
            Self::MeasurementMismatch => "MeasurementMismatch",
            Self::NotVerified => "NotVerified",
            Self::RequestRefused => "RequestRefused",
        }
    }

    /// What usually helps.
    #[must_use]
    pub fn hint(self) -> &'static str {
        match self {
            Self::AttestationRejected => {
                "read the failed check in the report; do not trust this enclave"
            }
            Self::AttestationUnavailable => {
                "the image must contain keep, or another responder on vsock port 5005; deploy it with \
                 debug_mode, and `bailey logs` shows its console"
            }
            Self::CapacityUnavailable => {
                "try another availability zone or instance type, or raise the account's quota"
            }
            Self::ConfigurationChangeRefused => {
                "destroy the enclave first, then deploy the new configuration"
            }
            Self::DeployTimeout => {
                "`bailey show` tells which phase took so long; deploy again to retry"
            }
            Self::EifAccessDenied => {
                "give the parent's role s3:GetObject (s3:GetObjectVersion with eif_version_id) on \
                 the object and kms:Decrypt on its key, and check eif_path"
            }
            Self::EifFetchFailed => {
                "check the parent's route to S3 (gateway endpoint or NAT), then deploy again"
            }
            Self::EifInvalid => "build the image again and upload it whole (`bailey eif publish`)",
            Self::EifNotFound => "check eif_path and eif_version_id",
            Self::EifWrongRegion => {
                "put the image into a bucket of the parent's region, or deploy in the bucket's"
            }
            Self::EnclaveStartFailed => "the message holds nitro-cli's own words; see its E-code",
            Self::EnclaveStopped => {
                "the workload in the enclave ended; deploy it with debug_mode, and the failure has the \
                 last lines of its console, `bailey logs` all of them"
            }
            Self::HostDiskFull => {
                "give the parent a larger disk, or raise cache_limit_mib of the agent"
            }
            Self::HostDiskUnusable => {
                "see that the agent may write its state directory and that the disk is healthy; \
                 deploy again to start on a new instance"
            }
            Self::HostLost => "the instance is gone; deploy again to start on a new one",
            Self::HostUnreachable => {
                "check that the AMI runs bailey-agent and that it can reach DynamoDB"
            }
            Self::InsufficientHostResources => {
                "choose a larger instance_type, or lower cpu_count or memory_mib"
            }
            Self::InvalidConfiguration => "correct the named field and write PENDING_DEPLOY again",
            Self::LaunchFailed => {
                "check availability_zones, the launch template, the subnets and the coordinator's \
                 permissions"
            }
            Self::ManifestRejected => {
                "sign the manifest of this very image with a key of the coordinator's manifest_keys \
                 (`bailey image sign`), put it beside the image, and deploy again"
            }
            Self::MeasurementMismatch => {
                "the object at eif_path is not the image that expected_pcrs describes; \
                 publish the right image or correct expected_pcrs"
            }
            Self::NotVerified => {
                "give expected_pcrs or a signed manifest, and debug_mode false; or drop require_verified"
            }
            Self::RequestRefused => {
                "pause what runs and resume what is paused: see `status` and `phase`"
            }
        }
    }
}

impl fmt::Display for FailureCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_written_as_its_name_and_has_a_hint() {
        for code in FailureCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
            assert_eq!(format!("{code:?}"), code.as_str());
            assert!(code.hint().len() > 20, "{code} has no useful hint");
        }
    }
}
