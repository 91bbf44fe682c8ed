//! Launch intents: one intent yields at most one instance.
//!
//! An intent is written down before its EC2 call and holds the whole request. EC2 honours the
//! client token for at least 24 hours: the same request under the same token yields the same
//! instance, so an intent may be resent verbatim until its answer is known.

use crate::config::Config;
use crate::ledger::{Entry, Host, Spec};
use crate::spare::{Slot, SlotId};
use bailey_model::{
    EnclaveId, Generation, UnixMillis,
    failure::{Failure, FailureCode},
    instance_type::InstanceType,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, fmt, time::Duration};

/// How long an intent may be resent: EC2 remembers a token for at least 24 hours, and an hour is
/// kept between that and us.
pub const RESEND_LIMIT: Duration = Duration::from_hours(23);

/// Tag: which installation of Bailey an instance belongs to.
pub const TAG_DEPLOYMENT: &str = "bailey:deployment";
/// Tag: whose enclave an instance was launched for.
pub const TAG_ENCLAVE: &str = "bailey:enclave";
/// Tag: for which accepted request.
pub const TAG_GENERATION: &str = "bailey:generation";

/// Tag: for which slot a spare or a shared host was launched.
pub const TAG_SPARE: &str = "bailey:spare";

/// Somewhere an instance may be launched.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct Place {
    /// The type.
    pub instance_type: InstanceType,
    /// The zone; EC2 or the template chooses when absent.
    pub availability_zone: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.availability_zone {
            Some(zone) => write!(f, "{} in {zone}", self.instance_type),
            None => write!(f, "{}", self.instance_type),
        }
    }
}

/// A place that EC2 refused.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Tried {
    /// Where.
    pub place: Place,
    /// EC2's error code.
    pub code: String,
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.code)
    }
}

/// The place to try next: the first that is not known to be short of capacity, else the first.
/// Nothing is tried twice; a quota is the same in every zone. A zone may have lost its subnet since the
/// request was accepted.
pub(crate) fn next_place<'a>(
    spec: &'a Spec,
    tried: &[Tried],
    config: &Config,
    short: &[Place],
) -> Option<&'a Place> {
    let is_open = |place: &&Place| {
        let zone = place.availability_zone.as_deref();
        zone.is_none_or(|zone| config.subnets.has(zone))
            && !tried.iter().any(|tried| {
                tried.place == **place
                    || (is_quota(&tried.code) && tried.place.instance_type == place.instance_type)
            })
    };
    let mut open = spec.places.iter().filter(is_open);
    let first = open.clone().next();
    open.find(|place| !short.contains(place)).or(first)
}

/// Whether a refusal means that another place may do.
pub(crate) fn is_short(code: &str) -> bool {
    is_quota(code)
        || matches!(
            code,
            "InsufficientFreeAddressesInSubnet"
                | "InsufficientHostCapacity"
                | "InsufficientInstanceCapacity"
                | "Unsupported"
        )
}

fn is_quota(code: &str) -> bool {
    matches!(code, "InstanceLimitExceeded" | "VcpuLimitExceeded")
}

/// The intent to launch one instance.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LaunchIntent {
    /// The complete request, resent verbatim.
    pub request: LaunchRequest,
    /// When it was decided.
    pub decided_at: UnixMillis,
}

/// A `RunInstances` request for one instance.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LaunchRequest {
    /// `ClientToken`: 64 hex digits.
    pub client_token: String,
    /// Name of the launch template.
    pub template_name: String,
    /// Number of the template's version.
    pub template_version: u64,
    /// The type to launch.
    pub instance_type: InstanceType,
    /// The zone; EC2 or the template chooses when absent.
    pub availability_zone: Option<String>,
    /// The subnet; the template names it, or EC2 chooses, when absent. Intents of earlier releases have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet_id: Option<String>,
    /// Tags of the instance.
    pub tags: BTreeMap<String, String>,
}

impl LaunchIntent {
    /// The intent of the entry's next attempt, at `place`.
    #[must_use]
    pub(crate) fn new(entry: &Entry, place: &Place, config: &Config, now: UnixMillis) -> Self {
        let Entry { id, generation, .. } = entry;
        let (attempt, generation) = (entry.attempts.saturating_add(1), *generation);
        let tags = [
            (TAG_ENCLAVE, id.to_string()),
            (TAG_GENERATION, generation.to_string()),
            ("Name", format!("bailey {id}")),
        ];
        let token = client_token(&config.deployment, id, generation, attempt);
        // A place without a zone, of a request that was accepted before there were subnets, is tried once.
        let subnet = config.subnets.of(place, 0);
        Self::with(token, place, subnet, &tags, config, now)
    }

