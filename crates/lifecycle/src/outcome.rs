//! How an entry continues after a step was carried out.
//!
//! Each function takes the entry as it was when the step was decided; the result is saved on
//! condition that nobody else changed it meanwhile.

use crate::{
    config::Config,
    launch::{LaunchRefused, Launched, Place, Tried},
    ledger::{Entry, Host, Notice, Outcome, Renewal, State},
    manifest::{self, ManifestObject},
    requests::next_desired,
    shared::shares,
    step::{failed, launch, missed, shortage, waits},
};
use bailey_model::{
    Base64Bytes, UnixMillis,
    failure::Failure,
    hosts::{Announcement, Nonce},
};

/// It is known what lies where the image's signed manifest would be.
///
/// A manifest that is there and cannot be believed ends the generation: somebody meant it to count.
#[must_use]
pub fn manifest_read(
    entry: &Entry,
    found: &ManifestObject,
    config: &Config,
    now: UnixMillis,
) -> Entry {
    if entry.state != State::Accepting {
        return entry.clone();
    }
    match manifest::judged(entry, found, config, now) {
        Ok(judged) => {
            let mut next = entry.clone();
            next.note(now, judged.event);
            next.manifest = Some(judged.manifest);
            next
        }
        Err(failure) => failed(entry, failure, now),
    }
}

/// EC2 named the instance of the entry's intent.
///
/// The nonce is drawn here: `fresh` are 32 random bytes.
#[must_use]
pub fn launched(entry: &Entry, launched: Launched, fresh: [u8; 32], now: UnixMillis) -> Entry {
    let State::Launching { intent, cancelled, .. } = &entry.state else { return entry.clone() };
    let host = intent.host(launched, now);
    let state = if let Some(outcome) = *cancelled {
        State::Terminating { host, outcome, since: now }
    } else {
        State::Deploying {
            host,
            nonce: next_nonce(entry, fresh, now),
            since: entry.accepted_at,
            restarts: 0,
        }
    };
    entry.moved(state, now)
}

/// The first nonce of a host.
pub(crate) fn next_nonce(entry: &Entry, fresh: [u8; 32], now: UnixMillis) -> Nonce {
    let sequence = entry.issued.saturating_add(1);
    Nonce { bytes: Base64Bytes(fresh.to_vec()), issued_at: now, sequence }
}

/// EC2 refused the entry's intent; nothing was launched. Where it is short of capacity, another
/// place is tried; `short` are those that others found so a little while ago.
#[must_use]
pub fn launch_refused(
    entry: &Entry,
    refused: &LaunchRefused,
    config: &Config,
    short: &[Place],
    now: UnixMillis,
) -> Entry {
    let State::Launching { intent, cancelled, tried } = &entry.state else { return entry.clone() };
    let has_more = entry.spec.as_ref().is_some_and(|spec| spec.places.len() > 1);
    if refused.is_short() && cancelled.is_none() && has_more {
        let mut tried = tried.clone();
        tried.push(Tried { place: intent.place(), code: refused.code.clone() });
        return launch(entry, tried, config, short, now);
    }
    if refused.is_short() && cancelled.is_none() && waits(entry) {
        return shortage(entry, refused.failure(now), now);
    }
    let outcome = cancelled.unwrap_or(Outcome::Failed);
    let mut next = entry.clone();
    if outcome == Outcome::Failed && next.failure.is_none() {
        let failure = refused.failure(now);
        next.note(now, format!("{}: {}", failure.code, failure.message));
        next.failure = Some(failure);
    }
    next.moved(State::Ended { outcome, host: None }, now)
}

/// The report of the entry's judgement is stored, or that of an earlier one, whose state was left
/// before it was known.
#[must_use]
pub fn report_stored(entry: &Entry, config: &Config, now: UnixMillis) -> Entry {
    let next = match &entry.state {
        State::Reporting { .. } => reported(entry, config, now),
        _ => entry.clone(),
    };
    Entry { unstored: None, ..next }
}

