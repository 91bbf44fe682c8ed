//! Parents that several enclaves share.
//!
//! ```text
//!             EC2 refuses, and those who wait leave
//!          +-----------------------------------------+
//!          v                                         |
//!        EMPTY --first tenant--> LAUNCHING --> SHARED | REFUSED
//!          ^                                    |  ^ |
//!          |                                    |  +-+ tenants come and go
//!          +------- TERMINATING <---------------+
//!                      no tenant stays, or the instance is gone
//! ```
//!
//! The host is its slot's from the launch to the end; an enclave has a place there, as a tenant, and
//! makes no call of EC2. What the host is told is composed of all tenants, in the order of their ids, and
//! has the slot's version: so an entry that comes, goes or says something else is written together with
//! the slot and the `desired` item, or not at all ([`seated`]).
//!
//! # Guarantees
//! - What the entry's state says of its place is what the slot says of the tenant, at every instant; only
//!   the end of the host, which is EC2's word, takes a place away.
//! - A tenant gives its place up when the host says that its enclave is gone, or EC2 that the
//!   instance is. One whose enclave cannot be ended keeps it, until the others have gone or cannot be
//!   ended either: then the instance is terminated.
//! - Nobody joins a host on which everybody is about to leave, or that a tenant knows to be taken away by AWS.

use crate::{
    config::Config,
    launch::{LaunchIntent, Place, Tried, next_place},
    ledger::{Entry, Host, Seat, Spec, State},
    spare::{Claim, Slot, SlotId, SlotState, SlotStep, is_at},
    step::assignment,
    view::{InstanceState, View},
};
use bailey_model::{
    EnclaveId, Generation, UnixMillis,
    hosts::{Assignment, Desired, HostPhase, PoolSize},
    instance_type::{Need, shared},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// AWS runs no more enclaves on a parent.
const MOST_TENANTS: usize = 4;

/// An enclave with a place on a shared host.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Tenant {
    /// Which accepted request.
    pub generation: Generation,
    /// vCPUs of its enclave.
    pub cpu_count: u32,
    /// Memory of its enclave, in MiB.
    pub memory_mib: u32,
    /// The ports of the parent that are its alone.
    #[serde(default)]
    pub parent_ports: Vec<u16>,
    /// What the host is told to run for it.
    pub assignment: Option<Assignment>,
    /// The module id that its enclave showed, while that may live.
    pub module_id: Option<String>,
    /// Whether it only waits for the end of its enclave.
    pub leaving: bool,
}

impl Tenant {
    fn need(&self) -> Need {
        Need { cpu_count: self.cpu_count, memory_mib: self.memory_mib }.in_pages()
    }
}

/// Whether an enclave shares its parent.
pub(crate) fn shares(spec: &Spec, config: &Config) -> bool {
    spec.configuration.share_parent && config.enclaves_per_parent > 1
}

/// The slot on whose host the entry has a place; none when it has none, or a host of its own.
#[must_use]
pub fn seat(entry: &Entry) -> Option<&SlotId> {
    match &entry.state {
        State::Joining { seat, .. } => seat.as_ref().map(|seat| &seat.slot),
        // A paused enclave gave its place up.
        State::Paused { .. } | State::Resuming { .. } => None,
        state => state.host().and_then(|host| host.slot.as_ref()),
    }
}

/// An entry, with all that has to be written together with it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Seated {
    /// Nothing else.
    Alone(Box<Entry>),
    /// The slot on which it has or had a place.
    Together(Box<Together>),
}

/// An entry and its slot: to be written together or not at all.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Together {
    /// The entry.
    pub entry: Entry,
    /// The slot on which it has or had a place.
    pub slot: Slot,
    /// What the slot's host is told, by the host's ARN.
    pub told: Option<(String, Desired)>,
}

