//! An instance and the states that it goes through.
//!
//! ```text
//! pending -> running -> shutting-down -> terminated
//!               |  ^
//!               v  |
//!           stopping -> stopped -> pending
//! ```
//! `shutting-down` can follow every state but `terminated`.

use super::{LaunchData, launch_data::tag_items, xml::Xml};
use bailey_model::{UnixMillis, instance_type::Resources};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A state, as EC2 names it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceState {
    /// It is being brought up.
    Pending,
    /// It runs.
    Running,
    /// It is being ended for good.
    ShuttingDown,
    /// It is gone.
    Terminated,
    /// It is being brought down, and can be started again.
    Stopping,
    /// It is down, and can be started again.
    Stopped,
}

impl InstanceState {
    /// EC2's name of the state.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }

    /// EC2's number of the state.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::Pending => 0,
            Self::Running => 16,
            Self::ShuttingDown => 32,
            Self::Terminated => 48,
            Self::Stopping => 64,
            Self::Stopped => 80,
        }
    }

    /// Whether the instance is gone or about to be.
    #[must_use]
    pub fn is_ending(self) -> bool {
        matches!(self, Self::ShuttingDown | Self::Terminated)
    }

    pub(super) fn to_xml(self, name: &'static str) -> Xml {
        Xml::element(name).text("code", self.code()).text("name", self.as_str())
    }
}

impl fmt::Display for InstanceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A state that an instance entered, and when.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct StateChange {
    /// Counts the changes of all instances together: what comes before what is known even within
    /// one millisecond.
    pub order: u64,
    /// When.
    pub at: UnixMillis,
    /// The state entered.
    pub state: InstanceState,
}

/// One instance.
#[derive(Clone, Debug)]
pub(super) struct Instance {
    pub(super) launch: Launch,
    /// Every state and when it began; never empty.
    history: Vec<StateChange>,
    /// Why it ended, as EC2 words it: code and message.
    pub(super) reason: Option<(&'static str, &'static str)>,
}

/// What is fixed about an instance from its launch on.
#[derive(Clone, Debug)]
pub(super) struct Launch {
    pub(super) id: String,
    pub(super) reservation_id: String,
    /// The account, 12 digits.
    pub(super) owner_id: String,
    pub(super) token: Option<String>,
    /// What was asked for: the request over its template.
    pub(super) data: LaunchData,
    pub(super) instance_type: String,
    pub(super) resources: Resources,
    pub(super) zone: String,
    pub(super) subnet_id: String,
    pub(super) private_ip: String,
    pub(super) profile_arn: Option<String>,
}

impl Instance {
    /// An instance that has just been launched, as the change with this number.
    pub(super) fn new(launch: Launch, now: UnixMillis, order: u64) -> Self {
        let launched = StateChange { order, at: now, state: InstanceState::Pending };
        Self { launch, history: vec![launched], reason: None }
    }

    /// The state that it is in.
    pub(super) fn state(&self) -> InstanceState {
        self.history.last().map_or(InstanceState::Pending, |change| change.state)
    }

    /// The state that it was in at `time`; none before its launch.
    pub(super) fn state_at(&self, time: UnixMillis) -> Option<InstanceState> {
        let earlier = self.history.iter().rev().find(|change| change.at <= time);
        earlier.map(|change| change.state)
    }

    /// Every state that it was in, from its launch on.
    pub(super) fn history(&self) -> &[StateChange] {
        &self.history
    }

    /// Enters a state as the change with this number, unless it is in it, or is ending and the
    /// state does not lead on from that.
    pub(super) fn enter(&mut self, state: InstanceState, now: UnixMillis, order: u64) {
        let current = self.state();
        let gone = current == InstanceState::Terminated;
        let back = current == InstanceState::ShuttingDown && state != InstanceState::Terminated;
        if !(gone || back || current == state) {
            self.history.push(StateChange { order, at: now, state });
        }
    }

