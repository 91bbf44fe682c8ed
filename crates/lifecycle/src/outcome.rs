//! How an entry continues after a step was carried out.
//!
//! Each function takes the entry as it was when the step was decided; the result is saved on
//! condition that nobody else changed it meanwhile.

use crate::{
    config::Config,
    launch::{LaunchRefused, Launched},
    ledger::{ChainHead, Entry, Host, Outcome, Renewal, State},
    manifest::{self, ManifestObject},
    step::{failed, missed},
};
use bailey_model::{Base64Bytes, UnixMillis, failure::Failure, hosts::Nonce};

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
    let State::Launching { intent, cancelled } = &entry.state else { return entry.clone() };
    let host = Host {
        instance_id: launched.instance_id,
        instance_arn: launched.instance_arn,
        instance_type: intent.request.instance_type.clone(),
        availability_zone: launched.availability_zone,
        launched_at: now,
        desired_version: 1,
    };
    let state = if let Some(outcome) = *cancelled {
        State::Terminating { host, outcome, since: now }
    } else {
        let nonce = Nonce { bytes: Base64Bytes(fresh.to_vec()), issued_at: now, sequence: 1 };
        State::Deploying { host, nonce, since: entry.accepted_at, restarts: 0 }
    };
    entry.moved(state, now)
}

/// EC2 refused the entry's intent; nothing was launched.
#[must_use]
pub fn launch_refused(entry: &Entry, refused: &LaunchRefused, now: UnixMillis) -> Entry {
    let State::Launching { cancelled, .. } = &entry.state else { return entry.clone() };
    let outcome = cancelled.unwrap_or(Outcome::Failed);
    let mut next = entry.clone();
    if outcome == Outcome::Failed && next.failure.is_none() {
        let failure = refused.failure(now);
        next.note(now, format!("{}: {}", failure.code, failure.message));
        next.failure = Some(failure);
    }
    next.moved(State::Ended { outcome, host: None }, now)
}

/// The report of the entry's judgement is stored.
#[must_use]
pub fn report_stored(entry: &Entry, config: &Config, now: UnixMillis) -> Entry {
    let State::Reporting { host, judgement, incarnation, misses, .. } = &entry.state else {
        return entry.clone();
    };
    let mut next = entry.clone();
    next.chain = Some(ChainHead {
        key: judgement.report_key.clone(),
        sha256: judgement.report_sha256.clone(),
    });
    let renewal = match (&judgement.failure, misses) {
        (None, _) => {
            next.attested.clone_from(&judgement.attested);
            Renewal::due_at(now.plus(config.reattest_interval))
        }
        (Some(failure), None) => return failed(&next, failure.clone(), now),
        // What was proven stays proven; the enclave is degraded, and asked again after a while.
        (Some(failure), Some(misses)) => {
            next.note(now, format!("re-attestation: {}", failure.message));
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

/// EC2 confirmed that the entry's instance is shutting down, terminated or unknown to it.
#[must_use]
pub fn terminated(entry: &Entry, now: UnixMillis) -> Entry {
    let State::Terminating { host, outcome, .. } = &entry.state else { return entry.clone() };
    entry.moved(State::Ended { outcome: *outcome, host: Some(host.clone()) }, now)
}