/// The entry `next` that follows `before`, with what it changes on the slot that was read after `before`.
#[must_use]
pub fn seated(before: &Entry, mut next: Entry, slot: Option<&Slot>) -> Seated {
    let Some((slot, present)) = slot.and_then(|slot| Some((slot, place_of(before, slot)?))) else {
        return Seated::Alone(Box::new(next));
    };
    let wanted = (seat(&next) == Some(&slot.id)).then(|| tenant(&next, present));
    let closed = slot.closed || next.announced().is_some_and(|said| said.takes_away);
    if wanted.as_ref() == Some(present) && closed == slot.closed {
        // It asks its host for nothing new.
        let version = before.state.host().map(|host| host.desired_version);
        if let (Some(host), Some(version)) = (next.state.host_mut(), version) {
            host.desired_version = version;
        }
        return Seated::Alone(Box::new(next));
    }
    let mut changed = Slot { closed, ..slot.clone() };
    match wanted {
        Some(tenant) => changed.tenants.insert(next.id.clone(), tenant),
        None => changed.tenants.remove(&next.id),
    };
    let version = slot.version.saturating_add(1);
    if let Some(host) = next.state.host_mut().filter(|host| host.slot.is_some()) {
        host.desired_version = version;
    }
    let told = told(&changed, version);
    Seated::Together(Box::new(Together { entry: next, slot: changed, told }))
}

/// What the slot's host is to run in this version; none while it has no host, or when that ends.
fn told(slot: &Slot, version: u64) -> Option<(String, Desired)> {
    let SlotState::Shared { host, .. } = &slot.state else { return None };
    let assignments = slot.tenants.values().filter_map(|tenant| tenant.assignment.clone());
    let (has, needs) = (capacity(host), needs(&slot.tenants));
    let pool = PoolSize {
        cpu_count: has.cpu_count.max(needs.cpu_count),
        memory_mib: has.memory_mib.max(needs.memory_mib),
    };
    let assignments = assignments.collect();
    let desired = Desired { version, drain: false, assignments, pool: Some(pool) };
    Some((host.instance_arn.clone(), desired))
}

fn capacity(host: &Host) -> Need {
    shared(&host.instance_type).unwrap_or(NOTHING)
}

const NOTHING: Need = Need { cpu_count: 0, memory_mib: 0 };

fn needs(tenants: &BTreeMap<EnclaveId, Tenant>) -> Need {
    tenants.values().map(Tenant::need).fold(NOTHING, |sum, need| Need {
        cpu_count: sum.cpu_count.saturating_add(need.cpu_count),
        memory_mib: sum.memory_mib.saturating_add(need.memory_mib),
    })
}

/// The entry's place on the slot's present host; none when that is another one, or does not know it.
fn place_of<'a>(entry: &Entry, slot: &'a Slot) -> Option<&'a Tenant> {
    let is_it = match &entry.state {
        State::Joining { seat, .. } => seat
            .as_ref()
            .is_some_and(|seat| (&seat.slot, seat.generation) == (&slot.id, slot.generation)),
        state => state.host().zip(slot.host()).is_some_and(|(mine, its)| {
            mine.slot.as_ref() == Some(&slot.id) && mine.instance_id == its.instance_id
        }),
    };
    let tenant = slot.tenants.get(&entry.id).filter(|_| is_it)?;
    (tenant.generation == entry.generation).then_some(tenant)
}

/// What a slot should say of the entry.
fn tenant(entry: &Entry, present: &Tenant) -> Tenant {
    let keeps = || present.assignment.clone();
    let proven = |entry: &Entry| entry.attested.as_ref().map(|it| it.module_id.clone());
    let (assignment, module_id) = match &entry.state {
        State::Deploying { nonce, .. } => (assignment(entry, nonce), None),
        State::Reporting { judgement, .. } => {
            let good = judgement.attested.as_ref().filter(|_| judgement.failure.is_none());
            let shown = good.map(|it| it.module_id.clone());
            (keeps(), shown.or_else(|| proven(entry)))
        }
        State::Deployed { renewal, .. } => {
            let asked = renewal.nonce.as_ref().and_then(|nonce| assignment(entry, nonce));
            (asked.or_else(keeps), proven(entry))
        }
        _ => (None, present.module_id.clone()),
    };
    let leaving = matches!(
        entry.state,
        State::Stopping { .. } | State::Replacing { .. } | State::Terminating { .. }
    );
    Tenant { assignment, module_id, leaving, ..present.clone() }
}

