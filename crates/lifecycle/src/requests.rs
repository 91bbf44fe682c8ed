//! What a record asks for, held against what is under way.

use crate::{
    accept::{accept, blank},
    config::Config,
    ledger::{Entry, Host, Outcome, State},
    view::{RecordState, View},
};
use bailey_model::{
    Status, UnixMillis,
    failure::{Failure, FailureCode},
    record::RecordError,
};

/// The entry that takes up what the record asks for; none when it asks for nothing new.
pub(crate) fn take(view: &View<'_>, config: &Config) -> Option<Entry> {
    let now = view.now;
    match (view.record, view.entry) {
        (None, None) => None,
        (None, Some(entry)) => take_absence(entry, config, now),
        (Some(record), None) => match record.request.status {
            Ok(Status::PendingDeploy) => Some(accept(None, &record.request, config, now)),
            // Nothing was ever started for it, so it is already gone.
            Ok(Status::PendingDestroy) => {
                let gone = State::Ended { outcome: Outcome::Destroyed, host: None };
                Some(blank(None, &record.request, now).moved(gone, now))
            }
            Ok(request @ (Status::Pausing | Status::Resuming)) => {
                let message = format!("{request} was asked for, and nothing runs");
                let failure = Some(Failure::new(FailureCode::RequestRefused, message, now));
                let failed = State::Ended { outcome: Outcome::Failed, host: None };
                Some(Entry { failure, ..blank(None, &record.request, now) }.moved(failed, now))
            }
            _ => None,
        },
        (Some(_), Some(entry)) if entry.absent_since.is_some() => {
            let mut entry = entry.clone();
            entry.absent_since = None;
            entry.note(now, "the record is back");
            Some(entry)
        }
        (Some(record), Some(entry)) => match record.request.status {
            Ok(Status::PendingDeploy) => take_deploy(entry, record, config, now),
            Ok(Status::PendingDestroy) => end(entry, Outcome::Destroyed, now),
            Ok(Status::Pausing) => pause(entry, now),
            Ok(Status::Resuming) => resume(entry, now),
            _ => noted_result(entry, record, now),
        },
    }
}

/// A record that was deleted asks for the end of its enclave; a record that is merely rewritten, or
/// a table that is restored, gets a grace period.
fn take_absence(entry: &Entry, config: &Config, now: UnixMillis) -> Option<Entry> {
    if matches!(entry.state, State::Ended { .. }) {
        return None;
    }
    match entry.absent_since {
        None => {
            let mut entry = entry.clone();
            entry.absent_since = Some(now);
            entry.note(now, "the record is missing");
            Some(entry)
        }
        Some(since) if now.since(since) >= config.absence_grace => {
            end(entry, Outcome::Destroyed, now)
        }
        Some(_) => None,
    }
}

fn take_deploy(
    entry: &Entry,
    record: &RecordState,
    config: &Config,
    now: UnixMillis,
) -> Option<Entry> {
    match &entry.state {
        State::Ended { .. } => Some(accept(Some(entry), &record.request, config, now)),
        // Not acknowledged yet: still the same request, unless the record was edited meanwhile.
        State::Accepting | State::Refusing => retaken(entry, record, config, now),
        // Waits in the record until the generation under way has ended.
        State::Pausing { .. }
        | State::Stopping { .. }
        | State::Draining { .. }
        | State::Terminating { .. }
        | State::Launching { cancelled: Some(_), .. } => None,
        // What is paused runs again when the same is asked for.
        State::Paused { .. } if is_same(entry, record) => resume(entry, now),
        State::Launching { cancelled: None, .. }
        | State::Joining { .. }
        | State::Deploying { .. }
        | State::Reporting { .. }
        | State::Deployed { .. }
        | State::Paused { .. }
        | State::Resuming { .. }
        | State::Moving { .. }
        | State::Waiting { .. }
        | State::Replacing { .. } => take_edit(entry, record, now),
    }
}

fn is_same(entry: &Entry, record: &RecordState) -> bool {
    let asked = record.request.configuration.as_ref().ok();
    asked.is_some() && asked == entry.configuration()
}

