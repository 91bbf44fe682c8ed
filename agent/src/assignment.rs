//! One assignment on this host: how far it is, and what comes next.
//!
//! ```text
//! Accepted --fetch--> Fetched --make room--> Placed --start--> Started --attest--> (answered)
//!    |                   ^                      |                 |
//!    |                   +---- Resting <--------|---- gone -------+---- gone too often --+
//!    |                                          |                 |                      |
//!    +------------- any failure: Ending, until nothing of it runs +--> Failed <----------+
//!                   no longer wanted: the same                    +--> Stopped
//! ```
//! [`next_step`] decides; [`crate::host`] keeps the units and takes in what happened;
//! [`crate::supervisor`] carries the steps out.

use crate::{
    name::EnclaveName,
    ports::{Image, Size},
    restart::RestartHistory,
    workload::Finding,
};
use bailey_model::{
    UnixMillis,
    failure::Failure,
    hosts::{Answer, Assignment, HostPhase, ObservedAssignment, RunningEnclave},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is remembered of an assignment when the agent is started again.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Memory {
    /// The assignment as it was last read.
    pub assignment: Assignment,
    /// Its image, once measured: a restart runs the same one, whatever S3 holds by then.
    pub image: Option<Image>,
    /// The enclave that was last seen running.
    pub enclave: Option<RunningEnclave>,
    /// The newest document of that enclave.
    pub answer: Option<Answer>,
    /// The highest nonce that any enclave of this assignment answered; 0 when none was.
    pub answered: u64,
    /// How often the enclave was started again.
    pub restarts: u32,
    /// Which of those still count.
    pub history: RestartHistory,
    /// When each phase was first entered.
    pub entered: BTreeMap<HostPhase, UnixMillis>,
    /// Why the host gave up on it; it is not tried again under the same generation.
    pub failure: Option<Failure>,
}

impl Memory {
    /// What there is to remember of an assignment that is new.
    #[must_use]
    pub fn of(assignment: Assignment) -> Self {
        Self {
            assignment,
            image: None,
            enclave: None,
            answer: None,
            answered: 0,
            restarts: 0,
            history: RestartHistory::default(),
            entered: BTreeMap::new(),
            failure: None,
        }
    }
}

/// One assignment and its state.
#[derive(Clone, Debug)]
pub struct Unit {
    /// The name of its enclave.
    pub name: EnclaveName,
    /// What outlives the agent.
    pub memory: Memory,
    /// Whether it is to run, or to be gone.
    pub wanted: Wanted,
    /// How far it is.
    pub stage: Stage,
    /// What is being done about it; never two things at once.
    pub work: Option<(WorkId, Work)>,
    /// The phase that the log was last told.
    pub noted: Option<HostPhase>,
    /// What was found out about the workload of the enclave that runs, or ran last.
    pub finding: Finding,
}

/// What the coordinator wants of an assignment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wanted {
    /// Its enclave is to run.
    Run,
    /// Nothing of it is to run.
    End,
}

/// How far an assignment is; see the picture at the top.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Stage {
    /// The image is to be read.
    Accepted,
    /// The image is on the disk and is the expected one.
    Fetched,
    /// The pool has room for it.
    Placed,
    /// The enclave ended by itself and is started again at this instant.
    Resting {
        /// When the pause is over.
        until: UnixMillis,
    },
    /// The enclave runs.
    Started(RunningEnclave),
    /// Something of it may still run, and must not.
    Ending {
        /// What it is after that: failed for this reason, or stopped as asked.
        failure: Option<Failure>,
        /// How often ending it went wrong.
        tries: u32,
        /// When to try again.
        retry_at: UnixMillis,
    },
    /// It is gone, as asked.
    Stopped,
    /// The host gave up on it, and nothing of it runs.
    Failed(Failure),
}

/// Tells one piece of work from every other of this process.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct WorkId(pub u64);

/// What can be under way for an assignment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Work {
    /// Its image is being read.
    Fetch,
    /// The pool is being set up.
    MakeRoom,
    /// Its enclave is being started.
    Start,
    /// Its enclave is being asked for a document with the nonce of this sequence.
    Attest {
        /// The nonce's sequence.
        sequence: u64,
    },
    /// Its enclave is being ended.
    End,
}

/// The single next step of an assignment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Nothing to do until something happens.
    Wait,
    /// Nothing to do before this instant.
    WaitUntil(UnixMillis),
    /// Give up what is under way; it has become pointless.
    Cancel,
    /// Do this.
    Do(Work),
    /// It may go on from where it rested.
    Resume,
    /// It is wanted again after having been stopped.
    Revive,
    /// It is not wanted, and nothing of it runs.
    Settle,
}

