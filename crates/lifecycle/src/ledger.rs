//! What is remembered about an enclave id.
//!
//! The ledger is the truth; the web app's record shows a projection of it.

use crate::{
    launch::{LaunchIntent, Place, Tried},
    spare::SlotId,
};
use bailey_model::{
    EnclaveId, Generation, Pcr, PcrSet, UnixMillis,
    failure::Failure,
    hosts::{Announcement, Nonce, ObservedAssignment},
    instance_type::InstanceType,
    record::Configuration,
    report::{PcrSource, SignedManifest, Verdict},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One enclave id's entry. It outlives the record, so that a generation is never used twice.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Entry {
    /// Whose entry.
    pub id: EnclaveId,
    /// Counts the writes; a write is conditional on the version that was read.
    pub version: u64,
    /// Counts the accepted requests to deploy.
    pub generation: Generation,
    /// When this generation was accepted, or resumed; deadlines count from here.
    pub accepted_at: UnixMillis,
    /// What was accepted; later edits of the record do not reach it.
    pub spec: Option<Spec>,
    /// What was found where the image's signed manifest would be; none while nobody has looked.
    #[serde(default)]
    pub manifest: Option<ImageManifest>,
    /// Where the lifecycle is.
    pub state: State,
    /// How many launch intents this generation has had; each has a token of its own.
    #[serde(default)]
    pub attempts: u32,
    /// How often this generation has lost its instance, or left it before it was lost; from 0 again after a
    /// day without.
    #[serde(default)]
    pub losses: u32,
    /// Sequence of the newest nonce when this generation was paused: the next one follows it.
    #[serde(default)]
    pub issued: u64,
    /// When each state of this generation was first entered.
    pub entered: BTreeMap<String, UnixMillis>,
    /// Why this generation failed.
    pub failure: Option<Failure>,
    /// Why the newest request was refused, when it was.
    pub refused: Option<Failure>,
    /// What the newest accepted document proved, while its enclave lives.
    pub attested: Option<Attested>,
    /// The newest report; the next one names it.
    pub chain: Option<ChainHead>,
    /// The judgement whose report may not be stored yet, although its state was left: the chain names it,
    /// and it is stored when nothing else is to be done.
    #[serde(default)]
    pub unstored: Option<Box<Judgement>>,
    /// When the record was first found missing.
    pub absent_since: Option<UnixMillis>,
    /// What AWS announced last about an instance of this enclave.
    #[serde(default)]
    pub notice: Option<Notice>,
    /// What happened, oldest first; the newest [`Entry::EVENTS`] are kept.
    pub events: Vec<Event>,
    /// The number of the newest event that people were told of, or that was passed over. No decision
    /// reads it.
    #[serde(default)]
    pub notified: u64,
}

impl Entry {
    /// How many events are kept.
    pub const EVENTS: usize = 40;

    /// Notes an event.
    pub(crate) fn note(&mut self, at: UnixMillis, text: impl Into<String>) {
        // Those that were noted before events had numbers count as if they had had them.
        let kept = u64::try_from(self.events.len()).unwrap_or(u64::MAX);
        let last = self.events.last().map_or(0, |event| event.number).max(kept);
        let number = last.saturating_add(1);
        self.events.push(Event { number, at, generation: self.generation, text: text.into() });
        let surplus = self.events.len().saturating_sub(Self::EVENTS);
        self.events.drain(..surplus);
    }

    /// Notes one more failure to attest again, and that the enclave is degraded from now on when it was
    /// not before.
    pub(crate) fn note_miss(&mut self, misses_before: u32, reason: &str, now: UnixMillis) {
        self.note(now, format!("re-attestation: {reason}"));
        if misses_before == 0 {
            self.note(now, "DEGRADED");
        }
    }

    /// This entry in another state, with the change noted.
    ///
    /// A report that was to be stored may be stored already, by a coordinator that died or one that is
    /// slower; so the chain goes on with it, whatever comes next.
    #[must_use]
    pub(crate) fn moved(&self, state: State, now: UnixMillis) -> Self {
        let mut next = self.clone();
        if let State::Reporting { judgement, .. } = &self.state {
            next.chain = Some(judgement.head());
            next.unstored = Some(judgement.clone());
        }
        let name = state.name();
        next.entered.entry(name.to_owned()).or_insert(now);
        next.note(now, name);
        next.state = state;
        next
    }

