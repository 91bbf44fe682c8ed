//! What coordinators do to the world: what the tables and EC2 would let them do.

use crate::{
    hosts,
    rules::Rule,
    shared::Shared,
    world::{CONFIG, Coordinator, Fate, Instance, Mutation, Seen, SlotSeen, World, fresh},
};
use bailey_lifecycle::{
    InstanceState, Projected, Step, desired,
    launch::{LaunchRefused, LaunchRequest, Launched},
    ledger::{Entry, Event, Host, Judgement, State},
    orphan::Ownership,
    outcome,
    shared::{Seated, Tenant, Together, seat, seated},
    spare::{self, Claim, Slot, SlotState, SlotStep},
};
use bailey_model::projection::Projection;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

impl World {
    /// Lets a coordinator take its next step; it goes on with what it has read and written, or reads
    /// everything again.
    pub(crate) fn act(
        &mut self,
        coordinator: usize,
        mut seen: Seen,
        fate: Fate,
    ) -> Result<Coordinator, Rule> {
        let step = Step::clone(&self.decided(&seen, coordinator));
        match step {
            step if self.is_held_up(&seen, &step) => return Ok(Coordinator::Idle),
            Step::Save(next) => return Ok(self.save(*next, seen)),
            Step::Claim(claim) => return Ok(self.claim(*claim, seen)),
            Step::Project(projected) => return Ok(self.project(&projected, seen)),
            Step::WriteDesired { instance_arn, desired } => {
                let there = self.desired.get(&instance_arn).map_or(0, |there| there.version);
                seen.desired_written = desired.version;
                if there < desired.version {
                    self.desired.insert(instance_arn, Shared::new(desired));
                }
                return Ok(Coordinator::Loaded(seen));
            }
            _ => {}
        }
        let Some(entry) = seen.entry.as_deref().cloned() else { return Ok(Coordinator::Idle) };
        let Some(effect) = self.effect(step, &entry, coordinator, &mut seen, fate)? else {
            return Ok(Coordinator::Idle);
        };
        if fate == Fate::Crash {
            return Ok(Coordinator::Idle);
        }
        let after = self.save(effect.next, seen);
        if let (Coordinator::Idle, Some(instance_id)) = (&after, effect.launched) {
            self.disown(&instance_id);
        }
        Ok(after)
    }

    /// What a step does outside the ledger, and the entry that follows; none for a step that waits.
    fn effect(
        &mut self,
        step: Step,
        entry: &Entry,
        coordinator: usize,
        seen: &mut Seen,
        fate: Fate,
    ) -> Result<Option<Effect>, Rule> {
        let (now, fresh) = (self.now(), fresh(entry.version, coordinator));
        let next = match step {
            Step::Launch(intent) => {
                let answer = self.launch(&intent.request, fate)?;
                let launched = answer.as_ref().map(|launched| launched.instance_id.clone());
                let next = match answer {
                    Some(launched) => outcome::launched(entry, launched, fresh, now),
                    None => outcome::launch_refused(entry, &shortage(), &CONFIG, &[], now),
                };
                return Ok(Some(Effect { next, launched }));
            }
            Step::StoreReport(judgement) => {
                self.store(judgement, coordinator)?;
                outcome::report_stored(entry, &CONFIG, now)
            }
            Step::Terminate(host) => {
                if !self.is_broken(Mutation::SkippedTermination) {
                    self.enter(&host.instance_id, InstanceState::Terminated);
                }
                self.forget(&host, seen);
                outcome::terminated(entry, &CONFIG, &[], now)
            }
            Step::Stop(host) => {
                self.enter(&host.instance_id, InstanceState::Stopped);
                self.forget(&host, seen);
                outcome::stopped(entry, now)
            }
            Step::Start(host) => {
                let is_ended = self.instance(&host.instance_id).is_none_or(InstanceState::is_ended);
                if is_ended || fate == Fate::Refused {
                    outcome::start_refused(entry, "InsufficientInstanceCapacity", now)
                } else {
                    self.enter(&host.instance_id, InstanceState::Running);
                    seen.instance = Some(InstanceState::Pending);
                    outcome::started(entry, fresh, now)
                }
            }
            Step::Wait(_)
            | Step::Claim(_)
            | Step::Save(_)
            | Step::Project(_)
            | Step::WriteDesired { .. }
            | Step::ReadManifest(_) => return Ok(None),
        };
        Ok(Some(Effect { next, launched: None }))
    }

