//! How one assignment changes with what happens to it. Pure.

use crate::{
    admission,
    assignment::{Memory, Stage, Unit, Wanted, Work},
    host::Outcome,
    name::EnclaveName,
    ports::{EnclaveInfo, Inventory},
    restart::Verdict,
    workload::Finding,
};
use bailey_model::{
    UnixMillis,
    failure::{Failure, FailureCode},
    hosts::RunningEnclave,
};
use std::time::Duration;

/// The pause before an enclave that could not be ended is tried again.
const END_RETRY: Duration = Duration::from_secs(2);

/// The unit of an assignment that is new to this process.
pub(crate) fn adopt(
    name: EnclaveName,
    memory: Memory,
    inventory: &Inventory,
    now: UnixMillis,
) -> Unit {
    let stage = match (&memory.failure, inventory.get(&name)) {
        (Some(failure), Some(_)) => ending(Some(failure.clone()), now),
        (Some(failure), None) => Stage::Failed(failure.clone()),
        (None, Some(enclave)) => Stage::Started(enclave.as_running()),
        (None, None) => Stage::Accepted,
    };
    let mut unit = Unit {
        name,
        memory,
        wanted: Wanted::End,
        stage,
        work: None,
        noted: None,
        finding: Finding::default(),
    };
    match (&unit.stage, &unit.memory.enclave) {
        (Stage::Started(runs), remembered) if remembered.as_ref() != Some(runs) => {
            // Started by an agent that ended before it could write that down. When it remembered
            // another one, this is another start, which has to attest for itself.
            let restarts = u32::from(remembered.is_some());
            unit.memory.restarts = unit.memory.restarts.saturating_add(restarts);
            unit.memory.enclave = Some(runs.clone());
            unit.memory.answer = None;
        }
        (Stage::Accepted, Some(_)) => crashed(&mut unit, now),
        _ => {}
    }
    if let Stage::Started(enclave) = &unit.stage {
        let assignment = &unit.memory.assignment;
        log::info!(
            enclave_id = assignment.enclave_id.as_str(), generation = assignment.generation.0,
            nitro_id = enclave.nitro_id.as_str(), cid = enclave.cid; "enclave adopted"
        );
    }
    unit
}

/// Takes in how a piece of work of the unit came out.
pub(crate) fn apply(
    unit: &mut Unit,
    work: Work,
    outcome: Outcome,
    inventory: Option<&mut Inventory>,
    now: UnixMillis,
) {
    match outcome {
        Outcome::Fetched(image) => {
            // What was fetched and never ran binds nobody.
            let ran = unit.memory.image.take().filter(|_| unit.memory.answered > 0);
            match admission::check(&unit.memory.assignment, ran.as_ref(), &image) {
                Ok(()) => unit.stage = Stage::Fetched,
                Err((code, message)) => fail(unit, Failure::new(code, message, now)),
            }
            unit.memory.image = Some(image);
        }
        Outcome::Roomy => unit.stage = Stage::Placed,
        Outcome::Started(enclave) => {
            if let Some(inventory) = inventory {
                inventory.insert(unit.name.clone(), info(unit, &enclave));
            }
            unit.memory.enclave = Some(enclave.clone());
            unit.finding = Finding::default();
            unit.stage = Stage::Started(enclave);
        }
        Outcome::Attested(answer) => {
            unit.memory.answered = unit.memory.answered.max(answer.sequence);
            unit.memory.answer = Some(answer);
        }
        Outcome::Ended => {
            if let Some(inventory) = inventory {
                inventory.remove(&unit.name);
            }
            ended(unit);
        }
        Outcome::Failed(failure) => failed(unit, work, failure, now),
    }
}

fn failed(unit: &mut Unit, work: Work, failure: Failure, now: UnixMillis) {
    match work {
        Work::End => end_failed(unit, &failure, now),
        // While images are read and room is made, nothing runs that would have to be ended.
        Work::Fetch | Work::MakeRoom => fail(unit, failure),
        // It answered before. Whether it may go on without answering again is the coordinator's to
        // decide, which sees that this nonce stays unanswered and issues another.
        Work::Attest { sequence } if unit.memory.answer.is_some() => {
            log::warn!(
                enclave_id = unit.memory.assignment.enclave_id.as_str(),
                generation = unit.memory.assignment.generation.0,
                code = failure.code.as_str(), error = failure.message.as_str();
                "enclave failed to attest again"
            );
            unit.memory.answered = unit.memory.answered.max(sequence);
        }
        Work::Attest { .. } | Work::Start => unit.stage = ending(Some(failure), now),
    }
}