/// Decides the next step of an assignment. Pure: the same arguments have the same answer.
#[must_use]
pub fn next_step(unit: &Unit, now: UnixMillis) -> Step {
    if let Some((_, work)) = unit.work {
        return if unit.is_pointless(work) { Step::Cancel } else { Step::Wait };
    }
    match (unit.wanted, &unit.stage) {
        (_, Stage::Ending { retry_at, .. }) if *retry_at > now => Step::WaitUntil(*retry_at),
        (_, Stage::Ending { .. }) | (Wanted::End, Stage::Started(_)) => Step::Do(Work::End),
        (_, Stage::Failed(_)) | (Wanted::End, Stage::Stopped) => Step::Wait,
        (Wanted::End, _) => Step::Settle,
        (Wanted::Run, Stage::Accepted) => Step::Do(Work::Fetch),
        (Wanted::Run, Stage::Fetched) => Step::Do(Work::MakeRoom),
        (Wanted::Run, Stage::Placed) => Step::Do(Work::Start),
        (Wanted::Run, Stage::Resting { until }) if *until > now => Step::WaitUntil(*until),
        (Wanted::Run, Stage::Resting { .. }) => Step::Resume,
        (Wanted::Run, Stage::Started(_)) => match unit.unanswered() {
            Some(sequence) => Step::Do(Work::Attest { sequence }),
            None => Step::Wait,
        },
        (Wanted::Run, Stage::Stopped) => Step::Revive,
    }
}

impl Unit {
    /// The sequence of the nonce that waits for an answer.
    #[must_use]
    pub fn unanswered(&self) -> Option<u64> {
        let sequence = self.memory.assignment.nonce.sequence;
        (sequence > self.memory.answered).then_some(sequence)
    }

    /// CPUs and memory of its enclave.
    #[must_use]
    pub fn size(&self) -> Size {
        let Assignment { cpu_count, memory_mib, .. } = self.memory.assignment;
        Size { cpu_count, memory_mib }
    }

    /// Whether `work` can be given up without leaving anything half done, and should be.
    fn is_pointless(&self, work: Work) -> bool {
        match work {
            Work::Fetch => self.wanted == Wanted::End,
            Work::Attest { sequence } => {
                self.wanted == Wanted::End || sequence < self.memory.assignment.nonce.sequence
            }
            // nitro-cli and the allocator are never interrupted: they would leave debris.
            Work::MakeRoom | Work::Start | Work::End => false,
        }
    }

    /// How far the host is with it, as reports say it.
    #[must_use]
    pub fn phase(&self) -> HostPhase {
        match &self.stage {
            Stage::Accepted if self.work.is_none() => HostPhase::Accepted,
            Stage::Accepted => HostPhase::Fetching,
            Stage::Fetched => HostPhase::Allocating,
            Stage::Placed | Stage::Resting { .. } => HostPhase::Starting,
            Stage::Started(_) if self.is_ending() => HostPhase::Stopping,
            Stage::Started(_) if self.memory.answer.is_some() => HostPhase::Running,
            Stage::Started(_) => HostPhase::Attesting,
            Stage::Ending { .. } => HostPhase::Stopping,
            Stage::Stopped => HostPhase::Stopped,
            Stage::Failed(_) => HostPhase::Failed,
        }
    }

    fn is_ending(&self) -> bool {
        matches!(self.work, Some((_, Work::End)))
    }

    /// Whether it is where it should be, so that nobody need look often.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        match &self.stage {
            Stage::Started(_) => {
                let answered = self.memory.answer.is_some() && self.unanswered().is_none();
                self.wanted == Wanted::Run && answered
            }
            Stage::Stopped | Stage::Failed(_) => true,
            _ => false,
        }
    }

    /// Whether CPUs and memory are about to be given back by it.
    #[must_use]
    pub fn is_releasing(&self) -> bool {
        // What cannot be ended must not hold everything else up for ever.
        const PATIENCE: u32 = 3;
        self.wanted == Wanted::End
            && match &self.stage {
                Stage::Started(_) => true,
                Stage::Ending { tries, .. } => *tries < PATIENCE,
                _ => matches!(self.work, Some((_, Work::Start))),
            }
    }

    /// What the host reports of it.
    #[must_use]
    pub fn observed(&self) -> ObservedAssignment {
        let Memory { assignment, image, answer, restarts, entered, .. } = &self.memory;
        ObservedAssignment {
            enclave_id: assignment.enclave_id.clone(),
            generation: assignment.generation,
            phase: self.phase(),
            entered: entered.clone(),
            enclave: match &self.stage {
                Stage::Started(enclave) => Some(enclave.clone()),
                _ => None,
            },
            measurements: image.as_ref().map(|i| i.measurements.clone()).unwrap_or_default(),
            answer: answer.clone(),
            failure: match &self.stage {
                Stage::Failed(failure) => Some(failure.clone()),
                _ => None,
            },
            restarts: *restarts,
            health: match &self.stage {
                Stage::Started(_) => self.finding.health.clone(),
                _ => None,
            },
        }
    }
}

#[cfg(test)]
#[path = "assignment_tests.rs"]
mod tests;