    /// Whether a lifecycle that waits for ever for a drained host would not do this.
    fn is_held_up(&self, seen: &Seen, step: &Step) -> bool {
        let drains = |entry: &Entry| matches!(entry.state, State::Draining { .. });
        let goes_on = match step {
            Step::Save(next) => matches!(next.state, State::Terminating { .. }),
            Step::Terminate(_) => true,
            _ => false,
        };
        self.is_broken(Mutation::NeverDrained)
            && goes_on
            && seen.entry.as_deref().is_some_and(drains)
    }

    /// Writes the entry if its version is the one that was read, and with it the slot on which it has or had a
    /// place, if that has not changed either.
    fn save(&mut self, entry: Entry, seen: Seen) -> Coordinator {
        let Some(before) = seen.entry.as_deref() else { return self.save_alone(entry, seen) };
        let (entry, slot, told) = match seated(before, entry, seen.slot.as_deref()) {
            Seated::Alone(entry) => return self.save_alone(*entry, seen),
            Seated::Together(together) => {
                let Together { entry, slot, told } = *together;
                (entry, slot, told)
            }
        };
        if self.is_broken(Mutation::LooseSeat) && seat(&entry) != Some(&slot.id) {
            return self.save_alone(entry, seen);
        }
        if !self.is_unchanged(&slot) || !self.is_unchanged_entry(&entry, seen.enclave) {
            return Coordinator::Idle;
        }
        self.write_slot(slot);
        if let Some((arn, desired)) = told {
            self.desired.insert(arn, Shared::new(desired));
        }
        self.save_alone(entry, seen)
    }

    /// Writes the entry and the slot of a claim, if neither has changed; and what the host is told.
    fn claim(&mut self, claim: Claim, seen: Seen) -> Coordinator {
        let Claim { entry, slot } = claim;
        let is_loose = self.is_broken(Mutation::LooseClaim);
        let is_unchanged = is_loose || self.is_unchanged(&slot);
        if !is_unchanged || !self.is_unchanged_entry(&entry, seen.enclave) {
            return Coordinator::Idle;
        }
        if self.is_unchanged(&slot) {
            self.write_slot(slot);
        }
        if let (Some(host), Some(desired)) = (entry.state.host(), desired(&entry)) {
            self.desired.insert(host.instance_arn.clone(), Shared::new(desired));
        }
        self.save_alone(entry, seen)
    }

    /// Whether a slot's version is the one that was read.
    fn is_unchanged(&self, slot: &Slot) -> bool {
        self.slots.get(slot.id.as_str()).map_or(0, |there| there.version) == slot.version
    }

    fn is_unchanged_entry(&self, entry: &Entry, enclave: usize) -> bool {
        let version = self.entry(enclave).map_or(0, |entry| entry.version);
        entry.version == version || self.is_broken(Mutation::UnconditionalSave)
    }

    fn write_slot(&mut self, slot: Slot) -> Shared<Slot> {
        let saved = Shared::new(Slot { version: slot.version + 1, ..slot });
        self.slots.insert(saved.id.to_string(), saved.clone());
        saved
    }

