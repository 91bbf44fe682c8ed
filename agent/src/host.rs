//! Everything that this host runs or should run, and what follows from what happens.
//!
//! Pure: no clock, no I/O. [`crate::supervisor`] tells a [`Host`] what happened, asks it for
//! [`Host::orders`] and carries them out.
//!
//! # Guarantees
//! - Nothing is started or ended before the desired state *and* the list of running enclaves are
//!   known, so that an enclave that runs is adopted and never started twice.
//! - A desired state older than one that was seen is ignored.
//! - Enclaves with foreign names are never touched.

use crate::{
    admission,
    assignment::{Memory, Stage, Step, Unit, Wanted, Work, WorkId, next_step},
    name::EnclaveName,
    ports::{AttestOrder, EnclaveInfo, FetchOrder, Image, Inventory, RoomOrder, Size, StartOrder},
    transition::{adopt, apply, crashed, note_phase, resume, revive},
    workload::{Findings, Running},
};
use bailey_model::{
    UnixMillis,
    failure::Failure,
    hosts::{Answer, Assignment, Desired, ObservedAssignment, PoolSize, RunningEnclave},
};
use std::collections::{BTreeMap, BTreeSet};

/// How often the enclaves are listed in vain before a host that remembers nothing goes on.
const LISTS_TO_TRY: u32 = 5;

/// What this host runs and should run.
#[derive(Debug, Default)]
pub struct Host {
    desired: Option<Desired>,
    /// The highest version that was ever seen, by an earlier process too.
    seen_version: Option<u64>,
    inventory: Option<Inventory>,
    /// Counts what changes the inventory, so that a list taken before a change is not believed.
    changes: u64,
    /// What an earlier process remembered and this one has not placed yet.
    memories: BTreeMap<EnclaveName, Memory>,
    units: BTreeMap<EnclaveName, Unit>,
    /// Enclaves with names of ours that no assignment explains, and the work of ending each;
    /// without any when that failed, until the next list shows whether it is still there.
    leftovers: BTreeMap<EnclaveName, Option<WorkId>>,
    works: u64,
    lists_failed: u32,
    cancelled: Vec<WorkId>,
}

/// Something to carry out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Order {
    /// Give up a piece of work.
    Cancel(WorkId),
    /// Do a piece of work and bring its [`Outcome`] to [`Host::finish`].
    Do(WorkId, Task),
}

/// A piece of work.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Task {
    /// Fetch an image.
    Fetch(FetchOrder),
    /// Make room in the pool.
    MakeRoom(RoomOrder),
    /// Start an enclave.
    Start(StartOrder),
    /// Ask an enclave for a document.
    Attest(AttestOrder),
    /// End every enclave with a name.
    End(EnclaveName),
}

/// How a piece of work came out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The image is on the disk.
    Fetched(Image),
    /// The pool has room.
    Roomy,
    /// The enclave runs.
    Started(RunningEnclave),
    /// The enclave answered, and its document is good.
    Attested(Answer),
    /// No enclave has the name.
    Ended,
    /// It could not be done.
    Failed(Failure),
}

impl Host {
    /// A host whose earlier agent saw `seen_version` and remembered `memories`.
    #[must_use]
    pub fn new(seen_version: Option<u64>, memories: Vec<Memory>) -> Self {
        let memories =
            memories.into_iter().map(|memory| (name_of(&memory.assignment), memory)).collect();
        Self { seen_version, memories, ..Self::default() }
    }

    /// Takes in what the coordinator wants; false when it is older than what was seen before.
    pub fn desire(&mut self, desired: Desired) -> bool {
        if self.seen_version.is_some_and(|seen| desired.version < seen) {
            return false;
        }
        self.seen_version = Some(desired.version);
        self.desired = Some(desired);
        true
    }

    /// The highest version of the desired state that was ever seen.
    #[must_use]
    pub fn seen_version(&self) -> Option<u64> {
        self.seen_version
    }

    /// The mark to take before the enclaves are listed, for [`Host::listed`].
    #[must_use]
    pub fn mark(&self) -> u64 {
        self.changes
    }

