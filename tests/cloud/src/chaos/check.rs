//! What must hold of a cloud in which nothing happens any more. Pure: data in, violations out.

use super::{
    seen::Seen,
    web_app::{WebApp, Written},
};
use crate::ec2::{InstanceState, InstanceView};
use bailey_lifecycle::{
    launch::{TAG_ENCLAVE, TAG_GENERATION},
    ledger::{Entry, Outcome, State},
};
use bailey_model::{Generation, Status};
use serde_json::Value;
use std::{collections::BTreeMap, fmt};

/// A kind of violation.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// The reports of an enclave are no unbroken chain up to the ledger's head.
    BrokenChain,
    /// Two instances for one enclave at a time, or more for one request than there is reason for.
    DoubleLaunch,
    /// What the web app wrote is not there, or was not heeded.
    LostWrite,
    /// An instance or an enclave that no entry of the ledger has.
    Orphan,
    /// An enclave that never came to rest.
    Stuck,
    /// A record, its entry, its instance and its enclave do not say the same.
    WrongStatus,
}

/// Something that is not as it must be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Violation {
    /// Of what kind.
    pub kind: Kind,
    /// Whose, and what.
    pub text: String,
}

impl Violation {
    pub(super) fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.text)
    }
}

/// The status at which an entry rests; none while it is on its way.
pub(super) fn rest(entry: &Entry) -> Option<Status> {
    if entry.unstored.is_some() {
        return None;
    }
    match &entry.state {
        // An enclave that attests again goes on running.
        State::Deployed { .. } | State::Reporting { misses: Some(_), .. } => Some(Status::Deployed),
        State::Paused { .. } => Some(Status::Paused),
        State::Ended { outcome: Outcome::Destroyed, .. } => Some(Status::Destroyed),
        State::Ended { outcome: Outcome::Failed, .. } => Some(Status::Failed),
        _ => None,
    }
}

/// Everything that does not hold of a cloud at rest.
pub(super) fn at_rest(seen: &Seen, web_app: &WebApp) -> Vec<Violation> {
    let mut found = Vec::new();
    for (id, written) in &web_app.written {
        found.extend(lost_attributes(id, seen, written));
        match seen.entries.get(id) {
            Some(entry) => found.extend(of_entry(entry, seen, written)),
            // It may have been removed, or called a failure by the web app itself, before anybody saw it.
            None if written.attributes.is_none()
                || !written.asked.is_some_and(Status::is_request) => {}
            None => found.push(Violation::new(Kind::Stuck, format!("{id}: nobody took it up"))),
        }
    }
    found.extend(orphans(seen));
    found.extend(launches(seen));
    found
}

/// What the web app wrote and its record does not show; a record that came back although it was
/// removed.
fn lost_attributes(id: &str, seen: &Seen, written: &Written) -> Vec<Violation> {
    let lost = |text: String| Violation::new(Kind::LostWrite, format!("{id}: {text}"));
    match (&written.attributes, seen.records.get(id)) {
        (None, None) => Vec::new(),
        (None, Some(record)) => vec![lost(format!("it was removed and is back: {record:?}"))],
        (Some(_), None) => vec![lost("the record is gone".to_owned())],
        (Some(attributes), Some(record)) => {
            let differs = |(name, wrote): &(&String, &Value)| record.get(*name) != Some(*wrote);
            let differing = attributes.iter().filter(differs);
            let text = |(name, wrote): (&String, &Value)| {
                lost(format!("{name} should be {wrote} and is {:?}", record.get(name)))
            };
            differing.map(text).collect()
        }
    }
}