fn info(unit: &Unit, enclave: &RunningEnclave) -> EnclaveInfo {
    let size = unit.size();
    EnclaveInfo {
        name: unit.name.as_str().to_owned(),
        nitro_id: enclave.nitro_id.clone(),
        cid: enclave.cid,
        cpu_count: size.cpu_count,
        memory_mib: size.memory_mib,
        running: true,
    }
}

fn ending(failure: Option<Failure>, now: UnixMillis) -> Stage {
    Stage::Ending { failure, tries: 0, retry_at: now }
}

fn ended(unit: &mut Unit) {
    unit.memory.enclave = None;
    unit.memory.answer = None;
    match std::mem::replace(&mut unit.stage, Stage::Stopped) {
        Stage::Ending { failure: Some(failure), .. } => fail(unit, failure),
        _ => unit.stage = Stage::Stopped,
    }
}

fn end_failed(unit: &mut Unit, why: &Failure, now: UnixMillis) {
    log::warn!(
        enclave_id = unit.memory.assignment.enclave_id.as_str(),
        generation = unit.memory.assignment.generation.0, error = why.message.as_str();
        "enclave could not be ended, trying again"
    );
    let (failure, tries) = match &unit.stage {
        Stage::Ending { failure, tries, .. } => (failure.clone(), tries.saturating_add(1)),
        _ => (None, 1),
    };
    unit.stage = Stage::Ending { failure, tries, retry_at: now.plus(END_RETRY) };
}

fn fail(unit: &mut Unit, failure: Failure) {
    unit.memory.answer = None;
    unit.memory.failure = Some(failure.clone());
    unit.stage = Stage::Failed(failure);
}

/// Takes in that an enclave ended by itself: it is started again, or it is not.
pub(crate) fn crashed(unit: &mut Unit, now: UnixMillis) {
    unit.memory.enclave = None;
    unit.memory.answer = None;
    if unit.wanted == Wanted::End && matches!(unit.stage, Stage::Started(_)) {
        unit.stage = Stage::Stopped;
        return;
    }
    let end = unit.finding.end.take();
    let said = std::mem::take(&mut unit.finding.console);
    let said = (!said.is_empty()).then(|| format!("its console said last: {}", said.join(" / ")));
    let how: String =
        end.iter().map(|end| &end.how).chain(&said).flat_map(|it| [": ", it]).collect();
    let (policy, succeeded) = (unit.memory.assignment.restart, end.is_some_and(|it| it.succeeded));
    let message = match unit.memory.history.judge(policy, succeeded, now) {
        Verdict::RestartAt(until) => {
            unit.memory.restarts = unit.memory.restarts.saturating_add(1);
            log::warn!(
                enclave_id = unit.memory.assignment.enclave_id.as_str(),
                generation = unit.memory.assignment.generation.0,
                restarts = unit.memory.restarts, pause_ms = until.since(now).as_millis();
                "enclave ended by itself and is started again{how}"
            );
            unit.stage = Stage::Resting { until };
            return;
        }
        Verdict::NotWanted => {
            let policy = policy.as_str();
            format!("the enclave ended by itself, and its policy is `{policy}`{how}")
        }
        Verdict::TooOften { restarts, within } => format!(
            "the enclave ended by itself again after {restarts} restarts within {} s{how}",
            within.as_secs()
        ),
    };
    fail(unit, Failure::new(FailureCode::EnclaveStopped, message, now));
}

/// An enclave that was adopted without its image being known has to fetch it before a restart.
pub(crate) fn resume(unit: &mut Unit) {
    unit.stage = if unit.memory.image.is_some() { Stage::Fetched } else { Stage::Accepted };
}

/// A unit that had been stopped is wanted again.
pub(crate) fn revive(unit: &mut Unit) {
    unit.memory.restarts = unit.memory.restarts.saturating_add(1);
    unit.stage = Stage::Accepted;
}

/// Remembers when the unit's phase was first entered, and tells the log of each change.
pub(crate) fn note_phase(unit: &mut Unit, now: UnixMillis) {
    let phase = unit.phase();
    if unit.noted.replace(phase) == Some(phase) {
        return;
    }
    let Memory { assignment, entered, failure, .. } = &mut unit.memory;
    entered.entry(phase).or_insert(now);
    let (enclave_id, generation) = (assignment.enclave_id.as_str(), assignment.generation.0);
    match failure {
        Some(failure) => log::error!(
            enclave_id, generation, phase = phase.as_str(), code = failure.code.as_str(),
            error = failure.message.as_str(); "phase changed"
        ),
        None => log::info!(enclave_id, generation, phase = phase.as_str(); "phase changed"),
    }
}