/// Who else on the same host showed this module id; each enclave has one of its own.
pub(crate) fn shown_by<'a>(
    module_id: &str,
    entry: &Entry,
    slot: Option<&'a Slot>,
) -> Option<&'a EnclaveId> {
    let mut others = slot?.tenants.iter().filter(|(id, _)| **id != entry.id);
    others.find(|(_, it)| it.module_id.as_deref() == Some(module_id)).map(|(id, _)| id)
}

/// What is known of the instance on which the entry has a place.
///
/// A slot ends its host on EC2's word, or when everybody leaves; so whoever lost the place while
/// staying has EC2's word as well.
pub(crate) fn instance(entry: &Entry, view: &View<'_>) -> Option<InstanceState> {
    let Some(slot) = view.slot.filter(|_| seat(entry).is_some() && entry.state.host().is_some())
    else {
        return view.instance;
    };
    match place_of(entry, slot) {
        None => Some(InstanceState::Terminated),
        Some(tenant) if matches!(slot.state, SlotState::Terminating { .. }) && !tenant.leaving => {
            Some(InstanceState::Terminated)
        }
        Some(_) => view.instance,
    }
}

/// Whether nothing of the entry's enclave is left on its shared host.
pub(crate) fn is_released(entry: &Entry, host: &Host, view: &View<'_>) -> bool {
    if view.instance.is_some_and(InstanceState::is_gone) {
        return true;
    }
    // A host whose agent was never heard of has started nothing, and is no longer told to.
    let Some(observed) = view.observed else { return true };
    observed.desired_version >= host.desired_version
        && observed
            .assignments
            .iter()
            .filter(|it| it.enclave_id == entry.id)
            .all(|it| matches!(it.phase, HostPhase::Stopped | HostPhase::Failed))
}

/// How it goes on with a place on a shared host that is on its way.
pub(crate) enum Joined<'a> {
    /// The host is known.
    Host(&'a Host),
    /// EC2 refused it.
    Refused(Tried, &'a crate::launch::LaunchRefused),
    /// It is being launched.
    NotYet,
    /// The place is no more.
    Lost,
}

/// What became of the place that the entry waits for.
pub(crate) fn joined<'a>(entry: &Entry, slot: Option<&'a Slot>) -> Joined<'a> {
    let Some(slot) = slot.filter(|slot| place_of(entry, slot).is_some()) else {
        return Joined::Lost;
    };
    match &slot.state {
        SlotState::Shared { host, .. } => Joined::Host(host),
        SlotState::Launching { .. } => Joined::NotYet,
        SlotState::Refused { refused } => Joined::Refused(
            Tried { place: slot.place.clone(), code: refused.code.clone() },
            refused,
        ),
        _ => Joined::Lost,
    }
}

/// The entry with a place on a shared host, one that is there if any will do; none when there is nowhere
/// left to launch another.
pub(crate) fn join(
    entry: &Entry,
    spec: &Spec,
    tried: Vec<Tried>,
    view: &View<'_>,
    config: &Config,
) -> Option<Claim> {
    let now = view.now;
    let slots = || view.spares.iter().filter(|slot| slot.id.is_shared());
    let there = spec
        .places
        .iter()
        .find_map(|place| slots().find(|slot| is_open(slot, place, entry, spec, &tried, config)));
    let mut slot = if let Some(slot) = there {
        slot.clone()
    } else {
        let place = next_place(spec, &tried, config, view.short)?;
        let slot = unused(place, view.spares);
        let intent = LaunchIntent::for_slot(&slot, config, now);
        slot.with(SlotState::Launching { intent })
    };
    let tenant = Tenant {
        generation: entry.generation,
        cpu_count: spec.configuration.cpu_count,
        memory_mib: spec.configuration.memory_mib,
        parent_ports: parent_ports(spec).collect(),
        assignment: None,
        module_id: None,
        leaving: false,
    };
    slot.tenants.insert(entry.id.clone(), tenant);
    let mut next = entry.clone();
    next.attempts = next.attempts.saturating_add(1);
    let others = slot.tenants.len().saturating_sub(1);
    next.note(now, format!("joins the shared host {} beside {others} others", slot.id));
    let seat = Seat { slot: slot.id.clone(), generation: slot.generation };
    let state = State::Joining { seat: Some(seat), tried };
    Some(Claim { entry: next.moved(state, now), slot })
}

