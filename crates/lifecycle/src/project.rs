//! What the record should show.

use crate::{
    ledger::{Attested, Entry, Host, Outcome, Renewal, State},
    view::{RecordState, View},
};
use bailey_model::{
    Status, UnixMillis,
    hosts::{HostPhase, ObservedAssignment},
    projection::{AttestationView, Deployment, HealthView, ProgressView, Projection, phase_times},
};
use serde_json::{Map, Value};
use std::time::Duration;

/// A write to the record.
#[derive(Clone, Debug, PartialEq)]
pub struct Projected {
    /// The status as it was read, on which the write is conditional; none when there was none.
    pub read_status: Option<Value>,
    /// The status to write; none leaves the web app's request in place.
    pub status: Option<Status>,
    /// The other attributes.
    pub projection: Box<Projection>,
}

impl Projected {
    /// Whether the write changes the status.
    #[must_use]
    pub fn changes_status(&self) -> bool {
        let read = self.read_status.as_ref().and_then(Value::as_str);
        self.status.is_some_and(|status| read != Some(status.as_str()))
    }

    /// Whether the write has to take place together with one of the entry.
    ///
    /// One that answers a request has to: who read an earlier request with this version of the entry
    /// would otherwise still act upon that, and the later one be lost. So has one that writes `PAUSING`,
    /// which is a request to whoever reads it, and must not come late.
    #[must_use]
    pub fn goes_with_entry(&self) -> bool {
        let read = self.read_status.as_ref().and_then(Value::as_str).map(str::parse::<Status>);
        let is_answer = matches!(read, Some(Ok(status)) if status.is_request());
        self.changes_status() && (is_answer || self.status.is_some_and(Status::is_request))
    }
}

/// The write that brings the record up to date; none when it is.
pub(crate) fn projected(entry: &Entry, record: &RecordState, view: &View<'_>) -> Option<Projected> {
    let status = status(entry, record);
    let projection = projection(entry, view);
    let is_current = status.is_none_or(|status| record.raw_status() == Some(status.as_str()))
        && shows(&record.attributes, &projection);
    (!is_current).then(|| Projected {
        read_status: record.attributes.get("status").cloned(),
        status,
        projection: Box::new(projection),
    })
}

/// The status to show; none while a request to deploy waits for the end of the generation before.
fn status(entry: &Entry, record: &RecordState) -> Option<Status> {
    let status = match &entry.state {
        State::Launching { cancelled, .. } => match cancelled {
            Some(Outcome::Destroyed) => Status::Destroying,
            Some(Outcome::Failed) | None => Status::Deploying,
        },
        State::Reporting { misses: Some(_), .. } | State::Deployed { .. } => Status::Deployed,
        State::Accepting
        | State::Joining { .. }
        | State::Deploying { .. }
        | State::Reporting { .. }
        | State::Resuming { .. }
        | State::Moving { .. }
        | State::Waiting { .. }
        | State::Replacing { .. } => Status::Deploying,
        State::Pausing { .. } | State::Stopping { .. } => Status::Pausing,
        State::Paused { .. } => Status::Paused,
        State::Draining { outcome, .. } | State::Terminating { outcome, .. } => match outcome {
            // What answered once is no longer to be relied on, and no longer being deployed.
            Outcome::Failed if entry.attested.is_none() => Status::Deploying,
            Outcome::Destroyed | Outcome::Failed => Status::Destroying,
        },
        State::Ended { outcome: Outcome::Destroyed, .. } => Status::Destroyed,
        State::Refusing | State::Ended { outcome: Outcome::Failed, .. } => Status::Failed,
    };
    let is_ending = matches!(
        &entry.state,
        State::Draining { .. }
            | State::Terminating { .. }
            | State::Launching { cancelled: Some(_), .. }
    );
    let is_pausing = matches!(&entry.state, State::Pausing { .. } | State::Stopping { .. });
    let waits = match record.request.status {
        Ok(Status::PendingDeploy) => is_ending || is_pausing,
        Ok(Status::Resuming) => is_pausing,
        _ => false,
    };
    (!waits).then_some(status)
}

fn projection(entry: &Entry, view: &View<'_>) -> Projection {
    let assignment = view.assignment(entry);
    let deployment = deployment(entry, assignment, view);
    let is_live = !matches!(entry.state, State::Ended { .. });
    let mut projection = Projection {
        phase: phase(entry, assignment).to_owned(),
        generation: entry.generation,
        instance_id: deployment.instance_id.clone(),
        deployment,
        error: None,
        error_message: None,
        error_type: None,
        attestation: entry
            .attested
            .as_ref()
            .filter(|_| is_live)
            .map(|attested| attestation(entry, attested)),
    };
    let is_destroyed = matches!(entry.state, State::Ended { outcome: Outcome::Destroyed, .. });
    let failure = entry.failure.as_ref().or(entry.refused.as_ref()).filter(|_| !is_destroyed);
    projection.set_error(failure);
    projection
}

fn phase(entry: &Entry, assignment: Option<&ObservedAssignment>) -> &'static str {
    match (&entry.state, assignment.map(|assignment| assignment.phase)) {
        (State::Deploying { nonce, restarts, .. }, _) if *restarts > 0 && nonce.sequence > 1 => {
            "REATTESTING"
        }
        // The agent is content; the coordinator has not judged yet.
        (State::Deploying { .. }, Some(HostPhase::Running)) => "VERIFYING",
        (State::Deploying { .. }, Some(phase)) if phase > HostPhase::Accepted => phase.as_str(),
        _ => entry.phase(),
    }
}

