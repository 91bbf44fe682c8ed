//! The items of the hosts table, through which the coordinator and the agents speak.
//!
//! The partition key says who writes: `desired#<arn>` the coordinator, `observed#<arn>` and
//! `beat#<arn>` the agent on the instance with that ARN. An agent's words are claims: the
//! coordinator believes what a document proves and what EC2 says, nothing else.

use crate::{
    Base64Bytes, EnclaveId, Generation, PcrSet, S3Location, UnixMillis,
    failure::{Failure, cut},
    network::{Destination, IngressPort},
    record::RestartPolicy,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// The partition key of the item that the coordinator writes for an instance.
#[must_use]
pub fn desired_key(instance_arn: &str) -> String {
    format!("desired#{instance_arn}")
}

/// The partition key of the item in which an agent reports what changed.
#[must_use]
pub fn observed_key(instance_arn: &str) -> String {
    format!("{OBSERVED_PREFIX}{instance_arn}")
}

/// The partition key of an agent's heartbeat.
#[must_use]
pub fn beat_key(instance_arn: &str) -> String {
    format!("beat#{instance_arn}")
}

/// What every [`observed_key`] starts with.
pub const OBSERVED_PREFIX: &str = "observed#";

/// What an instance should run.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Desired {
    /// Rises with every write; an agent ignores a lower one than it has seen.
    pub version: u64,
    /// Whether the host is to end everything it runs and take nothing new.
    pub drain: bool,
    /// The enclaves that should run here. What is absent is to be ended.
    pub assignments: Vec<Assignment>,
    /// How large the enclave pool is to be from the beginning, for enclaves that come later to a host which
    /// several share; as large as the assignments need when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolSize>,
}

/// CPUs and memory of an enclave pool.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PoolSize {
    /// vCPUs.
    pub cpu_count: u32,
    /// Memory, in MiB.
    pub memory_mib: u32,
}

/// One enclave that a host should run.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Assignment {
    /// Whose enclave.
    pub enclave_id: EnclaveId,
    /// Which accepted request.
    pub generation: Generation,
    /// Where the image lies.
    pub eif: EifSource,
    /// vCPUs for the enclave.
    pub cpu_count: u32,
    /// Memory for the enclave, in MiB.
    pub memory_mib: u32,
    /// Whether to run in debug mode, in which PCR0 to PCR2 are zero.
    pub debug: bool,
    /// Measurements without which the image must not be launched; empty when none were given.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub expected_pcrs: PcrSet,
    /// What to do when the enclave ends by itself.
    pub restart: RestartPolicy,
    /// The nonce that the enclave's next document must carry.
    pub nonce: Nonce,
    /// What the enclave may reach.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<Destination>,
    /// Where the enclave is reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<IngressPort>,
}

/// An image in S3.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct EifSource {
    /// Bucket and key.
    pub location: S3Location,
    /// The object's version; the newest at the time of the fetch when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    /// SHA-384 of the whole file, in hex, when the record demands it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha384: Option<crate::Pcr>,
}

/// A nonce that a document must carry; accepted once.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Nonce {
    /// 32 random bytes.
    pub bytes: Base64Bytes,
    /// When the coordinator drew it.
    pub issued_at: UnixMillis,
    /// Counts the nonces of one generation from 1.
    pub sequence: u64,
}

/// What an agent reports.
///
/// An assignment that is absent here, in an answer to a `desired` item as new as the one that left
/// it out, is gone from the host; one that is still [`HostPhase::Stopping`] is not.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Observed {
    /// Version of the agent.
    pub agent_version: String,
    /// What the parent's image says that it is: `sha256:<hex>` of the manifest that was baked in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_image: Option<String>,
    /// The kernel's boot id: another one means that every enclave here ended.
    pub boot_id: String,
    /// The version of [`Desired`] that this report answers.
    pub desired_version: u64,
    /// When it was written, by the parent's clock.
    pub reported_at: UnixMillis,
    /// What EC2 has announced about the instance, in the host's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announced: Option<String>,
    /// Whether that is the instance's end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_taken_away: bool,
    /// Every assignment that is wanted here or not yet gone.
    pub assignments: Vec<ObservedAssignment>,
}

