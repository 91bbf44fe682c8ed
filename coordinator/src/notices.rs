//! Telling people that an enclave failed, is degraded or does not end.
//!
//! # Flow
//! The entry's events say what is to be told, and its `notified` how far that was done. Whenever an entry
//! is read or written with something left to tell, its id goes to [`run`], which publishes and then
//! writes `notified`.
//!
//! # Guarantees
//! - At least once: what is not told yet keeps its entry among those that the sweep looks at, whoever
//!   was killed meanwhile. It may be told twice.
//! - No step waits for it.
//!
//! # Caveats
//! A topic that takes nothing for an hour loses what happened before. A record whose id cannot
//! be used has no entry, and nobody is told of it.

use crate::{metrics::Metrics, sns::Topic, store::Ledger, store::StoreError, store::Written};
use bailey_lifecycle::ledger::{Entry, Event};
use bailey_model::{EnclaveId, Status, UnixMillis};
use bailey_runtime::{chain, now};
use serde::Serialize;
use std::{sync::Arc, time::Duration};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// For how long it is worth telling that something happened.
const WORTH_TELLING: Duration = Duration::from_hours(1);

/// How often a write may meet somebody else's before it is left to the next sweep.
const ATTEMPTS: usize = 10;

/// What is told of an enclave, as JSON.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Notice {
    /// The installation.
    pub deployment: String,
    /// The enclave.
    pub id: EnclaveId,
    /// Which accepted request.
    pub generation: u64,
    /// The record's status.
    pub status: Status,
    /// `FAILED`, `DEGRADED` or `OVERDUE`.
    pub phase: &'static str,
    /// The failure's code; `Degraded` for an enclave that runs on.
    pub code: String,
    /// What was wrong.
    pub message: String,
    /// What to do about it.
    pub hint: String,
    /// When, in RFC 3339.
    pub at: String,
}

/// What the record's reader can do about a degraded enclave.
const DEGRADED_HINT: &str = "The enclave runs on and is asked again; it is ended when that goes on \
    to fail. Its events and the agent's log say more.";

/// What to do about an enclave that does not end.
const OVERDUE_HINT: &str = "The coordinator tries on. The record's warnings say what stands in the way: \
    often a missing permission, or an EC2 outage. Look at the instance.";

/// Whether an entry has something left to be told, or to be passed over.
pub(crate) fn is_pending(entry: &Entry) -> bool {
    untold(entry).next().is_some()
}

/// What is left to tell of an entry, oldest first.
#[must_use]
pub fn due(entry: &Entry, deployment: &str, now: UnixMillis) -> Vec<Notice> {
    let is_worth_it = |event: &&Event| now.since(event.at) < WORTH_TELLING;
    let events = untold(entry).filter(is_worth_it);
    events.map(|event| notice(entry, event, deployment)).collect()
}

fn untold(entry: &Entry) -> impl Iterator<Item = &Event> {
    let is_told = |event: &Event| event.number <= entry.notified;
    let is_one =
        |event: &Event| matches!(event.text.as_str(), "FAILED" | "DEGRADED") || event.is_overdue();
    entry.events.iter().filter(move |event| is_one(event) && !is_told(event))
}

fn notice(entry: &Entry, event: &Event, deployment: &str) -> Notice {
    // The event before says why.
    let before = entry.events.iter().rfind(|other| other.number < event.number);
    let reason = before.map(|event| event.text.clone()).unwrap_or_default();
    let failure = entry.failure.as_ref().filter(|_| event.generation == entry.generation);
    let (status, phase) = match event.text.as_str() {
        "DEGRADED" => (Status::Deployed, "DEGRADED"),
        _ if event.is_overdue() => (Status::Destroying, "OVERDUE"),
        _ => (Status::Failed, "FAILED"),
    };
    let (code, message, hint) = match (phase, failure) {
        ("DEGRADED", _) => ("Degraded".to_owned(), reason, DEGRADED_HINT.to_owned()),
        ("OVERDUE", _) => ("Overdue".to_owned(), event.text.clone(), OVERDUE_HINT.to_owned()),
        (_, Some(failure)) => {
            (failure.code.to_string(), failure.message.clone(), failure.hint.clone())
        }
        // Another generation has begun since.
        (_, None) => ("Failed".to_owned(), reason, String::new()),
    };
    Notice {
        deployment: deployment.to_owned(),
        id: entry.id.clone(),
        generation: event.generation.0,
        status,
        phase,
        code,
        message,
        hint,
        at: event.at.to_string(),
    }
}

/// Where ids go whose entries have something to be told.
#[derive(Clone, Debug)]
pub struct Notices(Option<UnboundedSender<EnclaveId>>);

impl Notices {
    /// Nobody is told anything.
    #[must_use]
    pub fn nowhere() -> Self {
        Self(None)
    }

    /// Ids go to the receiver.
    #[must_use]
    pub fn channel() -> (Self, UnboundedReceiver<EnclaveId>) {
        let (sender, receiver) = unbounded_channel();
        (Self(Some(sender)), receiver)
    }

    /// Passes an entry's id on when there is something to be told.
    pub fn look_at(&self, entry: &Entry) {
        if let Some(sender) = self.0.as_ref().filter(|_| is_pending(entry)) {
            // Without a receiver the process is ending; the next one tells it.
            let _ = sender.send(entry.id.clone());
        }
    }
}

/// What [`run`] needs.
#[derive(Debug)]
pub struct Teller {
    /// Where to publish.
    pub topic: Topic,
    /// The ledger.
    pub ledger: Ledger,
    /// The installation's name.
    pub deployment: String,
    /// Figures for operators.
    pub metrics: Arc<Metrics>,
}

