//! Spare hosts: parents that are booted before anybody asks for them.
//!
//! ```text
//!           EC2 refuses: a pause
//!          +---------------------+
//!          v                     |
//!        EMPTY --intent--> LAUNCHING --answer--> BOOTING --agent reports--> READY --claimed--> EMPTY
//!          ^                                        |                         |
//!          +---- TERMINATING <-never reports, not wanted, old template, taken away-+
//! ```
//!
//! A slot is a place for one spare host, with intents of its own. A deploy claims the host of a ready
//! slot: entry and slot change in one write, so that the host has one owner at every instant. It is never
//! given back, for nobody should run where somebody else did.

use crate::{
    config::{Config, SpareHosts},
    launch::{LaunchIntent, LaunchRefused, Launched, Place},
    ledger::{Entry, Host, Spec, State},
    outcome::next_nonce,
    shared::{Tenant, next_shared_step},
    view::InstanceState,
};
use bailey_model::{
    EnclaveId, Generation, UnixMillis,
    hosts::{Desired, Observed},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, time::Duration};

/// A slot's name: the place, and a number below the place's count.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct SlotId(String);

/// What the name of a shared host's slot starts with; no instance type is called so.
const SHARED: &str = "shared/";

impl SlotId {
    /// The spare host's slot with this number at a place.
    #[must_use]
    pub fn new(place: &Place, number: u32) -> Self {
        let zone = place.availability_zone.as_deref().unwrap_or("any");
        Self(format!("{}/{zone}/{number}", place.instance_type))
    }

    /// The shared host's slot with this number at a place.
    #[must_use]
    pub fn shared(place: &Place, number: u32) -> Self {
        let Self(name) = Self::new(place, number);
        Self(format!("{SHARED}{name}"))
    }

    /// Whether several enclaves share the slot's host.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.0.starts_with(SHARED)
    }

    /// The name, which is a sort key and a tag's value.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn read(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A place for one spare host.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Slot {
    /// Its name.
    pub id: SlotId,
    /// Where its host is launched.
    pub place: Place,
    /// Counts the writes; a write is conditional on the version that was read.
    pub version: u64,
    /// Counts the hosts that it has had, or may have; each has a token of its own.
    pub generation: Generation,
    /// Where its host is.
    pub state: SlotState,
    /// To whom its newest hosts were given.
    pub given: Vec<Given>,
    /// The enclaves that have a place on its host, when several share it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tenants: BTreeMap<EnclaveId, Tenant>,
    /// Whether nobody else may join its host, for AWS takes it away.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub closed: bool,
}

/// Where a slot's host is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "name", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SlotState {
    /// There is none.
    Empty {
        /// Until when none is launched.
        until: UnixMillis,
        /// Why the last one is no more, unless it was claimed.
        why: Option<String>,
    },
    /// An instance may or may not have been launched.
    Launching {
        /// The request, resent until its answer is known.
        intent: LaunchIntent,
    },
    /// The instance is known; its agent has not reported.
    Booting {
        /// Where.
        host: Host,
        /// Of which version of the launch template it is.
        template_version: u64,
    },
    /// Its agent waits for work.
    Ready {
        /// Where.
        host: Host,
        /// Of which version of the launch template it is.
        template_version: u64,
    },
    /// EC2 refused its host; those who wait for it look elsewhere.
    Refused {
        /// EC2's refusal.
        refused: LaunchRefused,
    },
    /// Its host is its tenants'.
    Shared {
        /// Where.
        host: Host,
        /// Of which version of the launch template it is.
        template_version: u64,
    },
    /// It is being terminated.
    Terminating {
        /// Where.
        host: Host,
        /// Why.
        why: String,
        /// Until when no other is launched.
        until: UnixMillis,
    },
}

/// A host that was given to an enclave.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Given {
    /// The host's instance.
    pub instance_id: String,
    /// To whose enclave.
    pub enclave_id: EnclaveId,
}

/// How many hosts a slot remembers to have given.
const REMEMBERED: usize = 500;

/// How long a slot stays empty after its host could not be had, or was lost.
const PAUSE: Duration = Duration::from_mins(3);

impl Slot {
    /// A slot that has never had a host.
    #[must_use]
    pub fn new(place: &Place, number: u32) -> Self {
        Self {
            id: SlotId::new(place, number),
            place: place.clone(),
            version: 0,
            generation: Generation(1),
            state: SlotState::Empty { until: UnixMillis(0), why: None },
            given: Vec::new(),
            tenants: BTreeMap::new(),
            closed: false,
        }
    }

    /// The host, while there is one.
    #[must_use]
    pub fn host(&self) -> Option<&Host> {
        match &self.state {
            SlotState::Booting { host, .. }
            | SlotState::Ready { host, .. }
            | SlotState::Shared { host, .. }
            | SlotState::Terminating { host, .. } => Some(host),
            SlotState::Empty { .. } | SlotState::Launching { .. } | SlotState::Refused { .. } => {
                None
            }
        }
    }