    /// What the record accepted, when it could be used.
    pub(crate) fn configuration(&self) -> Option<&Configuration> {
        self.spec.as_ref().map(|spec| &spec.configuration)
    }

    /// The manifest of the image, when one was found and believed.
    pub(crate) fn signed_manifest(&self) -> Option<&SignedMeasurements> {
        match &self.manifest {
            Some(ImageManifest::Signed(signed)) => Some(signed),
            Some(ImageManifest::Missing) | None => None,
        }
    }

    /// What the image has to measure to by those who may say so, and who they are; none when nobody
    /// does. What the record states comes on top of a manifest.
    pub(crate) fn expected_pcrs(&self) -> Option<(PcrSet, PcrSource)> {
        let stated = self.configuration().map(|c| c.expected_pcrs.clone()).unwrap_or_default();
        match self.signed_manifest() {
            Some(signed) => {
                let mut pcrs = signed.pcrs.clone();
                pcrs.extend(stated);
                Some((pcrs, PcrSource::Manifest))
            }
            None => (!stated.is_empty()).then_some((stated, PcrSource::Record)),
        }
    }

    /// SHA-384 of the EIF, when the record or the manifest states it.
    pub(crate) fn eif_sha384(&self) -> Option<Pcr> {
        let stated = self.configuration().and_then(|configuration| configuration.eif_sha384);
        stated.or_else(|| self.signed_manifest().map(|signed| signed.eif_sha384))
    }

    /// How many times in a row the enclave failed to attest again; above zero it is degraded.
    #[must_use]
    pub fn misses(&self) -> u32 {
        match &self.state {
            State::Deployed { renewal, .. } => renewal.misses,
            State::Reporting { misses, .. } => misses.unwrap_or(0),
            _ => 0,
        }
    }

    /// Since when the enclave is being ended, while it is.
    pub(crate) fn ending_since(&self) -> Option<UnixMillis> {
        match &self.state {
            State::Draining { since, .. } | State::Terminating { since, .. } => Some(*since),
            _ => None,
        }
    }

    /// Whether people were told that the end of this generation takes too long.
    #[must_use]
    pub fn is_overdue(&self) -> bool {
        let is_it = |event: &Event| event.generation == self.generation && event.is_overdue();
        self.ending_since().is_some() && self.events.iter().any(is_it)
    }

    /// The phase as far as it is known without the host: the state's name, but for an enclave that
    /// attests again, which goes on running or is degraded.
    #[must_use]
    pub fn phase(&self) -> &'static str {
        match &self.state {
            _ if self.misses() > 0 => "DEGRADED",
            State::Reporting { misses: Some(_), .. } => "RUNNING",
            state => state.name(),
        }
    }

    /// What AWS announced about the instance on which the enclave runs now.
    pub(crate) fn announced(&self) -> Option<&Announcement> {
        let host = self.state.host()?;
        let notice = self.notice.as_ref().filter(|it| it.instance_id == host.instance_id)?;
        Some(&notice.said)
    }

    /// Whether anything may still have to be done.
    #[must_use]
    pub fn is_active(&self) -> bool {
        !matches!(self.state, State::Ended { .. }) || self.unstored.is_some()
    }
}

/// What was accepted.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Spec {
    /// The record's configuration.
    pub configuration: Configuration,
    /// The type to launch.
    pub instance_type: InstanceType,
    /// Why it is another type than the configuration's.
    pub promoted_because: Option<String>,
    /// Where it may be launched, best first.
    #[serde(default)]
    pub places: Vec<Place>,
}

/// What was found where an image's signed manifest would be.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ImageManifest {
    /// None is there, or it may not be read: the image goes without.
    Missing,
    /// One that a trusted key signed.
    Signed(SignedMeasurements),
}