fn deployment(
    entry: &Entry,
    assignment: Option<&ObservedAssignment>,
    view: &View<'_>,
) -> Deployment {
    let host: Option<&Host> = match &entry.state {
        State::Ended { host, .. } => host.as_ref(),
        state => state.host(),
    };
    let promoted = entry.spec.as_ref().filter(|spec| spec.promoted_because.is_some());
    let mut phases = entry.entered.clone();
    for (phase, at) in assignment.into_iter().flat_map(host_phases) {
        phases.entry(phase.as_str().to_owned()).or_insert(at);
    }
    let promotion = promoted.and_then(|spec| spec.promoted_because.clone());
    let edited = edited(entry, view).then(|| EDITED.to_owned());
    Deployment {
        host: host.map(|host| host.instance_arn.clone()),
        instance_id: host.map(|host| host.instance_id.clone()),
        shared_host: host.and_then(|host| host.slot.as_ref()).map(ToString::to_string),
        instance_type: entry.spec.as_ref().map(|spec| spec.instance_type.to_string()),
        requested_instance_type: promoted.map(|spec| spec.configuration.instance_type.to_string()),
        availability_zone: host.map(|host| host.availability_zone.clone()),
        parent_image: view.observed.and_then(|observed| observed.parent_image.clone()),
        enclave_cid: assignment.and_then(|a| a.enclave.as_ref()).map(|enclave| enclave.cid),
        restarts: assignment.map(|a| a.restarts).filter(|restarts| *restarts > 0),
        health: assignment.and_then(|a| a.health.as_ref()).map(HealthView::from),
        phases: phase_times(&phases),
        progress: progress(entry, assignment, view),
        warnings: promotion
            .into_iter()
            .chain(edited)
            .chain(refused_places(entry))
            .chain(degraded(entry))
            .chain(entry.announced().map(|said| said.text.clone()))
            .chain(overdue(entry))
            .chain(unheard_of(entry, view))
            .chain(view.retrying.map(str::to_owned))
            .collect(),
    }
}

/// Where EC2 had no capacity, while another place is tried.
fn refused_places(entry: &Entry) -> Option<String> {
    if let State::Waiting { why, until } = &entry.state {
        return Some(format!("{}; tried again at {until}", why.message));
    }
    let (tried, next) = match &entry.state {
        State::Launching { tried, intent, .. } => (tried, intent.place().to_string()),
        State::Joining { tried, .. } => (tried, "another shared host".to_owned()),
        _ => return None,
    };
    let refused: Vec<_> = tried.iter().map(ToString::to_string).collect();
    (!tried.is_empty()).then(|| format!("{}; trying {next}", refused.join("; ")))
}

/// How long an agent may be silent before its record says so; it writes every five seconds.
const SILENCE: Duration = Duration::from_mins(1);

/// What a record says whose host's agent is silent. The enclave may be well: only EC2's word, or
/// failing to attest again, ends it.
fn unheard_of(entry: &Entry, view: &View<'_>) -> Option<String> {
    entry.state.host()?;
    let last = view.beat?.at;
    (view.now.since(last) >= SILENCE).then(|| format!("the agent was last heard of at {last}"))
}

/// What a record says whose enclave should have ended long ago.
fn overdue(entry: &Entry) -> Option<String> {
    entry.is_overdue().then(|| "its end takes too long, and is tried on".to_owned())
}

/// What a record says whose enclave fails to attest again.
fn degraded(entry: &Entry) -> Option<String> {
    let State::Deployed { renewal, .. } = &entry.state else { return None };
    let Renewal { misses, reason: Some(reason), .. } = renewal else { return None };
    Some(format!("failed to attest again {misses} times in a row: {reason}"))
}

/// What a record says whose configuration was edited without a request.
const EDITED: &str = "the record's configuration is not the one that runs; to change it, destroy \
    the enclave and deploy it again";

/// Whether the record's configuration is another one than that of the live enclave.
fn edited(entry: &Entry, view: &View<'_>) -> bool {
    let accepted = entry.spec.as_ref().map(|spec| &spec.configuration);
    let written = view.record.and_then(|record| record.request.configuration.as_ref().ok());
    matches!(entry.state, State::Deployed { .. }) && written.is_some() && written != accepted
}

fn progress(
    entry: &Entry,
    assignment: Option<&ObservedAssignment>,
    view: &View<'_>,
) -> Option<ProgressView> {
    assignment.filter(|assignment| assignment.phase == HostPhase::Fetching)?;
    let of_this = view.beat?.progress.iter().find(|progress| {
        progress.enclave_id == entry.id && progress.generation == entry.generation
    });
    of_this.map(ProgressView::from)
}

fn attestation(entry: &Entry, attested: &Attested) -> AttestationView {
    AttestationView {
        verdict: attested.verdict,
        pcrs: attested.pcrs.clone(),
        pcr_source: attested.pcr_source,
        verified_at: attested.verified_at.to_string(),
        report: attested.report.clone(),
        chain_head: entry.chain.as_ref().map(|head| head.sha256.clone()),
    }
}

/// The host's phases that the record lists beside the ledger's own states.
pub(crate) fn host_phases(
    assignment: &ObservedAssignment,
) -> impl Iterator<Item = (HostPhase, UnixMillis)> {
    let listed = |phase: HostPhase| (HostPhase::Fetching..=HostPhase::Attesting).contains(&phase);
    assignment.entered.iter().map(|(phase, at)| (*phase, *at)).filter(move |(p, _)| listed(*p))
}

/// Whether the record already holds exactly this projection.
fn shows(attributes: &Map<String, Value>, projection: &Projection) -> bool {
    let Ok(Value::Object(wanted)) = serde_json::to_value(projection) else { return false };
    let holds = wanted.iter().all(|(name, value)| attributes.get(name) == Some(value));
    let stale = Projection::OPTIONAL
        .iter()
        .any(|name| !wanted.contains_key(*name) && attributes.contains_key(*name));
    holds && !stale
}