    /// To whom an instance was given.
    #[must_use]
    pub fn given_to(&self, instance_id: &str) -> Option<&EnclaveId> {
        self.given.iter().find(|it| it.instance_id == instance_id).map(|it| &it.enclave_id)
    }

    /// Whether it may have given hosts that it does not remember.
    pub(crate) fn has_forgotten(&self) -> bool {
        self.given.len() >= REMEMBERED
    }

    /// The state's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self.state {
            SlotState::Empty { .. } => "EMPTY",
            SlotState::Launching { .. } => "LAUNCHING",
            SlotState::Booting { .. } => "BOOTING",
            SlotState::Ready { .. } => "READY",
            SlotState::Refused { .. } => "REFUSED",
            SlotState::Shared { .. } => "SHARED",
            SlotState::Terminating { .. } => "TERMINATING",
        }
    }

    pub(crate) fn with(&self, state: SlotState) -> Self {
        Self { state, ..self.clone() }
    }

    /// The slot without its host; the next one is another.
    pub(crate) fn emptied(&self, until: UnixMillis, why: Option<String>) -> Self {
        let (generation, tenants) = (self.generation.next(), BTreeMap::new());
        let empty = self.with(SlotState::Empty { until, why });
        Self { generation, tenants, closed: false, ..empty }
    }

    pub(crate) fn ending(&self, host: &Host, why: impl Into<String>, until: UnixMillis) -> Self {
        self.with(SlotState::Terminating { host: host.clone(), why: why.into(), until })
    }
}

/// The slots that the settings call for, and those that are there without being called for.
#[must_use]
pub fn slots(wanted: &[SpareHosts], present: Vec<Slot>) -> Vec<(Slot, bool)> {
    let mut slots: Vec<(Slot, bool)> = Vec::new();
    for place in wanted.iter().flat_map(|it| (0..it.count).map(move |_| &it.place)) {
        let number = slots.iter().filter(|(slot, _)| slot.place == *place).count();
        slots.push((Slot::new(place, u32::try_from(number).unwrap_or(u32::MAX)), true));
    }
    for slot in present {
        match slots.iter_mut().find(|(other, _)| other.id == slot.id) {
            Some((other, _)) => *other = slot,
            None => slots.push((slot, false)),
        }
    }
    slots
}

/// Everything that is known about a slot when a decision is made.
#[derive(Clone, Copy, Debug)]
pub struct SlotView<'a> {
    /// The time.
    pub now: UnixMillis,
    /// Whether the settings call for it.
    pub is_wanted: bool,
    /// What its host reported.
    pub observed: Option<&'a Observed>,
    /// What EC2 said last about its instance.
    pub instance: Option<InstanceState>,
    /// Whether its host was told to wait.
    pub is_told: bool,
}

/// The single next step for one slot.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub enum SlotStep {
    /// Call `RunInstances`; feed the answer to [`launched`] or [`launch_refused`].
    Launch(LaunchIntent),
    /// Write the slot, on condition that its version is still the one read.
    Save(Box<Slot>),
    /// Call `TerminateInstances` and remove the host's items; then [`terminated`].
    Terminate(Host),
    /// Nothing to do until something changes, or until the given time.
    Wait(Option<UnixMillis>),
    /// Tell the host to wait for work, unless something newer was told.
    WriteDesired(String, Desired),
}

/// Decides the single next step for a slot.
pub fn next_slot_step(slot: &Slot, view: &SlotView<'_>, config: &Config) -> SlotStep {
    let SlotView { now, is_wanted, .. } = *view;
    let save = |slot: Slot| SlotStep::Save(Box::new(slot));
    if let Some(host) = lost(slot, view) {
        // Also one that was merely stopped; and its items are removed with it.
        let why = format!("instance {} is gone", host.instance_id);
        return save(slot.ending(host, why, now.plus(PAUSE)));
    }
    if slot.id.is_shared() {
        return next_shared_step(slot, now);
    }
    match &slot.state {
        SlotState::Empty { .. } if !is_wanted => SlotStep::Wait(None),
        SlotState::Empty { until, .. } if now < *until => SlotStep::Wait(Some(*until)),
        SlotState::Empty { .. } => {
            let intent = LaunchIntent::for_slot(slot, config, now);
            save(slot.with(SlotState::Launching { intent }))
        }
        // Also when it is no longer wanted: only the answer tells whether there is an instance.
        SlotState::Launching { intent } => SlotStep::Launch(intent.clone()),
        SlotState::Booting { host, .. } | SlotState::Ready { host, .. } if !is_wanted => {
            save(slot.ending(host, "it is no longer called for", now))
        }
        SlotState::Booting { host, .. } | SlotState::Ready { host, .. }
            if view.observed.is_some_and(|observed| observed.is_taken_away) =>
        {
            save(slot.ending(host, "AWS takes its instance away", now.plus(PAUSE)))
        }
        SlotState::Booting { host, template_version } if view.observed.is_some() => {
            let (host, template_version) = (host.clone(), *template_version);
            save(slot.with(SlotState::Ready { host, template_version }))
        }
        SlotState::Booting { host, .. } => {
            let deadline = host.launched_at.plus(config.host_timeout);
            if now >= deadline {
                let why = "its agent did not report in time";
                return save(slot.ending(host, why, now.plus(PAUSE)));
            }
            if !view.is_told {
                let desired = Desired { version: host.desired_version, ..Desired::default() };
                return SlotStep::WriteDesired(host.instance_arn.clone(), desired);
            }
            SlotStep::Wait(Some(deadline))
        }
        SlotState::Ready { host, template_version } => {
            // Another coordinator may have been started since the template was changed: an older one of
            // us must not undo what it launches.
            if *template_version >= config.template.version {
                return SlotStep::Wait(None);
            }
            save(slot.ending(host, "the launch template has a newer version", now))
        }
        SlotState::Terminating { host, .. } => SlotStep::Terminate(host.clone()),
        // Only shared hosts' slots are.
        SlotState::Refused { .. } | SlotState::Shared { .. } => SlotStep::Wait(None),
    }
}