/// The entry on its way to a stopped instance; none when it is there or on that way, or ends anyway.
fn pause(entry: &Entry, now: UnixMillis) -> Option<Entry> {
    let (host, issued) = match &entry.state {
        State::Deploying { host, nonce, .. } => (host, nonce.sequence),
        State::Reporting { host, judgement, .. } => (host, judgement.sequence),
        State::Deployed { host, sequence, .. } => (host, *sequence),
        // Nothing runs there yet.
        State::Resuming { host } => {
            return Some(entry.moved(State::Stopping { host: host.clone() }, now));
        }
        State::Accepting
        | State::Refusing
        | State::Launching { cancelled: None, .. }
        | State::Joining { .. }
        | State::Moving { .. }
        | State::Waiting { .. }
        | State::Replacing { .. }
        | State::Ended { .. } => {
            let message = format!("PAUSING was asked for in the phase {}", entry.phase());
            return refuse(entry, Failure::new(FailureCode::RequestRefused, message, now));
        }
        State::Launching { cancelled: Some(_), .. }
        | State::Pausing { .. }
        | State::Stopping { .. }
        | State::Paused { .. }
        | State::Draining { .. }
        | State::Terminating { .. } => return None,
    };
    let mut next = entry.clone();
    next.issued = issued;
    // What was proven is not of the enclave that will be started next.
    next.attested = None;
    next.refused = None;
    Some(next.moved(State::Pausing { host: next_desired(host.clone()), since: now }, now))
}

/// The entry on its way back to a running enclave; none when it runs or is on that way, or has to be
/// paused first.
fn resume(entry: &Entry, now: UnixMillis) -> Option<Entry> {
    match &entry.state {
        State::Paused { host } => {
            let mut next = entry.clone();
            // Deadlines and the times of phases count anew.
            next.accepted_at = now;
            next.entered.clear();
            next.refused = None;
            Some(next.moved(State::Resuming { host: host.clone() }, now))
        }
        State::Ended { .. } => {
            let message = format!("RESUMING was asked for in the phase {}", entry.phase());
            refuse(entry, Failure::new(FailureCode::RequestRefused, message, now))
        }
        _ => None,
    }
}

/// The entry of a request that is not acknowledged yet, with the record's present configuration; none
/// when that is the one which was taken.
pub(crate) fn retaken(
    entry: &Entry,
    record: &RecordState,
    config: &Config,
    now: UnixMillis,
) -> Option<Entry> {
    let again =
        Entry { generation: entry.generation, ..accept(Some(entry), &record.request, config, now) };
    let reason = |entry: &Entry| entry.failure.as_ref().map(|failure| failure.message.clone());
    let same = again.spec == entry.spec && reason(&again) == reason(entry);
    (!same).then_some(again)
}

/// The entry with a note that somebody else wrote a result into the record, where only the
/// coordinator does; none when there is nothing of that kind, or it is noted already.
fn noted_result(entry: &Entry, record: &RecordState, now: UnixMillis) -> Option<Entry> {
    let phase = record.attributes.get("phase").and_then(serde_json::Value::as_str);
    let found = record.raw_status().unwrap_or("(none)");
    // Status and phase are written together, so each phase tells which status stood beside it.
    let is_ours =
        phase.is_some_and(|phase| statuses_beside(phase).iter().any(|s| s.as_str() == found));
    let text = format!("the status {found} was written by somebody else and is overwritten");
    if is_ours || entry.events.last().is_some_and(|event| event.text == text) {
        return None;
    }
    let mut entry = entry.clone();
    entry.note(now, text);
    Some(entry)
}

/// The statuses beside which a phase is shown.
#[must_use]
pub fn statuses_beside(phase: &str) -> &'static [Status] {
    match phase {
        "DEGRADED" | "RUNNING" => &[Status::Deployed],
        "DESTROYED" => &[Status::Destroyed],
        "FAILED" | "REFUSED" => &[Status::Failed],
        "LAUNCHING" | "DRAINING" | "TERMINATING" => &[Status::Deploying, Status::Destroying],
        "PAUSED" => &[Status::Paused],
        "PAUSING" | "STOPPING" => &[Status::Pausing],
        _ => &[Status::Deploying],
    }
}