    /// The intent of a slot's next host.
    #[must_use]
    pub(crate) fn for_slot(slot: &Slot, config: &Config, now: UnixMillis) -> Self {
        let Slot { id, place, generation, .. } = slot;
        let name = if id.is_shared() { "bailey shared" } else { "bailey spare" };
        let tags = [
            (TAG_SPARE, id.to_string()),
            (TAG_GENERATION, generation.to_string()),
            ("Name", name.to_owned()),
        ];
        let token = slot_token(&config.deployment, id, *generation);
        // After a refusal the slot's next generation begins: it looks in the next zone.
        let subnet = config.subnets.of(place, generation.0.saturating_sub(1));
        Self::with(token, place, subnet, &tags, config, now)
    }

    fn with(
        client_token: String,
        place: &Place,
        subnet: Option<&str>,
        tags: &[(&str, String)],
        config: &Config,
        now: UnixMillis,
    ) -> Self {
        let ours = (TAG_DEPLOYMENT, config.deployment.clone());
        let tags = tags.iter().cloned().chain([ours]);
        Self {
            request: LaunchRequest {
                client_token,
                template_name: config.template.name.clone(),
                template_version: config.template.version,
                instance_type: place.instance_type.clone(),
                availability_zone: place.availability_zone.clone(),
                subnet_id: subnet.map(str::to_owned),
                tags: tags.map(|(key, value)| (key.to_owned(), value)).collect(),
            },
            decided_at: now,
        }
    }

    /// Where it is to be launched.
    #[must_use]
    pub fn place(&self) -> Place {
        Place {
            instance_type: self.request.instance_type.clone(),
            availability_zone: self.request.availability_zone.clone(),
        }
    }

    /// The host that EC2 named for it.
    pub(crate) fn host(&self, launched: Launched, now: UnixMillis) -> Host {
        Host {
            instance_id: launched.instance_id,
            instance_arn: launched.instance_arn,
            instance_type: self.request.instance_type.clone(),
            availability_zone: launched.availability_zone,
            launched_at: now,
            desired_version: 1,
            slot: None,
        }
    }

    /// Whether EC2 still knows the token for certain.
    #[must_use]
    pub fn may_be_sent(&self, now: UnixMillis) -> bool {
        now.since(self.decided_at) < RESEND_LIMIT
    }
}

/// The token of an attempt: SHA-256 in hex over what identifies it, each part ended by a line feed,
/// which no part can hold. 64 ASCII characters, as many as EC2 allows.
pub(crate) fn client_token(
    deployment: &str,
    id: &EnclaveId,
    generation: Generation,
    attempt: u32,
) -> String {
    let identity = format!("{deployment}\n{id}\n{generation}\n{attempt}\n");
    hex::encode(Sha256::digest(identity.as_bytes()))
}

/// The token of a slot's host, as [`client_token`] is that of an attempt: no enclave's id is empty.
pub(crate) fn slot_token(deployment: &str, slot: &SlotId, generation: Generation) -> String {
    let identity = format!("{deployment}\n\n{slot}\n{generation}\n");
    hex::encode(Sha256::digest(identity.as_bytes()))
}

/// An instance, as the answer to a launch describes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Launched {
    /// The instance's id.
    pub instance_id: String,
    /// The instance's ARN.
    pub instance_arn: String,
    /// The zone it was put in.
    pub availability_zone: String,
}

/// EC2's refusal of a launch: it launched nothing.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LaunchRefused {
    /// EC2's error code.
    pub code: String,
    /// EC2's message.
    pub message: String,
}

impl LaunchRefused {
    /// Whether EC2 has nothing to give there for now.
    #[must_use]
    pub fn is_short(&self) -> bool {
        is_short(&self.code)
    }

    pub(crate) fn failure(&self, now: UnixMillis) -> Failure {
        let code = if is_short(&self.code) {
            FailureCode::CapacityUnavailable
        } else {
            FailureCode::LaunchFailed
        };
        Failure::new(code, format!("RunInstances: {}: {}", self.code, self.message), now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_intent_of_an_earlier_release_is_read_and_written_as_it_was() {
        let stored = serde_json::json!({
            "request": {
                "client_token": "t", "template_name": "parents", "template_version": 3,
                "instance_type": "m5.xlarge", "availability_zone": "eu-west-1a",
                "tags": { "Name": "bailey a" }
            },
            "decided_at": 5
        });
        let intent: LaunchIntent = serde_json::from_value(stored.clone()).unwrap();
        assert_eq!(intent.request.subnet_id, None);
        assert_eq!(serde_json::to_value(intent).unwrap(), stored);
    }

    #[test]
    fn a_token_is_64_ascii_characters_and_its_own_for_each_attempt() {
        let id: EnclaveId = "enc_1".parse().unwrap();
        let token = client_token("dev", &id, Generation(1), 1);
        assert_eq!(token.len(), 64);
        assert!(token.is_ascii());
        assert_eq!(token, client_token("dev", &id, Generation(1), 1));
        for other in [
            client_token("prod", &id, Generation(1), 1),
            client_token("dev", &"enc_11".parse().unwrap(), Generation(1), 1),
            client_token("dev", &id, Generation(11), 1),
            client_token("dev", &id, Generation(1), 2),
        ] {
            assert_ne!(token, other);
        }
    }
}