/// What a signed manifest says.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SignedMeasurements {
    /// The manifest, and who signed it.
    pub evidence: SignedManifest,
    /// What the image measures to.
    pub pcrs: PcrSet,
    /// SHA-384 of the EIF.
    pub eif_sha384: Pcr,
}

/// Where the lifecycle of a generation is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "name", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// The request is taken; the record still says `PENDING_DEPLOY`. Nothing is launched before it
    /// says otherwise, so a `PENDING_DEPLOY` that is read later is another request.
    Accepting,
    /// The configuration cannot be used; the record does not say so yet.
    Refusing,
    /// An instance may or may not have been launched.
    Launching {
        /// The request, resent until its answer is known.
        intent: LaunchIntent,
        /// Set when the instance is to be terminated as soon as it is known.
        cancelled: Option<Outcome>,
        /// Where this generation was refused before.
        #[serde(default)]
        tried: Vec<Tried>,
    },
    /// A place on a shared host is looked for, or the host is on its way.
    Joining {
        /// The place, once there is one.
        seat: Option<Seat>,
        /// Where this generation was refused before.
        #[serde(default)]
        tried: Vec<Tried>,
    },
    /// The instance is known; its agent is to run the enclave and to answer the nonce.
    Deploying {
        /// Where.
        host: Host,
        /// The nonce outstanding.
        nonce: Nonce,
        /// Since when an answer is awaited; deadlines count from here.
        since: UnixMillis,
        /// How many restarts the host had reported when the nonce was drawn.
        restarts: u32,
    },
    /// A document was judged; its report is not stored yet.
    Reporting {
        /// Where.
        host: Host,
        /// The judgement with its report.
        judgement: Box<Judgement>,
        /// Which start of the enclave answered.
        incarnation: Incarnation,
        /// Since when the report waits to be stored.
        since: UnixMillis,
        /// How many times in a row it had failed to attest again; none when nothing was proven of it
        /// before.
        misses: Option<u32>,
    },
    /// The enclave runs and its document was accepted.
    Deployed {
        /// Where.
        host: Host,
        /// Sequence of the newest nonce.
        sequence: u64,
        /// Which start of the enclave answered.
        incarnation: Incarnation,
        /// How it attests again.
        renewal: Renewal,
    },
    /// The host is asked to end the enclave; its instance will be stopped.
    Pausing {
        /// Where.
        host: Host,
        /// Since when.
        since: UnixMillis,
    },
    /// The instance is being stopped.
    Stopping {
        /// Where.
        host: Host,
    },
    /// Nothing runs; the instance is stopped and can be started.
    Paused {
        /// Where.
        host: Host,
    },
    /// The instance is being started.
    Resuming {
        /// Where.
        host: Host,
    },
    /// AWS takes the instance away: the host is asked to end the enclave, which goes to another one.
    Moving {
        /// Where.
        host: Host,
        /// Since when.
        since: UnixMillis,
    },
    /// Nothing runs: EC2 had no place for an enclave that ran before. It is tried again.
    Waiting {
        /// What EC2 said.
        why: Failure,
        /// Until when nothing is tried.
        until: UnixMillis,
    },
    /// The instance is done with; another one takes its place when it is terminated.
    Replacing {
        /// Where.
        host: Host,
    },
    /// The host is asked to end the enclave.
    Draining {
        /// Where.
        host: Host,
        /// How it ends.
        outcome: Outcome,
        /// Since when.
        since: UnixMillis,
    },
    /// The instance is being terminated.
    Terminating {
        /// Where.
        host: Host,
        /// How it ends.
        outcome: Outcome,
        /// Since when.
        since: UnixMillis,
    },
    /// Nothing runs; EC2 said so.
    Ended {
        /// How it ended.
        outcome: Outcome,
        /// Where it ran, for people who look into why.
        host: Option<Host>,
    },
}