    /// Lets a coordinator take its next step for a slot.
    pub(crate) fn tend(&mut self, mut seen: SlotSeen, fate: Fate) -> Result<Coordinator, Rule> {
        let slot = Slot::clone(&seen.slot);
        let now = self.now();
        let step = self.hastily(&slot).unwrap_or_else(|| self.decided_for_slot(&seen));
        let next = match step {
            SlotStep::Wait(_) => return Ok(Coordinator::Idle),
            SlotStep::Save(next) => *next,
            SlotStep::WriteDesired(arn, desired) => {
                let there = self.desired.get(&arn).map_or(0, |there| there.version);
                if there < desired.version {
                    self.desired.insert(arn, Shared::new(desired));
                }
                seen.is_told = true;
                return Ok(Coordinator::Tending(seen));
            }
            SlotStep::Launch(intent) => match self.launch(&intent.request, fate)? {
                Some(launched) => spare::launched(&slot, launched, now),
                None => spare::launch_refused(&slot, &shortage(), now),
            },
            SlotStep::Terminate(host) => {
                let stays = |tenant: &Tenant| !tenant.leaving;
                let is_gone = self.instance(&host.instance_id).is_none_or(InstanceState::is_gone);
                if !is_gone && self.is_unchanged(&slot) && slot.tenants.values().any(stays) {
                    return Err(Rule::NobodyIsEvicted);
                }
                self.enter(&host.instance_id, InstanceState::Terminated);
                spare::terminated(&slot, now)
            }
        };
        if fate == Fate::Crash || !self.is_unchanged(&next) {
            return Ok(Coordinator::Idle);
        }
        if let (SlotState::Terminating { host, .. }, SlotState::Empty { .. }) =
            (&slot.state, &next.state)
        {
            self.desired.remove(&host.instance_arn);
            self.observed.remove(&host.instance_arn);
        }
        let saved = self.write_slot(next);
        Ok(Coordinator::Tending(self.read_slot(&saved, seen.is_wanted)))
    }

    /// What a lifecycle does that ends a shared host as soon as anybody leaves.
    fn hastily(&self, slot: &Slot) -> Option<SlotStep> {
        let SlotState::Shared { host, .. } = &slot.state else { return None };
        let leaves = slot.tenants.values().any(|tenant| tenant.leaving);
        let state = SlotState::Terminating {
            host: host.clone(),
            why: "somebody leaves".to_owned(),
            until: self.now(),
        };
        (leaves && self.is_broken(Mutation::HastyEnd))
            .then(|| SlotStep::Save(Box::new(Slot { state, ..slot.clone() })))
    }

    /// Writes the entry if its version is the one that was read.
    fn save_alone(&mut self, entry: Entry, seen: Seen) -> Coordinator {
        let version = self.entry(seen.enclave).map_or(0, |entry| entry.version);
        if entry.version != version && !self.is_broken(Mutation::UnconditionalSave) {
            return Coordinator::Idle;
        }
        let entry = self.forgetful(entry, &seen);
        let saved = Shared::new(canonical(Entry { version: version + 1, ..entry }));
        let host = |entry: Option<&Entry>| {
            entry.and_then(|entry| entry.state.host()).map(|host| host.instance_id.clone())
        };
        let moved = host(seen.entry.as_deref()) != host(Some(&saved));
        if let Some(enclave) = self.enclaves.get_mut(seen.enclave) {
            enclave.entry = Some(saved.clone());
        }
        let fresh = self.read_entry(seen.enclave);
        let seen = if moved {
            Seen { record: seen.record, ..fresh }
        } else {
            Seen { entry: Some(saved), ..seen }
        };
        Coordinator::Loaded(self.with_slots(seen))
    }

    /// The entry as a lifecycle that forgets reports would have it.
    fn forgetful(&self, entry: Entry, seen: &Seen) -> Entry {
        let before = seen.entry.as_deref();
        let was_reporting = before.filter(|it| matches!(it.state, State::Reporting { .. }));
        match was_reporting {
            Some(before)
                if self.is_broken(Mutation::ForgottenReport) && entry.unstored.is_some() =>
            {
                Entry { unstored: None, chain: before.chain.clone(), ..entry }
            }
            _ => entry,
        }
    }

    /// Stores a report unless one is there.
    fn store(&mut self, judgement: Judgement, coordinator: usize) -> Result<(), Rule> {
        if self.is_broken(Mutation::SkippedReport) {
            return Ok(());
        }
        let mut report = judgement.report.clone();
        if self.is_broken(Mutation::RewrittenReport) {
            report += &coordinator.to_string();
        }
        let there =
            self.reports.entry(judgement.report_key).or_insert_with(|| Shared::new(report.clone()));
        if **there == report { Ok(()) } else { Err(Rule::ReportsNeverChange) }
    }