fn of_entry(entry: &Entry, seen: &Seen, written: &Written) -> Vec<Violation> {
    let id = &entry.id;
    let Some(status) = rest(entry) else {
        let text = format!("{id}: the ledger says {}: {}", entry.state.name(), story(entry));
        return vec![Violation::new(Kind::Stuck, text)];
    };
    let mut found = Vec::new();
    let mut wrong = |text: String| {
        found.push(Violation::new(Kind::WrongStatus, format!("{id}: {text}: {}", story(entry))));
    };
    if let Some(record) = seen.records.get(id.as_str()) {
        let shown = record.get("status").and_then(Value::as_str).unwrap_or("nothing");
        if shown != status.as_str() {
            wrong(format!("the ledger says {status}, the record {shown}"));
        }
    }
    let host = entry.state.host().map(|host| host.instance_id.as_str());
    let on_ec2 = |id: &str| seen.simulation.instances.iter().find(|it| it.id == id);
    let state = host.and_then(on_ec2).map(|instance| instance.state);
    let enclaves = host.map_or(0, |id| seen.enclaves.get(id).copied().unwrap_or(0));
    if status == Status::Deployed && (state != Some(InstanceState::Running) || enclaves == 0) {
        wrong(format!("it is {status}, with {enclaves} enclaves on {host:?}, which is {state:?}"));
    }
    let is_up = state.is_some_and(|state| {
        matches!(state, InstanceState::Pending | InstanceState::Running | InstanceState::Stopping)
    });
    if status == Status::Paused && is_up {
        wrong(format!("it is {status}, and {host:?} is {state:?}"));
    }
    if let Some(asked) = written.asked.filter(|asked| !heeds(status, *asked)) {
        let text =
            format!("{id}: {asked} was asked for last, and it is {status}: {}", story(entry));
        found.push(Violation::new(Kind::LostWrite, text));
    }
    if written.attributes.is_none() && !matches!(entry.state, State::Ended { .. }) {
        let text = format!("{id}: its record was removed, and it is {status}: {}", story(entry));
        found.push(Violation::new(Kind::LostWrite, text));
    }
    found
}

/// Whether an enclave may be at rest in this status when that was the last thing asked of it.
fn heeds(status: Status, asked: Status) -> bool {
    match asked {
        Status::PendingDestroy => status == Status::Destroyed,
        // It may have failed.
        Status::PendingDeploy => matches!(status, Status::Deployed | Status::Failed),
        // It may have been refused, because nothing was paused.
        Status::Resuming => status != Status::Paused,
        // Refused wherever nothing runs yet or any more; a result is nobody's request.
        _ => true,
    }
}

/// Instances and enclaves that no entry of the ledger has.
fn orphans(seen: &Seen) -> Vec<Violation> {
    let owner = |instance_id: &str| {
        let has =
            |entry: &&Entry| entry.state.host().is_some_and(|host| host.instance_id == instance_id);
        seen.entries.values().find(has)
    };
    let mut found = Vec::new();
    for instance in &seen.simulation.instances {
        let is_live = !instance.state.is_ending();
        if !instance.tags.contains_key(TAG_ENCLAVE) {
            let text = format!("{} was launched without our tags", instance.id);
            found.push(Violation::new(Kind::Orphan, text));
        } else if is_live && owner(&instance.id).is_none() {
            let known = instance.tags.get(TAG_ENCLAVE).and_then(|id| seen.entries.get(id));
            let known = known.map_or_else(|| "knows nothing of it".to_owned(), story);
            let text =
                format!("{} is {}; its ledger: {known}", instance.id, instance.state.as_str());
            found.push(Violation::new(Kind::Orphan, text));
        }
    }
    for (instance_id, enclaves) in &seen.enclaves {
        let is_deployed = owner(instance_id).and_then(rest) == Some(Status::Deployed);
        let surplus = enclaves.saturating_sub(usize::from(is_deployed));
        if surplus > 0 {
            let text = format!("{surplus} enclaves run on {instance_id} that nobody deployed");
            found.push(Violation::new(Kind::Orphan, text));
        }
    }
    found
}

/// Two instances at a time for one enclave, and more for one request than were replaced.
fn launches(seen: &Seen) -> Vec<Violation> {
    let mut of_id: BTreeMap<&str, Vec<&InstanceView>> = BTreeMap::new();
    for instance in &seen.simulation.instances {
        if let Some(id) = instance.tags.get(TAG_ENCLAVE) {
            of_id.entry(id).or_default().push(instance);
        }
    }
    let mut found = Vec::new();
    for (id, mut instances) in of_id {
        instances.sort_by_key(|instance| instance.launched());
        let pairs = instances.iter().zip(instances.iter().skip(1));
        for (first, second) in pairs.filter(|(first, second)| overlap(first, second)) {
            let text = format!(
                "{id}: {} was launched when {} was not yet ending: {:?}; {:?}",
                second.id, first.id, second.history, first.history
            );
            found.push(Violation::new(Kind::DoubleLaunch, text));
        }
        if let Some(entry) = seen.entries.get(id) {
            found.extend(surplus(entry, &instances));
        }
    }
    found
}