    /// Takes in the list of enclaves that was asked for at `mark`; false when enclaves were
    /// started or ended since, so that the list says nothing and another one is needed.
    pub fn listed(&mut self, mark: u64, enclaves: Vec<EnclaveInfo>, now: UnixMillis) -> bool {
        if mark != self.changes {
            return false;
        }
        let ours = enclaves.into_iter().filter_map(|enclave| {
            EnclaveName::recognise(&enclave.name).map(|name| (name, enclave))
        });
        let inventory: Inventory = ours.collect();
        let gone: Vec<EnclaveName> = self
            .units
            .values()
            .filter(|unit| matches!(unit.stage, Stage::Started(_)))
            .filter(|unit| !inventory.contains_key(&unit.name))
            .map(|unit| unit.name.clone())
            .collect();
        self.inventory = Some(inventory);
        self.leftovers.retain(|_, work| work.is_some());
        for name in gone {
            self.vanished(&name, now);
        }
        true
    }

    /// Takes in what was found out about the workloads of the enclaves that run.
    pub fn hear(&mut self, findings: &Findings) {
        for unit in self.units.values_mut() {
            if let Stage::Started(enclave) = &unit.stage
                && let Some(finding) = findings.get(&enclave.nitro_id)
            {
                unit.finding.clone_from(finding);
            }
        }
    }

    /// Whose enclaves run.
    #[must_use]
    pub fn running(&self) -> Vec<Running> {
        let running = |unit: &Unit| match &unit.stage {
            Stage::Started(enclave) => Some(Running {
                enclave_id: unit.memory.assignment.enclave_id.clone(),
                generation: unit.memory.assignment.generation,
                enclave: enclave.clone(),
                egress: unit.memory.assignment.egress.clone(),
                ingress: unit.memory.assignment.ingress.clone(),
                debug: unit.memory.assignment.debug,
            }),
            _ => None,
        };
        self.units.values().filter_map(running).collect()
    }

    /// Takes in that the enclaves could not be listed.
    ///
    /// A host of which nothing is remembered runs nothing of ours: after some tries its work goes
    /// on, so that the assignment fails with the reason instead of waiting without a word.
    pub fn not_listed(&mut self) {
        self.lists_failed = self.lists_failed.saturating_add(1);
        if self.lists_failed >= LISTS_TO_TRY && self.memories.is_empty() {
            self.inventory.get_or_insert_default();
        }
    }

    /// Takes in how a piece of work came out. What was cancelled meanwhile is ignored.
    pub fn finish(&mut self, id: WorkId, outcome: Outcome, now: UnixMillis) {
        if self.leftovers.values().any(|work| *work == Some(id)) {
            return self.finish_leftover(id, &outcome);
        }
        let Some(unit) = self.units.values_mut().find(|u| u.work.is_some_and(|(w, _)| w == id))
        else {
            return;
        };
        let Some((_, work)) = unit.work.take() else { return };
        if matches!(work, Work::Start | Work::End) {
            self.changes += 1;
        }
        apply(unit, work, outcome, self.inventory.as_mut(), now);
        note_phase(unit, now);
    }

    fn finish_leftover(&mut self, id: WorkId, outcome: &Outcome) {
        self.changes += 1;
        for (name, work) in self.leftovers.iter_mut().filter(|(_, work)| **work == Some(id)) {
            *work = None;
            if *outcome == Outcome::Ended
                && let Some(inventory) = &mut self.inventory
            {
                inventory.remove(name);
            }
        }
    }

    /// Brings the units in line with what is wanted and what runs; returns what is to be done.
    pub fn orders(&mut self, now: UnixMillis) -> Vec<Order> {
        self.place(now);
        let mut orders: Vec<Order> = self.cancelled.drain(..).map(Order::Cancel).collect();
        let names: Vec<EnclaveName> = self.units.keys().cloned().collect();
        for name in names {
            self.advance(&name, now, &mut orders);
        }
        self.forget();
        self.end_leftovers(&mut orders);
        orders
    }

    /// When [`Host::orders`] may have something new although nothing happened.
    #[must_use]
    pub fn wake_at(&self, now: UnixMillis) -> Option<UnixMillis> {
        let steps = self.units.values().map(|unit| next_step(unit, now));
        steps
            .filter_map(|step| match step {
                Step::WaitUntil(instant) => Some(instant),
                _ => None,
            })
            .min()
    }