    /// An `item` of an `instancesSet`, in the given state.
    pub(super) fn to_xml(&self, state: InstanceState) -> Xml {
        let data = &self.launch.data;
        let launched = self.history.first().map(|change| change.at);
        let xml = Xml::element("item")
            .text("instanceId", &self.launch.id)
            .some("imageId", data.image_id.as_ref())
            .child(state.to_xml("instanceState"))
            .text("amiLaunchIndex", 0)
            .text("instanceType", &self.launch.instance_type)
            .some("launchTime", launched)
            .child(
                Xml::element("placement")
                    .text("availabilityZone", &self.launch.zone)
                    .text("tenancy", "default"),
            )
            .child(Xml::element("monitoring").text("state", "disabled"))
            .text("subnetId", &self.launch.subnet_id)
            .text("architecture", "x86_64")
            .text("rootDeviceType", "ebs")
            .some("clientToken", self.launch.token.as_ref())
            .set("tagSet", tag_items(&data.tags))
            .text("hypervisor", "xen")
            .child(
                Xml::element("enclaveOptions").text("enabled", data.enclaves.unwrap_or_default()),
            )
            .child(self.metadata_options());
        let xml = match &self.launch.profile_arn {
            Some(arn) => xml.child(Xml::element("iamInstanceProfile").text("arn", arn)),
            None => xml,
        };
        self.ending_xml(xml, state)
    }

    fn metadata_options(&self) -> Xml {
        Xml::element("metadataOptions")
            .text("state", "applied")
            .text("httpTokens", self.launch.data.http_tokens.as_deref().unwrap_or("optional"))
            .text("httpPutResponseHopLimit", self.launch.data.hop_limit.unwrap_or(1))
            .text("httpEndpoint", "enabled")
    }

    /// An address while it is not gone, and the reason once it is ending.
    fn ending_xml(&self, xml: Xml, state: InstanceState) -> Xml {
        let xml = match state {
            InstanceState::Terminated => xml,
            _ => xml.text("privateIpAddress", &self.launch.private_ip),
        };
        match self.reason {
            Some((code, message)) if state.is_ending() => xml
                .text("reason", message)
                .child(Xml::element("stateReason").text("code", code).text("message", message)),
            _ => xml,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn instance(now: u64) -> Instance {
        let launch = Launch {
            id: "i-1".to_owned(),
            reservation_id: "r-1".to_owned(),
            owner_id: "123456789012".to_owned(),
            token: Some("t-1".to_owned()),
            data: LaunchData::default(),
            instance_type: "m5.xlarge".to_owned(),
            resources: Resources { vcpus: 4, memory_mib: 16_384, threads_per_core: 2 },
            zone: "eu-west-1a".to_owned(),
            subnet_id: "subnet-1".to_owned(),
            private_ip: "10.0.0.4".to_owned(),
            profile_arn: None,
        };
        Instance::new(launch, UnixMillis(now), 0)
    }

    #[test]
    fn nothing_leads_back_from_an_instance_that_is_ending() {
        let mut instance = instance(1);
        instance.enter(InstanceState::ShuttingDown, UnixMillis(2), 2);
        instance.enter(InstanceState::Running, UnixMillis(3), 3);
        assert_eq!(instance.state(), InstanceState::ShuttingDown);
        instance.enter(InstanceState::Terminated, UnixMillis(4), 4);
        instance.enter(InstanceState::ShuttingDown, UnixMillis(5), 5);
        assert_eq!(instance.state(), InstanceState::Terminated);
    }

    #[test]
    fn an_earlier_view_shows_the_earlier_state() {
        let mut instance = instance(10);
        instance.enter(InstanceState::Running, UnixMillis(20), 20);
        assert_eq!(instance.state_at(UnixMillis(9)), None);
        assert_eq!(instance.state_at(UnixMillis(19)), Some(InstanceState::Pending));
        assert_eq!(instance.state_at(UnixMillis(20)), Some(InstanceState::Running));
    }

    #[test]
    fn every_state_is_written_as_ec2_names_it() {
        for state in [
            InstanceState::Pending,
            InstanceState::Running,
            InstanceState::ShuttingDown,
            InstanceState::Terminated,
            InstanceState::Stopping,
            InstanceState::Stopped,
        ] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
    }
}