    /// Writes the projection if the status is the one that was read; some are written together
    /// with the entry, if that is the one which was read.
    fn project(&mut self, projected: &Projected, mut seen: Seen) -> Coordinator {
        let Some(record) = self.record(seen.enclave).cloned() else { return Coordinator::Idle };
        if projected.read_status.as_ref() != record.get("status") {
            return Coordinator::Idle;
        }
        if projected.goes_with_entry() && !self.is_broken(Mutation::LooseAnswer) {
            let Some(entry) = seen.entry.as_deref().cloned() else { return Coordinator::Idle };
            match self.save(entry, seen) {
                Coordinator::Loaded(saved) => seen = saved,
                outdated => return outdated,
            }
        }
        let mut attributes = Map::clone(&record);
        if self.is_broken(Mutation::ReplacedRecord) {
            attributes.retain(|name, _| ["id", "status", "configuration"].contains(&name.as_str()));
        }
        if let Some(status) = projected.status {
            attributes.insert("status".to_owned(), status.as_str().into());
        }
        for name in Projection::OPTIONAL {
            attributes.remove(name);
        }
        if let Ok(Value::Object(new)) = serde_json::to_value(&projected.projection) {
            attributes.extend(new);
        }
        let record = Some(Shared::new(attributes));
        if let Some(enclave) = self.enclaves.get_mut(seen.enclave) {
            enclave.record.clone_from(&record);
        }
        Coordinator::Loaded(Seen { record, ..seen })
    }

    /// EC2's answer to a launch; none when it refuses.
    fn launch(&mut self, request: &LaunchRequest, fate: Fate) -> Result<Option<Launched>, Rule> {
        let mut request = request.clone();
        if self.is_broken(Mutation::UnstableIntent) {
            request.availability_zone = Some(format!("zone {}", self.passed));
        }
        let is_same = |it: &&Instance| it.request.client_token == request.client_token;
        let known = self.instances.iter().find(is_same);
        let known = known.filter(|_| !self.is_broken(Mutation::ForgottenTokens));
        let id = match known {
            Some(instance) if *instance.request != request => {
                return Err(Rule::OneTokenOneRequest);
            }
            Some(instance) => instance.id.clone(),
            None if fate == Fate::Refused => return Ok(None),
            None => {
                let id = format!("i-{:017x}", self.instances.len() + 1);
                let (state, request) = (InstanceState::Running, Shared::new(request));
                self.instances.push(Instance {
                    id: id.clone(),
                    state,
                    request,
                    is_taken_away: false,
                });
                id
            }
        };
        Ok(Some(Launched {
            instance_arn: hosts::arn(&id),
            instance_id: id,
            availability_zone: "eu-west-1a".to_owned(),
        }))
    }

    /// What a coordinator does with an instance whose launch somebody else closed.
    fn disown(&mut self, instance_id: &str) {
        let instance = self.instances.iter().find(|i| i.id == instance_id);
        if instance.is_some_and(|instance| self.ownership(instance) == Ownership::Orphaned) {
            self.enter(instance_id, InstanceState::Terminated);
        }
    }

    /// Changes the state of an instance; what is ended stays so.
    pub(crate) fn enter(&mut self, instance_id: &str, state: InstanceState) {
        let is_it = |i: &&mut Instance| i.id == instance_id && !i.state.is_ended();
        for instance in self.instances.iter_mut().filter(is_it) {
            instance.state = state;
            // It is started on other hardware.
            instance.is_taken_away &= state == InstanceState::Running;
        }
    }

    /// Removes a host's items, and what the coordinator knew of it.
    fn forget(&mut self, host: &Host, seen: &mut Seen) {
        self.desired.remove(&host.instance_arn);
        self.observed.remove(&host.instance_arn);
        (seen.observed, seen.instance, seen.desired_written) = (None, None, 0);
    }
}

/// What came of a step outside the ledger.
struct Effect {
    next: Entry,
    /// The instance that was launched.
    launched: Option<String>,
}

fn shortage() -> LaunchRefused {
    LaunchRefused {
        code: "InsufficientInstanceCapacity".to_owned(),
        message: "none left".to_owned(),
    }
}

/// The entry without what tells the way that led to it, on which no decision depends: the times of
/// states, and all events but the last.
fn canonical(entry: Entry) -> Entry {
    // Numbers only grow, and no decision reads them.
    let events = entry.events.last().map(|event| Event { number: 0, ..event.clone() });
    let events = events.into_iter().collect();
    Entry { events, entered: BTreeMap::new(), ..entry }
}