/// Whether the later instance was launched before the earlier one began to end.
fn overlap(earlier: &InstanceView, later: &InstanceView) -> bool {
    earlier.ended().is_none_or(|ended| later.launched() < ended)
}

/// The generations with more instances than the ledger's events give reasons for.
fn surplus(entry: &Entry, instances: &[&InstanceView]) -> Vec<Violation> {
    let mut of_generation: BTreeMap<&str, u32> = BTreeMap::new();
    for instance in instances {
        let generation = instance.tags.get(TAG_GENERATION).map_or("", String::as_str);
        *of_generation.entry(generation).or_default() += 1;
    }
    let reasons = |generation: &str| {
        let number = generation.parse().map(Generation).ok()?;
        let mut events = entry.events.iter().filter(|event| event.generation == number);
        // The newest events are kept. Those of a generation are all there when its first one is.
        if events.next()?.text == State::Accepting.name() {
            let replaced = events.filter(|event| event.text == "REPLACING").count();
            return u32::try_from(replaced).ok()?.checked_add(1);
        }
        (number == entry.generation).then_some(entry.attempts)
    };
    let mut found = Vec::new();
    for (generation, launched) in of_generation {
        if let Some(reasons) = reasons(generation).filter(|reasons| launched > *reasons) {
            let id = &entry.id;
            let text = format!(
                "{id}: generation {generation} had {launched} instances and reasons for {reasons}: {}",
                story(entry)
            );
            found.push(Violation::new(Kind::DoubleLaunch, text));
        }
    }
    found
}

/// What the ledger remembers, for people who look into why.
fn story(entry: &Entry) -> String {
    let events = entry.events.iter().rev().take(15).rev();
    let events: Vec<_> =
        events.map(|event| format!("{} {} {}", event.at, event.generation, event.text)).collect();
    format!("{} [{}]", entry.state.name(), events.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ec2::{SimulationView, StateChange};
    use bailey_model::UnixMillis;

    /// An instance with the given changes, each in an order of its own.
    fn instance(name: &str, changes: &[(u64, InstanceState)]) -> InstanceView {
        let change = |(order, state): &(u64, InstanceState)| StateChange {
            order: *order,
            at: UnixMillis(0),
            state: *state,
        };
        InstanceView {
            id: name.to_owned(),
            state: changes.last().unwrap().1,
            history: changes.iter().map(change).collect(),
            client_token: None,
            tags: [(TAG_ENCLAVE.to_owned(), "e".to_owned())].into(),
            instance_type: String::new(),
            subnet_id: String::new(),
            agent_pid: None,
            agent_starts: 0,
            enclave_launches: 0,
            imds: None,
        }
    }

    fn found(instances: Vec<InstanceView>) -> Vec<Kind> {
        let simulation = SimulationView { instances, ..SimulationView::default() };
        let seen = Seen { simulation, ..Seen::default() };
        launches(&seen).iter().map(|violation| violation.kind).collect()
    }

    #[test]
    fn an_instance_that_follows_one_which_is_ending_is_no_double_launch() {
        use InstanceState::{Pending, ShuttingDown, Terminated};
        let first = || instance("i-1", &[(1, Pending), (2, ShuttingDown), (4, Terminated)]);
        assert_eq!(found(vec![first(), instance("i-2", &[(3, Pending)])]), []);
    }

    #[test]
    fn an_instance_beside_one_that_runs_or_is_stopped_is_a_double_launch() {
        use InstanceState::{Pending, Running, ShuttingDown, Stopped};
        for beside in [Running, Stopped] {
            let first = instance("i-1", &[(1, Pending), (2, beside), (4, ShuttingDown)]);
            let second = instance("i-2", &[(3, Pending)]);
            assert_eq!(found(vec![second, first]), [Kind::DoubleLaunch], "{beside}");
        }
    }

    #[test]
    fn what_was_asked_for_last_is_what_an_enclave_rests_at() {
        use Status::{
            Deployed, Destroyed, Failed, Paused, PendingDeploy, PendingDestroy, Resuming,
        };
        let rests = [Deployed, Destroyed, Failed, Paused];
        let heeded = |asked| rests.map(|status| heeds(status, asked));
        assert_eq!(heeded(PendingDestroy), [false, true, false, false]);
        assert_eq!(heeded(PendingDeploy), [true, false, true, false]);
        assert_eq!(heeded(Resuming), [true, true, true, false]);
    }
}