/// What EC2 or AWS Health announces about an instance.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Announcement {
    /// What, for people.
    pub text: String,
    /// Whether the instance is to be stopped or terminated: then its enclaves had better leave.
    #[serde(default)]
    pub takes_away: bool,
}

/// More assignments than any parent can run: AWS allows four enclaves.
const MAX_ASSIGNMENTS: usize = 16;
/// A document has 4 to 8 KiB; a longer one than this is cut, and then no verifier accepts it.
const MAX_DOCUMENT_BYTES: usize = 20 * 1_024;
/// Longer names and versions than any host has.
const MAX_NAME_BYTES: usize = 128;

impl Observed {
    /// What EC2 has announced about the instance, in the host's words.
    #[must_use]
    pub fn announcement(&self) -> Option<Announcement> {
        let text = self.announced.clone()?;
        Some(Announcement { text, takes_away: self.is_taken_away })
    }

    /// This report with everything cut to a length that real reports keep well within.
    ///
    /// A parent may write what it likes up to DynamoDB's 400 KB. What the coordinator copies from it
    /// into the ledger and the record must leave room for their own contents.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        cut(&mut self.agent_version, MAX_NAME_BYTES);
        cut(&mut self.boot_id, MAX_NAME_BYTES);
        for text in [&mut self.parent_image, &mut self.announced].into_iter().flatten() {
            cut(text, MAX_NAME_BYTES);
        }
        self.assignments.truncate(MAX_ASSIGNMENTS);
        for assignment in &mut self.assignments {
            if let Some(answer) = &mut assignment.answer {
                answer.document.0.truncate(MAX_DOCUMENT_BYTES);
            }
            if let Some(enclave) = &mut assignment.enclave {
                cut(&mut enclave.nitro_id, MAX_NAME_BYTES);
            }
            if let Some(health) = &mut assignment.health {
                cut(&mut health.detail, MAX_NAME_BYTES);
            }
            assignment.failure = assignment.failure.take().map(Failure::bounded);
        }
        self
    }
}

/// One assignment as its host sees it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ObservedAssignment {
    /// Whose enclave.
    pub enclave_id: EnclaveId,
    /// Which accepted request.
    pub generation: Generation,
    /// How far the host is.
    pub phase: HostPhase,
    /// When each phase was first entered.
    #[serde(default)]
    pub entered: BTreeMap<HostPhase, UnixMillis>,
    /// The enclave, once it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enclave: Option<RunningEnclave>,
    /// What the agent measured of the image (never zero, in debug mode neither).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub measurements: PcrSet,
    /// The newest document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    /// Why it is in [`HostPhase::Failed`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// How often the enclave was started again.
    #[serde(default)]
    pub restarts: u32,
    /// What the image's probe of its workload found last; absent when it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<WorkloadHealth>,
}

/// How a workload is, as the program that started it in the enclave finds it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct WorkloadHealth {
    /// Whether it answers as its image says.
    pub healthy: bool,
    /// What was seen when this became so, in words.
    pub detail: String,
    /// Since when, by the parent's clock.
    pub since: UnixMillis,
}

/// A running enclave as nitro-cli names it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RunningEnclave {
    /// nitro-cli's `EnclaveID`: `<instance id>-enc<hex>`.
    pub nitro_id: String,
    /// The vsock context id.
    pub cid: u32,
}

/// A document that an enclave made for a nonce.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Answer {
    /// The sequence of the nonce it answers.
    pub sequence: u64,
    /// The raw `COSE_Sign1`.
    pub document: Base64Bytes,
}

/// How far a host is with an assignment, in the order in which they follow each other.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum HostPhase {
    /// Read from the hosts table; nothing done yet.
    Accepted,
    /// The image is being read from S3 and measured.
    Fetching,
    /// The enclave pool is being set up.
    Allocating,
    /// nitro-cli is starting the enclave.
    Starting,
    /// The enclave is asked for a document.
    Attesting,
    /// The enclave runs and its document passed the agent's own check.
    Running,
    /// The enclave is being ended.
    Stopping,
    /// The enclave is gone, as asked.
    Stopped,
    /// The host gave up on it; `failure` says why. Nothing of it runs.
    Failed,
}