/// What is to be told, and by whom.
#[derive(Debug)]
pub struct Told {
    /// Who tells it.
    pub teller: Teller,
    /// The ids of entries with something to be told.
    pub ids: UnboundedReceiver<EnclaveId>,
}

/// Tells what is to be told of each id that comes, until nobody can send any more.
pub async fn run(mut told: Told) {
    while let Some(id) = told.ids.recv().await {
        told.teller.tell_or_log(&id).await;
    }
}

/// Tells what is to be told of the ids that have come.
pub async fn tell_what_came(told: &mut Told) {
    while let Ok(id) = told.ids.try_recv() {
        told.teller.tell_or_log(&id).await;
    }
}

/// Why something was not told; it will be tried again.
#[derive(Debug, thiserror::Error)]
enum TellError {
    #[error("others write the entry all the time")]
    Contended,
    #[error("cannot write the notice")]
    Encode(#[source] serde_json::Error),
    #[error("cannot publish the notice")]
    Publish(#[source] crate::query::CallError),
    #[error("cannot look up what is to be told")]
    Store(#[source] StoreError),
}

impl Teller {
    async fn tell_or_log(&self, id: &EnclaveId) {
        if let Err(error) = self.tell(id).await {
            // The sweep finds it again.
            self.metrics.told(false);
            log::warn!(enclave_id = id.as_str(), error = chain(&error); "notice could not be given");
        }
    }

    async fn tell(&self, id: &EnclaveId) -> Result<(), TellError> {
        let mut told = 0;
        for _ in 0..ATTEMPTS {
            let entry = self.ledger.read(id).await.map_err(TellError::Store)?;
            let Some(entry) = entry.filter(is_pending) else { return Ok(()) };
            // What was published before somebody else wrote is not published again.
            let left = Entry { notified: entry.notified.max(told), ..entry.clone() };
            for notice in due(&left, &self.deployment, now()) {
                let message = serde_json::to_string(&notice).map_err(TellError::Encode)?;
                self.topic.publish(&message).await.map_err(TellError::Publish)?;
                self.metrics.told(true);
                log::info!(enclave_id = id.as_str(), phase = notice.phase, code = notice.code.as_str(); "notice given");
            }
            told = untold(&entry).map(|event| event.number).max().unwrap_or(told);
            let next = Entry { notified: told, ..entry };
            match self.ledger.save(&next).await.map_err(TellError::Store)? {
                Written::Done(_) => return Ok(()),
                Written::Outdated => {}
            }
        }
        Err(TellError::Contended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const HOUR_MS: u64 = 3_600_000;

    fn entry(notified: u64, failure: &Value, events: &[(u64, u64, &str)]) -> Entry {
        let event = |(number, at, text): &(u64, u64, &str)| json!({"number": number, "at": at, "generation": 2, "text": text});
        serde_json::from_value(json!({
            "id": "enc_1", "version": 9, "generation": 2, "accepted_at": 0, "entered": {},
            "state": {"name": "ENDED", "outcome": "FAILED", "host": null},
            "failure": failure, "notified": notified,
            "events": events.iter().map(event).collect::<Vec<_>>(),
        }))
        .unwrap()
    }

    fn told(entry: &Entry, now: u64) -> Value {
        serde_json::to_value(due(entry, "prod", UnixMillis(now))).unwrap()
    }

    #[test]
    fn a_failure_is_told_with_its_code_message_and_hint() {
        let failure =
            json!({"code": "HostLost", "message": "i-1 is gone", "hint": "look", "at": 900});
        let events = [(6, 900, "HostLost: i-1 is gone"), (7, 1_000, "FAILED")];
        assert_eq!(
            told(&entry(0, &failure, &events), 2_000),
            json!([{
                "deployment": "prod", "id": "enc_1", "generation": 2, "status": "FAILED",
                "phase": "FAILED", "code": "HostLost", "message": "i-1 is gone", "hint": "look",
                "at": "1970-01-01T00:00:01Z",
            }])
        );
    }

    #[test]
    fn a_degraded_enclave_is_told_with_the_reason_and_runs_on() {
        let events = [(3, 1_000, "re-attestation: no answer within 300 s"), (4, 1_000, "DEGRADED")];
        assert_eq!(
            told(&entry(0, &Value::Null, &events), 2_000),
            json!([{
                "deployment": "prod", "id": "enc_1", "generation": 2, "status": "DEPLOYED",
                "phase": "DEGRADED", "code": "Degraded",
                "message": "re-attestation: no answer within 300 s", "hint": DEGRADED_HINT,
                "at": "1970-01-01T00:00:01Z",
            }])
        );
    }

    #[test]
    fn what_was_told_and_what_is_nobodys_trouble_is_not_told() {
        let events =
            [(3, 0, "DEGRADED"), (4, 0, "RUNNING"), (5, 0, "DRAINING"), (6, 0, "DESTROYED")];
        assert!(is_pending(&entry(2, &Value::Null, &events)));
        assert!(!is_pending(&entry(3, &Value::Null, &events)));
        assert_eq!(told(&entry(3, &Value::Null, &events), 0), json!([]));
        let unnumbered = entry(0, &Value::Null, &[(0, 0, "FAILED")]);
        assert!(!is_pending(&unnumbered), "it was noted by a coordinator that told nobody");
    }

    #[test]
    fn what_happened_long_ago_is_passed_over() {
        let old = entry(0, &Value::Null, &[(1, 0, "FAILED")]);
        assert_eq!(due(&old, "prod", UnixMillis(HOUR_MS - 1)).len(), 1);
        assert_eq!(due(&old, "prod", UnixMillis(HOUR_MS)), []);
        assert!(is_pending(&old), "it has to be passed over still");
    }
}