/// The host that is no more although nobody here ended it.
fn lost<'a>(slot: &'a Slot, view: &SlotView<'_>) -> Option<&'a Host> {
    match &slot.state {
        SlotState::Booting { host, .. }
        | SlotState::Ready { host, .. }
        | SlotState::Shared { host, .. } => {
            view.instance.is_some_and(InstanceState::is_gone).then_some(host)
        }
        _ => None,
    }
}

/// EC2 named the instance of the slot's intent.
#[must_use]
pub fn launched(slot: &Slot, launched: Launched, now: UnixMillis) -> Slot {
    let SlotState::Launching { intent } = &slot.state else { return slot.clone() };
    let host = intent.host(launched, now);
    let template_version = intent.request.template_version;
    if slot.id.is_shared() {
        let host = Host { slot: Some(slot.id.clone()), ..host };
        return slot.with(SlotState::Shared { host, template_version });
    }
    slot.with(SlotState::Booting { host, template_version })
}

/// EC2 refused the slot's intent; nothing was launched.
#[must_use]
pub fn launch_refused(slot: &Slot, refused: &LaunchRefused, now: UnixMillis) -> Slot {
    let SlotState::Launching { .. } = &slot.state else { return slot.clone() };
    if slot.id.is_shared() {
        return slot.with(SlotState::Refused { refused: refused.clone() });
    }
    slot.emptied(now.plus(PAUSE), Some(format!("{}: {}", refused.code, refused.message)))
}

/// EC2 confirmed that the slot's instance ends.
#[must_use]
pub fn terminated(slot: &Slot, now: UnixMillis) -> Slot {
    let SlotState::Terminating { why, until, .. } = &slot.state else { return slot.clone() };
    slot.emptied((*until).max(now), Some(why.clone()))
}

/// An entry that takes the host of a slot, and the slot without it: to be written together or not at
/// all.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Claim {
    /// The entry with the host.
    pub entry: Entry,
    /// The slot without it.
    pub slot: Slot,
}

/// The claim of the first ready host that is where the entry may run, best place first.
pub(crate) fn claim(
    entry: &Entry,
    spec: &Spec,
    slots: &[Slot],
    fresh: [u8; 32],
    config: &Config,
    now: UnixMillis,
) -> Option<Claim> {
    let (slot, host) = spec.places.iter().find_map(|place| {
        let ready = slots.iter().filter_map(|slot| match &slot.state {
            SlotState::Ready { host, template_version } => {
                (*template_version >= config.template.version).then_some((slot, host))
            }
            _ => None,
        });
        ready.into_iter().find(|(_, host)| is_at(host, place))
    })?;
    let host = Host {
        // Deadlines count from here; the instance has run for a while.
        launched_at: now,
        desired_version: host.desired_version.saturating_add(1),
        ..host.clone()
    };
    let mut taken = slot.emptied(now, None);
    let given = Given { instance_id: host.instance_id.clone(), enclave_id: entry.id.clone() };
    taken.given.push(given);
    let surplus = taken.given.len().saturating_sub(REMEMBERED);
    taken.given.drain(..surplus);
    let mut next = entry.clone();
    next.note(now, format!("{} was spare and is taken", host.instance_id));
    let nonce = next_nonce(entry, fresh, now);
    let state = State::Deploying { host, nonce, since: entry.accepted_at, restarts: 0 };
    Some(Claim { entry: next.moved(state, now), slot: taken })
}

pub(crate) fn is_at(host: &Host, place: &Place) -> bool {
    let is_zone = |zone: &String| *zone == host.availability_zone;
    host.instance_type == place.instance_type
        && place.availability_zone.as_ref().is_none_or(is_zone)
}