fn reported(entry: &Entry, config: &Config, now: UnixMillis) -> Entry {
    let State::Reporting { host, judgement, incarnation, misses, .. } = &entry.state else {
        return entry.clone();
    };
    let mut next = entry.clone();
    next.chain = Some(judgement.head());
    let renewal = match (&judgement.failure, misses) {
        (None, _) => {
            next.attested.clone_from(&judgement.attested);
            if misses.is_some_and(|misses| misses > 0) {
                next.note(now, "RUNNING");
            }
            Renewal::due_at(now.plus(config.reattest_interval))
        }
        (Some(failure), None) => return failed(&next, failure.clone(), now),
        // What was proven stays proven; the enclave is degraded, and asked again after a while.
        (Some(failure), Some(misses)) => {
            next.note_miss(*misses, &failure.message, now);
            match missed(*misses, &failure.message, config, now) {
                Ok(renewal) => Renewal { due: now.plus(config.nonce_ttl), ..renewal },
                Err(last) => {
                    return failed(&next, Failure { code: failure.code, ..last }, now);
                }
            }
        }
    };
    let state = State::Deployed {
        host: host.clone(),
        sequence: judgement.sequence,
        incarnation: incarnation.clone(),
        renewal,
    };
    if misses.is_some() {
        next.state = state;
        return next;
    }
    next.moved(state, now)
}

/// The entry's instance is stopping or stopped, or no more: nothing runs there.
#[must_use]
pub fn stopped(entry: &Entry, now: UnixMillis) -> Entry {
    let State::Stopping { host } = &entry.state else { return entry.clone() };
    entry.moved(State::Paused { host: host.clone() }, now)
}

/// EC2 starts the entry's instance again. Its enclave has to be started and to attest anew: `fresh`
/// are 32 random bytes.
#[must_use]
pub fn started(entry: &Entry, fresh: [u8; 32], now: UnixMillis) -> Entry {
    let State::Resuming { host } = &entry.state else { return entry.clone() };
    let state = State::Deploying {
        host: next_desired(Host { launched_at: now, ..host.clone() }),
        nonce: next_nonce(entry, fresh, now),
        since: entry.accepted_at,
        restarts: 0,
    };
    // EC2 starts it on other hardware: what was announced before is over.
    Entry { notice: None, ..entry.moved(state, now) }
}

/// AWS announced something about the entry's instance; none when that is known already, the instance is
/// not the entry's, or less than what is known.
///
/// It is noted for people. What follows from it is decided like anything else.
#[must_use]
pub fn noticed(
    entry: &Entry,
    instance_id: &str,
    said: &Announcement,
    now: UnixMillis,
) -> Option<Entry> {
    let host = entry.state.host().filter(|host| host.instance_id == instance_id)?;
    let is_less = |known: &Announcement| known == said || (known.takes_away && !said.takes_away);
    if entry.announced().is_some_and(is_less) {
        return None;
    }
    let mut next = entry.clone();
    next.note(now, format!("{instance_id}: {}", said.text));
    next.notice = Some(Notice { instance_id: host.instance_id.clone(), said: said.clone() });
    Some(next)
}

/// An instance that was launched for the entry's enclave, and that nobody counts on, is terminated; none
/// when the entry says so already.
#[must_use]
pub fn orphan_ended(entry: &Entry, instance_id: &str, now: UnixMillis) -> Option<Entry> {
    let text = format!("{instance_id} was launched and belongs to nobody: it is terminated");
    if entry.events.iter().any(|event| event.text == text) {
        return None;
    }
    let mut next = entry.clone();
    next.note(now, text);
    Some(next)
}

/// EC2 cannot start the entry's instance again, for the reason given: another one is launched when
/// it is gone.
#[must_use]
pub fn start_refused(entry: &Entry, reason: &str, now: UnixMillis) -> Entry {
    let State::Resuming { host } = &entry.state else { return entry.clone() };
    let mut next = entry.clone();
    next.note(now, format!("{} cannot be started again: {reason}", host.instance_id));
    next.moved(State::Replacing { host: host.clone() }, now)
}

/// The entry on its way to another instance.
pub(crate) fn placed_anew(
    entry: &Entry,
    config: &Config,
    short: &[Place],
    now: UnixMillis,
) -> Entry {
    if entry.spec.as_ref().is_some_and(|spec| shares(spec, config)) {
        return entry.moved(State::Joining { seat: None, tried: Vec::new() }, now);
    }
    launch(entry, Vec::new(), config, short, now)
}

/// EC2 confirmed that the entry's instance is shutting down, terminated or unknown to it.
#[must_use]
pub fn terminated(entry: &Entry, config: &Config, short: &[Place], now: UnixMillis) -> Entry {
    if let State::Replacing { .. } = &entry.state {
        // However long its end took: the next deploy has its own time.
        let entry = Entry { accepted_at: now, ..entry.clone() };
        return placed_anew(&entry, config, short, now);
    }
    let (State::Draining { host, outcome, .. } | State::Terminating { host, outcome, .. }) =
        &entry.state
    else {
        return entry.clone();
    };
    entry.moved(State::Ended { outcome: *outcome, host: Some(host.clone()) }, now)
}
