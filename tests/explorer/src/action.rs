//! What may happen next.

use crate::{
    hosts::{self, Deed},
    rules::Rule,
    shared::Shared,
    world::{Coordinator, Fate, Mutation, Scope, World},
};
use bailey_lifecycle::{InstanceState, Step};
use serde_json::Value;
use std::fmt;

/// Something that may happen. Numbers count coordinators and instances from 0.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// A coordinator reads the entry and its host.
    ReadEntry(usize),
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
    HostFails(usize),
    /// A host starts its enclave again.
    HostRestarts(usize),
    /// EC2 takes an instance away.
    InstanceDies(usize),
    /// Somebody stops an instance.
    InstanceStops(usize),
    /// The web app writes a status.
    Asks(&'static str),
    /// The web app writes its whole record again.
    Rewrites,
    /// The web app deletes its record.
    Deletes,
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
                Coordinator::Idle => actions.push(Action::ReadEntry(number)),
                Coordinator::Reading(_) => actions.push(Action::ReadRecord(number)),
                Coordinator::Loaded(seen) => {
                    actions.push(Action::Step(number));
                    if self.left.faults > 0 {
                        let step = self.decided(seen, number);
                        actions.extend(faulty(&step, number));
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
                actions.extend([Action::HostFails(number), Action::HostRestarts(number)]);
            }
            if self.left.faults > 0 && !instance.state.is_ended() {
                actions.push(Action::InstanceDies(number));
                if instance.state == InstanceState::Running {
                    actions.push(Action::InstanceStops(number));
                }
            }
            if self.is_swept(instance) {
                actions.push(Action::SweepEnds(number));
            }
        }
        if self.left.requests > 0 {
            if self.record.is_some() {
                actions.extend(STATUSES.map(Action::Asks));
                actions.push(Action::Deletes);
            }
            actions.push(Action::Rewrites);
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
            Action::ReadEntry(number) => {
                let seen = self.read_entry();
                self.set(number, Coordinator::Reading(seen));
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
            Action::HostWorks(number) => self.with_host(number, Deed::Works),
            Action::HostFails(number) => self.with_failing_host(number, Deed::Fails),
            Action::HostRestarts(number) => self.with_failing_host(number, Deed::Restarts),
            Action::InstanceDies(number) => {
                self.left.faults = self.left.faults.saturating_sub(1);
                self.end(number, InstanceState::Terminated);
            }
            Action::InstanceStops(number) => {
                self.left.faults = self.left.faults.saturating_sub(1);
                self.end(number, InstanceState::Stopped);
            }
            Action::SweepEnds(number) => self.end(number, InstanceState::Terminated),
            Action::Asks(status) => {
                self.asked += u64::from(status == "PENDING_DEPLOY");
                // Neither need be heeded, which is all that matters about them.
                self.wrote = Some(if status == "FAILED" { "PAUSING" } else { status });
                self.request(|record| {
                    let mut record = record?;
                    record.insert("status".to_owned(), status.into());
                    Some(record)
                });
            }
            Action::Rewrites => {
                self.asked += 1;
                self.wrote = Some("PENDING_DEPLOY");
                self.request(|_| Some(hosts::record()));
            }
            Action::Deletes => {
                self.wrote = None;
                self.request(|_| None);
                if self.is_broken(Mutation::ForgottenEntry) {
                    self.entry = None;
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
        if let Some(Coordinator::Loaded(seen)) = self.coordinators.get(number).cloned() {
            let after = self.act(number, seen, fate)?;
            self.set(number, after);
        }
        Ok(())
    }

    fn faulty_step(&mut self, number: usize, fate: Fate) -> Result<(), Rule> {
        self.left.faults = self.left.faults.saturating_sub(1);
        self.step(number, fate)
    }

    fn with_host(&mut self, number: usize, deed: Deed) {
        if let Some(instance) = self.instances.get(number) {
            let arn = hosts::arn(&instance.id);
            self.host_does(&arn, deed);
        }
    }

    fn with_failing_host(&mut self, number: usize, deed: Deed) {
        self.left.faults = self.left.faults.saturating_sub(1);
        self.with_host(number, deed);
    }

    fn end(&mut self, number: usize, state: InstanceState) {
        if let Some(id) = self.instances.get(number).map(|instance| instance.id.clone()) {
            self.enter(&id, state);
        }
    }

    fn request(
        &mut self,
        change: impl FnOnce(
            Option<serde_json::Map<String, Value>>,
        ) -> Option<serde_json::Map<String, Value>>,
    ) {
        self.left.requests = self.left.requests.saturating_sub(1);
        let record = self.record.as_deref().cloned();
        self.record = change(record).map(Shared::new);
    }

    /// The world at rest: nothing goes wrong any more, hosts work, the sweep sweeps, time passes.
    pub fn rested(&self) -> Result<Self, Rule> {
        let mut world = self.clone();
        world.left =
            Scope { coordinators: world.left.coordinators, requests: 0, faults: 0, ticks: 0 };
        world.coordinators.fill(Coordinator::Idle);
        for _ in 0..ROUNDS {
            world.settle()?;
            for number in 0..world.instances.len() {
                world.with_host(number, Deed::Works);
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
            let seen = self.read_record(self.read_entry());
            let mut coordinator = Coordinator::Loaded(seen);
            let before = (self.entry.as_ref().map_or(0, |e| e.version), self.fingerprint());
            let mut steps = 0;
            while let Coordinator::Loaded(seen) = coordinator {
                coordinator = self.act(0, seen, Fate::Works)?;
                self.check()?;
                steps += 1;
                if steps > MOST_STEPS {
                    return Err(Rule::ComesToRest);
                }
            }
            // Twice nothing: it waits, and did not only lose a race with itself.
            waited = if before.1 == self.fingerprint() { waited + 1 } else { 0 };
            if waited == 2 {
                return Ok(());
            }
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
