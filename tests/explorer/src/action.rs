//! What may happen next.

use crate::{
    hosts::{self, Deed},
    rules::Rule,
    shared::Shared,
    world::{Coordinator, Fate, Mutation, Scope, World},
};
use bailey_lifecycle::{
    InstanceState, Step,
    spare::{Slot, SlotStep},
};
use serde_json::Value;
use std::fmt;

/// Something that may happen. Numbers count coordinators, enclaves, instances, slots and a host's enclaves
/// from 0; a coordinator's comes first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// A coordinator reads an enclave's entry and its host.
    ReadEntry(usize, usize),
    /// A coordinator reads a slot and its host.
    ReadSlot(usize, usize),
    /// It reads the record.
    ReadRecord(usize),
    /// It takes the step that it decided by what it read.
    Step(usize),
    /// So too, and dies before it hears of the outcome.
    StepAndCrash(usize),
    /// So too, and EC2 refuses.
    StepRefused(usize),
    /// A host does what it is asked.
    HostWorks(usize),
    /// A host gives up on its enclave.
    HostFails(usize, usize),
    /// A host starts its enclave again.
    HostRestarts(usize, usize),
    /// EC2 takes an instance away.
    InstanceDies(usize),
    /// Somebody stops an instance.
    InstanceStops(usize),
    /// EC2 tells an instance that it will take it away.
    EndIsAnnounced(usize),
    /// The web app writes a status.
    Asks(usize, &'static str),
    /// The web app writes its whole record again.
    Rewrites(usize),
    /// The web app deletes its record.
    Deletes(usize),
    /// The sweep ends an instance that nobody owns.
    SweepEnds(usize),
    /// Time passes.
    Tick,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// What the web app may write at any time, a result among them.
const STATUSES: [&str; 5] = ["PENDING_DESTROY", "PENDING_DEPLOY", "PAUSING", "RESUMING", "FAILED"];

impl World {
    /// Everything that may happen next.
    #[must_use]
    pub fn actions(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        for (number, coordinator) in self.coordinators.iter().enumerate() {
            match coordinator {
                Coordinator::Idle => {
                    let enclaves = 0..self.enclaves.len();
                    actions.extend(enclaves.map(|enclave| Action::ReadEntry(number, enclave)));
                    // Whoever has read a slot that has to wait goes on as if nothing had been read.
                    let waits = |slot: &Shared<Slot>, is_wanted: bool| {
                        let step = self.decided_for_slot(&self.read_slot(slot, is_wanted));
                        matches!(step, SlotStep::Wait(_)) && !self.is_broken(Mutation::HastyEnd)
                    };
                    let slots = self.all_slots().into_iter().enumerate();
                    let slots = slots.filter(|(_, (slot, is_wanted))| !waits(slot, *is_wanted));
                    actions.extend(slots.map(|(slot, _)| Action::ReadSlot(number, slot)));
                }
                Coordinator::Reading(_) => actions.push(Action::ReadRecord(number)),
                Coordinator::Loaded(seen) => {
                    actions.push(Action::Step(number));
                    if self.left.faults > 0 {
                        let step = self.decided(seen, number);
                        actions.extend(faulty(&step, number));
                    }
                }
                Coordinator::Tending(seen) => {
                    actions.push(Action::Step(number));
                    if self.left.faults > 0 {
                        actions.extend(faulty_for_slot(&self.decided_for_slot(seen), number));
                    }
                }
            }
        }
        let at_work = self.hosts_at_work();
        for (number, instance) in self.instances.iter().enumerate() {
            let works = at_work.iter().any(|arn| arn.ends_with(&instance.id));
            if works {
                actions.push(Action::HostWorks(number));
            }
            if works && self.left.faults > 0 {
                // An answer without any assignment is an answer, too.
                let enclaves = self.assignments(&instance.id).max(1);
                let deeds = |it| [Action::HostFails(number, it), Action::HostRestarts(number, it)];
                actions.extend((0..enclaves).flat_map(deeds));
            }
            if self.left.faults > 0 && !instance.state.is_ended() {
                actions.push(Action::InstanceDies(number));
                if instance.state == InstanceState::Running {
                    actions.push(Action::InstanceStops(number));
                    if !instance.is_taken_away {
                        actions.push(Action::EndIsAnnounced(number));
                    }
                }
            }
            if self.is_swept(instance) {
                actions.push(Action::SweepEnds(number));
            }
        }
        if self.left.requests > 0 {
            for (number, enclave) in self.enclaves.iter().enumerate() {
                if enclave.record.is_some() {
                    actions.extend(STATUSES.map(|status| Action::Asks(number, status)));
                    actions.push(Action::Deletes(number));
                }
                actions.push(Action::Rewrites(number));
            }
        }
        if self.left.ticks > 0 {
            actions.push(Action::Tick);
        }
        actions
    }

    /// The world after it.
    pub fn after(&self, action: Action) -> Result<Self, Rule> {
        let mut next = self.clone();
        next.happen(action)?;
        next.check_change(self)?;
        next.check()?;
        Ok(next)
    }

    fn happen(&mut self, action: Action) -> Result<(), Rule> {
        match action {
            Action::ReadEntry(number, enclave) => {
                let seen = self.read_entry(enclave);
                self.set(number, Coordinator::Reading(seen));
            }
            Action::ReadSlot(number, slot) => {
                if let Some((slot, is_wanted)) = self.all_slots().get(slot) {
                    let seen = self.read_slot(slot, *is_wanted);
                    self.set(number, Coordinator::Tending(seen));
                }
            }
            Action::ReadRecord(number) => {
                if let Some(Coordinator::Reading(seen)) = self.coordinators.get(number).cloned() {
                    let seen = self.read_record(seen);
                    self.set(number, Coordinator::Loaded(seen));
                }
            }
            Action::Step(number) => self.step(number, Fate::Works)?,
            Action::StepAndCrash(number) => self.faulty_step(number, Fate::Crash)?,
            Action::StepRefused(number) => self.faulty_step(number, Fate::Refused)?,
            Action::HostWorks(number) => self.with_host(number, Deed::Works, 0),
            Action::HostFails(number, it) => self.with_failing_host(number, Deed::Fails, it),
            Action::HostRestarts(number, it) => self.with_failing_host(number, Deed::Restarts, it),
            Action::InstanceDies(number) => {
                self.left.faults = self.left.faults.saturating_sub(1);
                self.end(number, InstanceState::Terminated);
            }
            Action::InstanceStops(number) => {
                self.left.faults = self.left.faults.saturating_sub(1);
                self.end(number, InstanceState::Stopped);
            }
            Action::EndIsAnnounced(number) => {
                self.left.faults = self.left.faults.saturating_sub(1);
                if let Some(instance) = self.instances.get_mut(number) {
                    instance.is_taken_away = true;
                }
            }
            Action::SweepEnds(number) => self.end(number, InstanceState::Terminated),
            Action::Asks(enclave, status) => {
                // Neither a result nor a pause need be heeded, which is all that matters about them.
                let wrote = Some(if status == "FAILED" { "PAUSING" } else { status });
                self.request(enclave, status == "PENDING_DEPLOY", wrote, |record| {
                    let mut record = record?;
                    record.insert("status".to_owned(), status.into());
                    Some(record)
                });
            }
            Action::Rewrites(enclave) => {
                let record = hosts::record(self.left.hosting, enclave);
                self.request(enclave, true, Some("PENDING_DEPLOY"), |_| Some(record));
            }
            Action::Deletes(enclave) => {
                self.request(enclave, false, None, |_| None);
                let forgets = self.is_broken(Mutation::ForgottenEntry);
                if let Some(it) = self.enclaves.get_mut(enclave).filter(|_| forgets) {
                    it.entry = None;
                }
            }
            Action::Tick => {
                self.left.ticks = self.left.ticks.saturating_sub(1);
                self.passed = self.passed.saturating_add(1);
            }
        }
        Ok(())
    }

    fn set(&mut self, number: usize, coordinator: Coordinator) {
        if let Some(slot) = self.coordinators.get_mut(number) {
            *slot = coordinator;
        }
    }

    fn step(&mut self, number: usize, fate: Fate) -> Result<(), Rule> {
        let after = match self.coordinators.get(number).cloned() {
            Some(Coordinator::Loaded(seen)) => self.act(number, seen, fate)?,
            Some(Coordinator::Tending(seen)) => self.tend(seen, fate)?,
            _ => return Ok(()),
        };
        self.set(number, after);
        Ok(())
    }

    fn faulty_step(&mut self, number: usize, fate: Fate) -> Result<(), Rule> {
        self.left.faults = self.left.faults.saturating_sub(1);
        self.step(number, fate)
    }

    fn with_host(&mut self, number: usize, deed: Deed, enclave: usize) {
        if let Some(instance) = self.instances.get(number) {
            let arn = hosts::arn(&instance.id);
            self.host_does(&arn, deed, enclave);
        }
    }

    fn with_failing_host(&mut self, number: usize, deed: Deed, enclave: usize) {
        self.left.faults = self.left.faults.saturating_sub(1);
        self.with_host(number, deed, enclave);
    }

    /// How many enclaves the instance is asked to run.
    fn assignments(&self, instance_id: &str) -> usize {
        self.desired.get(&hosts::arn(instance_id)).map_or(0, |it| it.assignments.len())
    }

    fn end(&mut self, number: usize, state: InstanceState) {
        if let Some(id) = self.instances.get(number).map(|instance| instance.id.clone()) {
            self.enter(&id, state);
        }
    }

    fn request(
        &mut self,
        enclave: usize,
        is_deploy: bool,
        wrote: Option<&'static str>,
        change: impl FnOnce(
            Option<serde_json::Map<String, Value>>,
        ) -> Option<serde_json::Map<String, Value>>,
    ) {
        self.left.requests = self.left.requests.saturating_sub(1);
        if let Some(it) = self.enclaves.get_mut(enclave) {
            it.asked += u64::from(is_deploy);
            it.wrote = wrote;
            it.record = change(it.record.as_deref().cloned()).map(Shared::new);
        }
    }

    /// The world at rest: nothing goes wrong any more, hosts work, the sweep sweeps, time passes.
    pub fn rested(&self) -> Result<Self, Rule> {
        let mut world = self.clone();
        world.left = Scope { requests: 0, faults: 0, ticks: 0, ..world.left };
        world.coordinators.fill(Coordinator::Idle);
        for _ in 0..ROUNDS {
            world.settle()?;
            for number in 0..world.instances.len() {
                world.with_host(number, Deed::Works, 0);
                if world.instances.get(number).is_some_and(|instance| world.is_swept(instance)) {
                    world.end(number, InstanceState::Terminated);
                }
            }
            world.settle()?;
            world.passed = world.passed.saturating_add(1);
        }
        world.settle()?;
        world.check_rest()?;
        Ok(world)
    }

    /// The first coordinator works until it has nothing to do.
    fn settle(&mut self) -> Result<(), Rule> {
        let mut waited = 0;
        for _ in 0..300 {
            let before = self.fingerprint();
            for enclave in 0..self.enclaves.len() {
                let seen = self.read_record(self.read_entry(enclave));
                self.work(Coordinator::Loaded(seen))?;
            }
            for (slot, is_wanted) in self.all_slots() {
                let seen = self.read_slot(&slot, is_wanted);
                self.work(Coordinator::Tending(seen))?;
            }
            // Twice nothing: it waits, and did not only lose a race with itself.
            waited = if before == self.fingerprint() { waited + 1 } else { 0 };
            if waited == 2 {
                return Ok(());
            }
        }
        Err(Rule::ComesToRest)
    }

    /// The first coordinator goes on until everything has to be read again.
    fn work(&mut self, mut coordinator: Coordinator) -> Result<(), Rule> {
        for _ in 0..MOST_STEPS {
            coordinator = match coordinator {
                Coordinator::Loaded(seen) => self.act(0, seen, Fate::Works)?,
                Coordinator::Tending(seen) => self.tend(seen, Fate::Works)?,
                Coordinator::Idle | Coordinator::Reading(_) => return Ok(()),
            };
            self.check()?;
        }
        Err(Rule::ComesToRest)
    }
}

/// A coordinator that takes more steps in a row than this never waits.
const MOST_STEPS: usize = 200;

/// Enough for every deadline to pass, and for what follows.
const ROUNDS: usize = 8;

/// What may go wrong with a step.
fn faulty(step: &Step, number: usize) -> Vec<Action> {
    match step {
        Step::Launch(_) | Step::Start(_) => {
            vec![Action::StepAndCrash(number), Action::StepRefused(number)]
        }
        Step::StoreReport(_) | Step::Terminate(_) | Step::Stop(_) => {
            vec![Action::StepAndCrash(number)]
        }
        _ => Vec::new(),
    }
}

/// What may go wrong with a step for a slot.
fn faulty_for_slot(step: &SlotStep, number: usize) -> Vec<Action> {
    match step {
        SlotStep::Launch(_) => vec![Action::StepAndCrash(number), Action::StepRefused(number)],
        SlotStep::Terminate(_) => vec![Action::StepAndCrash(number)],
        _ => Vec::new(),
    }
}