impl HostPhase {
    /// The text in items and records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "ACCEPTED",
            Self::Fetching => "FETCHING",
            Self::Allocating => "ALLOCATING",
            Self::Starting => "STARTING",
            Self::Attesting => "ATTESTING",
            Self::Running => "RUNNING",
            Self::Stopping => "STOPPING",
            Self::Stopped => "STOPPED",
            Self::Failed => "FAILED",
        }
    }
}

impl fmt::Display for HostPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An agent's heartbeat, with the progress of what takes long.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Beat {
    /// When it was written, by the parent's clock.
    pub at: UnixMillis,
    /// Fetches that are under way.
    #[serde(default)]
    pub progress: Vec<FetchProgress>,
    /// How often the agent has called each operation of AWS since its start, as
    /// `<service>.<operation>`; a figure for people.
    #[serde(default)]
    pub calls: BTreeMap<String, u64>,
    /// What each running enclave has said and heard; figures for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub traffic: Vec<Traffic>,
}

/// What one enclave has said and heard since its agent began to serve it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Traffic {
    /// Whose enclave.
    pub enclave_id: EnclaveId,
    /// Which accepted request.
    pub generation: Generation,
    /// Tunnels that were opened for it.
    pub tunnels: u64,
    /// Requests of it that were refused.
    pub refused: u64,
    /// Connections that were carried to it.
    pub accepted: u64,
    /// Connections of both kinds that are open.
    pub open: u64,
    /// Bytes that it sent.
    pub bytes_out: u64,
    /// Bytes that it was sent.
    pub bytes_in: u64,
}

/// How much of an image has been read.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct FetchProgress {
    /// For which enclave.
    pub enclave_id: EnclaveId,
    /// For which accepted request.
    pub generation: Generation,
    /// Bytes read and measured.
    pub done_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_an_older_agent_without_the_optional_parts_is_read() {
        let text = r#"{"agent_version":"0.1.0","boot_id":"b","desired_version":1,"reported_at":5,
            "assignments":[{"enclave_id":"e","generation":1,"phase":"FETCHING"}]}"#;
        let observed: Observed = serde_json::from_str(text).unwrap();
        assert_eq!(observed.assignments[0].phase, HostPhase::Fetching);
        assert_eq!(observed.assignments[0].restarts, 0);
    }

    #[test]
    fn what_a_parent_writes_is_cut_to_a_length_that_fits_beside_the_rest() {
        let text = "é".repeat(200_000);
        let failure = Failure { hint: text.clone(), message: text.clone(), ..failure() };
        let assignment = ObservedAssignment {
            enclave_id: "e".parse().unwrap(),
            generation: Generation(1),
            phase: HostPhase::Failed,
            entered: BTreeMap::new(),
            enclave: Some(RunningEnclave { nitro_id: text.clone(), cid: 16 }),
            measurements: PcrSet::new(),
            answer: Some(Answer { sequence: 1, document: vec![0; 300_000].into() }),
            failure: Some(failure),
            restarts: 0,
            health: Some(WorkloadHealth {
                healthy: false,
                detail: text.clone(),
                since: UnixMillis(0),
            }),
        };
        let observed = Observed {
            agent_version: text,
            assignments: vec![assignment; 20],
            ..Observed::default()
        };
        let bounded = observed.bounded();
        assert_eq!(bounded.assignments.len(), MAX_ASSIGNMENTS);
        let one = serde_json::to_vec(&bounded.assignments[0]).unwrap();
        assert!(one.len() < 35_000, "{}", one.len());
        assert!(bounded.agent_version.len() <= MAX_NAME_BYTES);
    }

    fn failure() -> Failure {
        Failure::new(crate::failure::FailureCode::EifInvalid, "", UnixMillis(0))
    }

    #[test]
    fn phases_are_ordered_as_they_follow_each_other() {
        assert!(HostPhase::Fetching < HostPhase::Starting);
        assert!(HostPhase::Attesting < HostPhase::Running);
        let json = serde_json::to_value(HostPhase::Attesting).unwrap();
        assert_eq!(json, HostPhase::Attesting.as_str());
    }
}