impl State {
    /// The state's name, as events and the record's phase show it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Accepting => "ACCEPTED",
            Self::Refusing => "REFUSED",
            Self::Launching { .. } => "LAUNCHING",
            Self::Joining { .. } => "JOINING",
            Self::Deploying { .. } => "BOOTING",
            Self::Reporting { .. } => "VERIFYING",
            Self::Deployed { .. } => "RUNNING",
            Self::Pausing { .. } => "PAUSING",
            Self::Stopping { .. } => "STOPPING",
            Self::Paused { .. } => "PAUSED",
            Self::Resuming { .. } => "RESUMING",
            Self::Moving { .. } => "MOVING",
            Self::Waiting { .. } => "WAITING",
            Self::Replacing { .. } => "REPLACING",
            Self::Draining { .. } => "DRAINING",
            Self::Terminating { .. } => "TERMINATING",
            Self::Ended { outcome: Outcome::Destroyed, .. } => "DESTROYED",
            Self::Ended { outcome: Outcome::Failed, .. } => "FAILED",
        }
    }

    /// The host, in the states in which it may still run something.
    #[must_use]
    pub fn host(&self) -> Option<&Host> {
        match self {
            Self::Deploying { host, .. }
            | Self::Reporting { host, .. }
            | Self::Deployed { host, .. }
            | Self::Pausing { host, .. }
            | Self::Stopping { host }
            | Self::Paused { host }
            | Self::Resuming { host }
            | Self::Moving { host, .. }
            | Self::Replacing { host }
            | Self::Draining { host, .. }
            | Self::Terminating { host, .. } => Some(host),
            Self::Accepting
            | Self::Refusing
            | Self::Launching { .. }
            | Self::Joining { .. }
            | Self::Waiting { .. }
            | Self::Ended { .. } => None,
        }
    }
}

impl State {
    /// The host, to be changed.
    pub(crate) fn host_mut(&mut self) -> Option<&mut Host> {
        match self {
            Self::Deploying { host, .. }
            | Self::Reporting { host, .. }
            | Self::Deployed { host, .. }
            | Self::Pausing { host, .. }
            | Self::Stopping { host }
            | Self::Paused { host }
            | Self::Resuming { host }
            | Self::Moving { host, .. }
            | Self::Replacing { host }
            | Self::Draining { host, .. }
            | Self::Terminating { host, .. } => Some(host),
            Self::Accepting
            | Self::Refusing
            | Self::Launching { .. }
            | Self::Joining { .. }
            | Self::Waiting { .. }
            | Self::Ended { .. } => None,
        }
    }
}

/// How an enclave that runs attests again.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Renewal {
    /// When the next nonce is due, while none is outstanding.
    pub due: UnixMillis,
    /// The nonce outstanding.
    pub nonce: Option<Nonce>,
    /// How many times in a row it failed to attest again; above zero it is degraded.
    pub misses: u32,
    /// Why it failed last.
    pub reason: Option<String>,
}

impl Renewal {
    /// Nothing outstanding, nothing missed.
    #[must_use]
    pub fn due_at(due: UnixMillis) -> Self {
        Self { due, nonce: None, misses: 0, reason: None }
    }
}

/// Which start of an enclave something is about. Another start is another enclave, and has to
/// attest for itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Incarnation {
    /// How many restarts the host had reported.
    pub restarts: u32,
    /// nitro-cli's id of the enclave.
    pub nitro_id: Option<String>,
}

impl Incarnation {
    /// The one that the host reports.
    #[must_use]
    pub fn of(assignment: &ObservedAssignment) -> Self {
        let nitro_id = assignment.enclave.as_ref().map(|enclave| enclave.nitro_id.clone());
        Self { restarts: assignment.restarts, nitro_id }
    }

    /// Whether the host reports another start than this one. An enclave that is not named, because
    /// it is between two starts or its agent has just begun, says nothing yet.
    #[must_use]
    pub fn is_over(&self, assignment: &ObservedAssignment) -> bool {
        let reported = Self::of(assignment);
        reported.restarts != self.restarts
            || (reported.nitro_id.is_some() && reported.nitro_id != self.nitro_id)
    }
}

/// How a generation ends.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Outcome {
    /// As asked.
    Destroyed,
    /// For the reason in [`Entry::failure`].
    Failed,
}