/// A live enclave is never changed under its users: an equal configuration changes nothing, another
/// one is refused.
fn take_edit(entry: &Entry, record: &RecordState, now: UnixMillis) -> Option<Entry> {
    let accepted = entry.spec.as_ref().map(|spec| &spec.configuration);
    let message = match &record.request.configuration {
        Ok(configuration) if Some(configuration) == accepted => {
            let mut entry = entry.clone();
            // An earlier refusal is settled by asking for what runs.
            return entry.refused.take().map(|_| entry);
        }
        Ok(_) => format!("generation {} runs with another configuration", entry.generation),
        Err(error) => error.to_string(),
    };
    refuse(entry, Failure::new(FailureCode::ConfigurationChangeRefused, message, now))
}

/// The entry with the refusal of its newest request; none when it already says so.
fn refuse(entry: &Entry, failure: Failure) -> Option<Entry> {
    let known = entry.refused.as_ref().map(|known| (known.code, &known.message));
    if known == Some((failure.code, &failure.message)) {
        return None;
    }
    let mut entry = entry.clone();
    entry.note(failure.at, format!("{}: {}", failure.code, failure.message));
    entry.refused = Some(failure);
    Some(entry)
}

/// The entry on its way to `outcome`; none when it is on that way already.
pub(crate) fn end(entry: &Entry, outcome: Outcome, now: UnixMillis) -> Option<Entry> {
    let state = match entry.state.clone() {
        // Whoever waits for a shared host leaves it to its slot.
        State::Accepting | State::Refusing | State::Joining { .. } | State::Waiting { .. } => {
            State::Ended { outcome, host: None }
        }
        State::Launching { intent, cancelled, tried } if cancelled != Some(outcome) => {
            State::Launching { intent, cancelled: Some(outcome), tried }
        }
        State::Deploying { host, .. }
        | State::Reporting { host, .. }
        | State::Deployed { host, .. } => {
            State::Draining { host: next_desired(host), outcome, since: now }
        }
        // Its host is asked to end what it runs already.
        State::Pausing { host, since } | State::Moving { host, since } => {
            State::Draining { host, outcome, since }
        }
        State::Stopping { host }
        | State::Paused { host }
        | State::Resuming { host }
        | State::Replacing { host } => State::Terminating { host, outcome, since: now },
        State::Draining { host, outcome: other, since } if other != outcome => {
            State::Draining { host, outcome, since }
        }
        State::Terminating { host, outcome: other, since } if other != outcome => {
            State::Terminating { host, outcome, since }
        }
        State::Ended { outcome: other, host } if other != outcome => State::Ended { outcome, host },
        State::Launching { .. }
        | State::Draining { .. }
        | State::Terminating { .. }
        | State::Ended { .. } => return None,
    };
    Some(entry.moved(state, now))
}

/// The host with a newer version of its `desired` item called for.
pub(crate) fn next_desired(host: Host) -> Host {
    Host { desired_version: host.desired_version.saturating_add(1), ..host }
}

/// What a record deserves whose id cannot be used, given its status: it never gets an entry.
#[must_use]
pub fn refuse_unusable(
    error: &RecordError,
    status: &str,
    now: UnixMillis,
) -> Option<(Status, Failure)> {
    let message = match error {
        RecordError::Id { source, .. } => format!("{error}: {source}"),
        RecordError::NoId => error.to_string(),
    };
    let failure = Failure::new(FailureCode::InvalidConfiguration, message, now);
    match status.parse() {
        Ok(Status::PendingDeploy | Status::Pausing | Status::Resuming) => {
            Some((Status::Failed, failure))
        }
        Ok(Status::PendingDestroy) => Some((Status::Destroyed, failure)),
        _ => None,
    }
}