/// Whether the slot's host is at the place and has room for one more.
fn is_open(
    slot: &Slot,
    place: &Place,
    entry: &Entry,
    spec: &Spec,
    tried: &[Tried],
    config: &Config,
) -> bool {
    let is_here = match &slot.state {
        SlotState::Shared { host, template_version } => {
            let stays = slot.tenants.values().any(|tenant| !tenant.leaving);
            stays && is_at(host, place) && *template_version >= config.template.version
        }
        SlotState::Launching { intent } => {
            let was_refused = tried.iter().any(|tried| tried.place == slot.place);
            let version = intent.request.template_version;
            let is_waited_for = !slot.tenants.is_empty();
            slot.place == *place
                && is_waited_for
                && !was_refused
                && version >= config.template.version
        }
        _ => false,
    };
    let most = config.enclaves_per_parent.min(MOST_TENANTS);
    is_here
        && !slot.closed
        && slot.tenants.len() < most
        && !slot.tenants.contains_key(&entry.id)
        && fits(spec, slot)
        && has_its_ports(spec, slot)
}

/// Whether no tenant has a port of the parent that this one asks for.
fn has_its_ports(spec: &Spec, slot: &Slot) -> bool {
    parent_ports(spec).all(|port| slot.tenants.values().all(|it| !it.parent_ports.contains(&port)))
}

fn parent_ports(spec: &Spec) -> impl Iterator<Item = u16> {
    spec.configuration.ingress.iter().map(|port| port.parent_port)
}

/// Whether the type of the slot's host offers enough for one more.
fn fits(spec: &Spec, slot: &Slot) -> bool {
    let has = shared(&slot.place.instance_type).unwrap_or(NOTHING);
    let (own, others) = (spec.configuration.need().in_pages(), needs(&slot.tenants));
    own.cpu_count.saturating_add(others.cpu_count) <= has.cpu_count
        && own.memory_mib.saturating_add(others.memory_mib) <= has.memory_mib
}

/// A slot at the place that has no host.
fn unused(place: &Place, slots: &[Slot]) -> Slot {
    let is_free = |slot: &&Slot| {
        slot.id.is_shared() && slot.place == *place && matches!(slot.state, SlotState::Empty { .. })
    };
    if let Some(slot) = slots.iter().find(is_free) {
        return slot.clone();
    }
    let is_new = |id: &SlotId| slots.iter().all(|slot| slot.id != *id);
    let mut numbers = 0..=u32::MAX;
    let number = numbers.find(|number| is_new(&SlotId::shared(place, *number)));
    let number = number.unwrap_or(u32::MAX);
    Slot { id: SlotId::shared(place, number), ..Slot::new(place, number) }
}

/// Decides the single next step for a shared host's slot, whose instance is not gone.
pub(crate) fn next_shared_step(slot: &Slot, now: UnixMillis) -> SlotStep {
    let save = |slot: Slot| SlotStep::Save(Box::new(slot));
    match &slot.state {
        // Also when nobody waits for it any more: only the answer tells whether there is an instance.
        SlotState::Launching { intent } => SlotStep::Launch(intent.clone()),
        SlotState::Refused { refused } if slot.tenants.is_empty() => {
            save(slot.emptied(now, Some(format!("{}: {}", refused.code, refused.message))))
        }
        SlotState::Shared { host, .. } if slot.tenants.values().all(|tenant| tenant.leaving) => {
            save(slot.ending(host, "nobody stays there", now))
        }
        SlotState::Terminating { host, .. } => SlotStep::Terminate(host.clone()),
        _ => SlotStep::Wait(None),
    }
}

#[cfg(test)]
#[path = "shared_tests.rs"]
mod tests;