/// The instance on which a generation runs.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Host {
    /// The instance's id.
    pub instance_id: String,
    /// The instance's ARN, which is its agent's key in the hosts table.
    pub instance_arn: String,
    /// The type launched.
    pub instance_type: InstanceType,
    /// The zone.
    pub availability_zone: String,
    /// When EC2 named it, or started it again.
    pub launched_at: UnixMillis,
    /// The version of the host's `desired` item that this entry calls for.
    pub desired_version: u64,
    /// The slot of a host that several share; none of a host of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<SlotId>,
}

/// A place on a shared host that is on its way.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Seat {
    /// The host's slot.
    pub slot: SlotId,
    /// Which of the slot's hosts.
    pub generation: Generation,
}

/// A judged document, on its way into the chain of reports.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Judgement {
    /// The report's key in the reports' bucket.
    pub report_key: String,
    /// The report, as it is stored byte for byte.
    pub report: String,
    /// SHA-256 of [`Self::report`], in hex.
    pub report_sha256: String,
    /// Sequence of the nonce that was answered.
    pub sequence: u64,
    /// What the document proved; nothing when it was rejected.
    pub attested: Option<Attested>,
    /// Why the generation fails, when it does.
    pub failure: Option<Failure>,
}

impl Judgement {
    /// The chain's head when its report is the newest.
    pub(crate) fn head(&self) -> ChainHead {
        ChainHead { key: self.report_key.clone(), sha256: self.report_sha256.clone() }
    }
}

/// What an accepted document proved.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Attested {
    /// How strong the proof is.
    pub verdict: Verdict,
    /// The document's PCRs.
    #[serde(deserialize_with = "bailey_model::read_pcr_set")]
    pub pcrs: PcrSet,
    /// Where the expected ones came from.
    pub pcr_source: PcrSource,
    /// When the coordinator judged.
    pub verified_at: UnixMillis,
    /// The enclave's module id, which later documents must bear.
    pub module_id: String,
    /// `s3://` location of the report.
    pub report: String,
}

/// The newest report of an enclave id.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ChainHead {
    /// The report's key.
    pub key: String,
    /// SHA-256 of the report, in hex.
    pub sha256: String,
}

/// What AWS announced about an instance.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Notice {
    /// Which one.
    pub instance_id: String,
    /// What.
    #[serde(flatten)]
    pub said: Announcement,
}

/// How the event begins which says that an enclave's end takes too long.
pub(crate) const OVERDUE: &str = "OVERDUE";

impl Event {
    /// Whether it says that an enclave's end takes too long.
    #[must_use]
    pub fn is_overdue(&self) -> bool {
        self.text.starts_with(OVERDUE)
    }
}

/// Something that happened.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Event {
    /// Counts the events of an enclave id over all of its generations, from 1: no number is used
    /// twice, so whoever reads again knows what is new and what was missed. 0 for an event that was
    /// noted before events had numbers.
    #[serde(default)]
    pub number: u64,
    /// When.
    pub at: UnixMillis,
    /// In which generation.
    pub generation: Generation,
    /// What.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(events: &serde_json::Value) -> Entry {
        serde_json::from_value(json!({
            "id": "enc_1", "version": 1, "generation": 1, "accepted_at": 0, "entered": {},
            "state": {"name": "ACCEPTING"}, "events": events,
        }))
        .unwrap()
    }

    fn numbers(entry: &Entry) -> Vec<u64> {
        entry.events.iter().map(|event| event.number).collect()
    }

    #[test]
    fn the_newest_events_are_kept_and_no_number_is_used_twice() {
        let mut entry = entry(&json!([]));
        for n in 0..100 {
            entry.note(UnixMillis(n), "again");
        }
        assert_eq!(numbers(&entry), (61..=100).collect::<Vec<_>>());
    }

    #[test]
    fn events_that_were_noted_without_numbers_are_followed_by_numbered_ones() {
        let old = json!({"at": 1, "generation": 1, "text": "ACCEPTED"});
        let mut entry = entry(&json!([old, old, old]));
        entry.note(UnixMillis(2), "LAUNCHING");
        entry.note(UnixMillis(3), "BOOTING");
        assert_eq!(numbers(&entry), [0, 0, 0, 4, 5]);
    }
}