    /// What there is to report; `None` until desired state and running enclaves are both known.
    #[must_use]
    pub fn observed(&self) -> Option<(u64, Vec<ObservedAssignment>)> {
        let desired = self.desired.as_ref()?;
        self.inventory.as_ref()?;
        Some((desired.version, self.units.values().map(Unit::observed).collect()))
    }

    /// Whether everything is as it should be.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.desired.is_some()
            && self.inventory.is_some()
            && self.leftovers.values().all(Option::is_none)
            && self.units.values().all(Unit::is_settled)
    }

    /// Whether nobody ever wanted anything of this host, and nothing of ours runs here.
    #[must_use]
    pub fn is_unassigned(&self) -> bool {
        let runs_nothing = self.inventory.as_ref().is_none_or(BTreeMap::is_empty);
        self.seen_version.is_none() && runs_nothing && self.memories.is_empty()
    }

    /// What an agent that is started later must know.
    pub fn memories(&self) -> impl Iterator<Item = (&EnclaveName, &Memory)> {
        let placed = self.units.iter().map(|(name, unit)| (name, &unit.memory));
        self.memories.iter().chain(placed)
    }

    /// Makes a unit of each assignment, adopting the enclaves that run.
    fn place(&mut self, now: UnixMillis) {
        let (Some(desired), Some(inventory)) = (&self.desired, &self.inventory) else { return };
        let wanted = if desired.drain { Wanted::End } else { Wanted::Run };
        for assignment in &desired.assignments {
            let name = name_of(assignment);
            let memories = &mut self.memories;
            let unit = self.units.entry(name.clone()).or_insert_with(|| {
                let memory = memories.remove(&name);
                adopt(
                    name,
                    memory.unwrap_or_else(|| Memory::of(assignment.clone())),
                    inventory,
                    now,
                )
            });
            unit.memory.assignment = assignment.clone();
            unit.wanted = wanted;
            note_phase(unit, now);
        }
        // What is only remembered is no longer wanted, but it is reported until it is gone.
        for (name, memory) in std::mem::take(&mut self.memories) {
            let unit = adopt(name.clone(), memory, inventory, now);
            self.units.insert(name, unit);
        }
        let assigned: BTreeSet<EnclaveName> = desired.assignments.iter().map(name_of).collect();
        for unit in self.units.values_mut().filter(|unit| !assigned.contains(&unit.name)) {
            unit.wanted = Wanted::End;
        }
    }

    /// Moves one unit as far as it goes without anybody's help, and begins its next work.
    fn advance(&mut self, name: &EnclaveName, now: UnixMillis, orders: &mut Vec<Order>) {
        loop {
            let Some(unit) = self.units.get_mut(name) else { return };
            match next_step(unit, now) {
                Step::Wait | Step::WaitUntil(_) => return,
                Step::Cancel => orders.extend(unit.work.take().map(|(id, _)| Order::Cancel(id))),
                Step::Resume => resume(unit),
                Step::Revive => revive(unit),
                Step::Settle => unit.stage = Stage::Stopped,
                // Removal comes first, so that what it frees is there for what is added.
                Step::Do(Work::MakeRoom | Work::Start) if self.is_releasing() => return,
                Step::Do(work) => {
                    self.begin(name, work, orders);
                    return self.note(name, now);
                }
            }
            self.note(name, now);
        }
    }

    fn is_releasing(&self) -> bool {
        self.units.values().any(Unit::is_releasing) || self.leftovers.values().any(Option::is_some)
    }

    fn note(&mut self, name: &EnclaveName, now: UnixMillis) {
        if let Some(unit) = self.units.get_mut(name) {
            note_phase(unit, now);
        }
    }

    fn begin(&mut self, name: &EnclaveName, work: Work, orders: &mut Vec<Order>) {
        let id = self.next_work();
        let Some(task) = self.units.get(name).and_then(|unit| self.task(unit, work)) else {
            return;
        };
        if let Some(unit) = self.units.get_mut(name) {
            unit.work = Some((id, work));
            orders.push(Order::Do(id, task));
        }
    }

    fn next_work(&mut self) -> WorkId {
        self.works += 1;
        WorkId(self.works)
    }

    fn task(&self, unit: &Unit, work: Work) -> Option<Task> {
        let Memory { assignment, image, .. } = &unit.memory;
        Some(match work {
            Work::Fetch => Task::Fetch(FetchOrder {
                enclave_id: assignment.enclave_id.clone(),
                generation: assignment.generation,
                source: assignment.eif.clone(),
                in_use: self.images().map(|image| image.path.clone()).collect(),
            }),
            Work::MakeRoom => {
                let pool = self.desired.as_ref().and_then(|desired| desired.pool);
                let size = |pool: PoolSize| Size {
                    cpu_count: pool.cpu_count,
                    memory_mib: pool.memory_mib,
                };
                Task::MakeRoom(RoomOrder {
                    name: unit.name.clone(),
                    wanted: self.wanted_sizes(),
                    pool: pool.map(size),
                })
            }
            Work::Start => Task::Start(StartOrder {
                name: unit.name.clone(),
                image: image.clone()?,
                size: unit.size(),
                debug: assignment.debug,
            }),
            Work::Attest { sequence } => Task::Attest(AttestOrder {
                enclave_id: assignment.enclave_id.clone(),
                generation: assignment.generation,
                cid: match &unit.stage {
                    Stage::Started(enclave) => enclave.cid,
                    _ => return None,
                },
                nonce: assignment.nonce.bytes.0.clone(),
                sequence,
                debug: assignment.debug,
                measurements: admission::documented(assignment, image.as_ref()),
            }),
            Work::End => Task::End(unit.name.clone()),
        })
    }

    fn images(&self) -> impl Iterator<Item = &Image> {
        self.units.values().filter_map(|unit| unit.memory.image.as_ref())
    }

    /// The sizes of everything that is to run here, in the coordinator's order.
    fn wanted_sizes(&self) -> Vec<(EnclaveName, Size)> {
        let assignments = self.desired.iter().flat_map(|desired| &desired.assignments);
        assignments
            .filter_map(|assignment| self.units.get(&name_of(assignment)))
            .filter(|unit| unit.wanted == Wanted::Run)
            .filter(|unit| !matches!(unit.stage, Stage::Failed(_) | Stage::Ending { .. }))
            .map(|unit| (unit.name.clone(), unit.size()))
            .collect()
    }

    /// Takes in that the enclave of a unit ended by itself.
    fn vanished(&mut self, name: &EnclaveName, now: UnixMillis) {
        let Some(unit) = self.units.get_mut(name) else { return };
        // An end that is under way comes to the same result by itself.
        if matches!(unit.work, Some((_, Work::End))) {
            return;
        }
        self.cancelled.extend(unit.work.take().map(|(id, _)| id));
        crashed(unit, now);
        note_phase(unit, now);
    }

    /// Drops the units that nobody wants and of which nothing is left.
    fn forget(&mut self) {
        let Some(desired) = &self.desired else { return };
        let assigned: BTreeSet<EnclaveName> = desired.assignments.iter().map(name_of).collect();
        self.units.retain(|name, unit| {
            let over = matches!(unit.stage, Stage::Stopped | Stage::Failed(_));
            assigned.contains(name) || unit.work.is_some() || !over
        });
    }

    fn end_leftovers(&mut self, orders: &mut Vec<Order>) {
        let (Some(_), Some(inventory)) = (&self.desired, &self.inventory) else { return };
        let unexplained: Vec<EnclaveName> = inventory
            .keys()
            .filter(|name| !self.units.contains_key(*name) && !self.leftovers.contains_key(*name))
            .cloned()
            .collect();
        for name in unexplained {
            let id = self.next_work();
            log::warn!(enclave_name = name.as_str(); "enclave belongs to no assignment, ending it");
            self.leftovers.insert(name.clone(), Some(id));
            orders.push(Order::Do(id, Task::End(name)));
        }
    }
}

fn name_of(assignment: &Assignment) -> EnclaveName {
    EnclaveName::of(&assignment.enclave_id, assignment.generation)
}

#[cfg(test)]
#[path = "host_tests.rs"]
mod tests;
