//! The single next step.

use crate::{
    config::Config,
    judge::judge,
    launch::{LaunchIntent, Place, Tried, next_place},
    ledger::{Entry, Host, Incarnation, Judgement, OVERDUE, Outcome, Renewal, State},
    manifest::{manifest_of, wants_manifest},
    outcome::{self, noticed},
    project::{Projected, projected},
    requests::{end, next_desired, retaken, take},
    shared::{self, Joined, is_released, join, joined, shares},
    spare::{Claim, claim},
    view::{InstanceState, RecordState, View},
};
use bailey_model::{
    Base64Bytes, S3Location, Status, UnixMillis,
    failure::{Failure, FailureCode},
    hosts::{Announcement, Assignment, Desired, EifSource, HostPhase, Nonce, ObservedAssignment},
    record::RestartPolicy,
};
use std::time::Duration;

/// The single next step for one enclave id.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub enum Step {
    /// Write the entry and the slot together, if the versions of both are still those read.
    Claim(Box<Claim>),
    /// Call `RunInstances` with the intent's request; feed the answer to
    /// [`crate::outcome::launched`] or [`crate::outcome::launch_refused`].
    Launch(LaunchIntent),
    /// Write the record, on condition that its status is still the one read.
    Project(Projected),
    /// Read the signed manifest at this location; then [`crate::outcome::manifest_read`].
    ReadManifest(S3Location),
    /// Write the entry, on condition that its version is still the one read.
    Save(Box<Entry>),
    /// Call `StartInstances`; feed the answer to [`crate::outcome::started`] or
    /// [`crate::outcome::start_refused`].
    Start(Host),
    /// Call `StopInstances`, or `TerminateInstances` for an instance that cannot be stopped, and remove
    /// the host's items; then [`crate::outcome::stopped`].
    Stop(Host),
    /// Store the report unless it is there; then [`crate::outcome::report_stored`].
    StoreReport(Judgement),
    /// Call `TerminateInstances` and remove the host's items; when EC2 says that the instance is
    /// shutting down, terminated or unknown, [`crate::outcome::terminated`].
    Terminate(Host),
    /// Nothing to do until something changes, or until the given time.
    Wait(Option<UnixMillis>),
    /// Write the host's `desired` item unless a newer one is there.
    WriteDesired {
        /// Whose.
        instance_arn: String,
        /// What it should run.
        desired: Desired,
    },
}

/// How often a fetch's progress is shown in the record.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// Decides the single next step.
///
/// Requests come first, then the record's status is brought up to date, then the lifecycle moves on:
/// so a request never waits for a slow step. What else the record shows is written before a wait, or
/// when a step has to be tried again: a write for each state that is passed through in a moment would
/// show nobody anything.
pub fn next_step(view: &View<'_>, config: &Config) -> Step {
    if let Some(entry) = take(view, config) {
        return save(entry);
    }
    let Some(entry) = view.entry else { return Step::Wait(None) };
    let view = &View { instance: shared::instance(entry, view), ..view.clone() };
    if let Some(told) = announced(entry, view) {
        return save(told);
    }
    let record = view.record.filter(|_| !view.unwritable);
    let Some(outdated) = record.and_then(|record| projected(entry, record, view)) else {
        return going_on(entry, view, config);
    };
    if outdated.changes_status() || is_being_tried_again(entry, view) {
        return Step::Project(outdated);
    }
    match going_on(entry, view, config) {
        Step::Wait(_) => Step::Project(outdated),
        step => step,
    }
}

/// The entry with what its host heard of EC2, unless EC2 itself has said as much about the instance.
fn announced(entry: &Entry, view: &View<'_>) -> Option<Entry> {
    let host = entry.state.host()?;
    // What it heard before its instance was stopped and started again is over.
    let observed = view.observed.filter(|it| it.desired_version >= host.desired_version)?;
    let heard = observed.announcement()?;
    if entry.announced().is_some_and(|known| known.takes_away || !heard.takes_away) {
        return None;
    }
    // In the host's words, and said to be so: a parent may put there what it likes, and at most ends
    // its own enclaves by it, a few times.
    let said = Announcement { text: format!("its host says: {}", heard.text), ..heard };
    noticed(entry, &host.instance_id, &said, view.now)
}

/// Whether the next step is not the first attempt at what it does.
fn is_being_tried_again(entry: &Entry, view: &View<'_>) -> bool {
    let elsewhere = matches!(&entry.state,
        State::Launching { tried, .. } | State::Joining { tried, .. } if !tried.is_empty());
    elsewhere || view.retrying.is_some()
}

/// The step that the entry calls for, whatever the record shows.
fn going_on(entry: &Entry, view: &View<'_>, config: &Config) -> Step {
    match (act(entry, view, config), &entry.unstored) {
        (Step::Wait(_), Some(judgement)) => Step::StoreReport(Judgement::clone(judgement)),
        // One judgement waits at most.
        (Step::Save(next), Some(judgement)) if matches!(next.state, State::Reporting { .. }) => {
            Step::StoreReport(Judgement::clone(judgement))
        }
        (Step::Wait(until), None) => {
            Step::Wait(sooner(until, absence_ends(entry, view.now, config)))
        }
        (step, _) => step,
    }
}

/// The entry with a note that its end takes too long; none when it does not, or the note is there. There
/// is nothing to fall back to: it is tried on, and people are told.
fn overdue(entry: &Entry, now: UnixMillis, config: &Config) -> Option<Entry> {
    let since = entry.ending_since()?;
    if now < since.plus(config.destroy_timeout) || entry.is_overdue() {
        return None;
    }
    let mut next = entry.clone();
    next.note(now, format!("{OVERDUE}: not ended within {} s", config.destroy_timeout.as_secs()));
    Some(next)
}

fn absence_ends(entry: &Entry, now: UnixMillis, config: &Config) -> Option<UnixMillis> {
    let ends = entry.absent_since?.plus(config.absence_grace);
    (entry.is_active() && ends > now).then_some(ends)
}

fn act(entry: &Entry, view: &View<'_>, config: &Config) -> Step {
    let now = view.now;
    if let Some(told) = overdue(entry, now, config) {
        return save(told);
    }
    match &entry.state {
        State::Accepting | State::Refusing if is_unacknowledged(view.record) => Step::Wait(None),
        State::Accepting => accepting(entry, view, config),
        State::Refusing => {
            save(entry.moved(State::Ended { outcome: Outcome::Failed, host: None }, now))
        }
        State::Launching { intent, cancelled, .. } => {
            launching(entry, intent, *cancelled, now, config)
        }
        State::Joining { seat, tried } => joining(entry, seat.is_some(), tried, view, config),
        State::Deploying { host, nonce, since, restarts } => deploying(
            entry,
            &Waiting { host, nonce, since: *since, restarts: *restarts },
            view,
            config,
        ),
        State::Reporting { host, judgement, since, .. } => {
            reporting(entry, host, judgement, *since, view, config)
        }
        State::Deployed { host, sequence, incarnation, renewal } => {
            let running = Running { host, sequence: *sequence, incarnation, renewal };
            deployed(entry, &running, view, config)
        }
        State::Pausing { host, since } => {
            let then = State::Stopping { host: host.clone() };
            once_drained(entry, host, *since, then, view, config)
        }
        State::Stopping { host } if host.slot.is_some() => {
            once_released(entry, host, view, || outcome::stopped(entry, now))
        }
        State::Stopping { host } => Step::Stop(host.clone()),
        State::Resuming { host } => resuming(entry, host, view, config),
        State::Moving { host, since } => {
            let then = State::Replacing { host: host.clone() };
            once_drained(entry, host, *since, then, view, config)
        }
        State::Waiting { why, until } => waiting(entry, why, *until, view, config),
        State::Draining { host, outcome, since } => {
            draining(entry, host, *outcome, *since, view, config)
        }
        State::Replacing { host } | State::Terminating { host, .. } if host.slot.is_some() => {
            once_released(entry, host, view, || outcome::terminated(entry, config, view.short, now))
        }
        State::Replacing { host } | State::Terminating { host, .. } => {
            Step::Terminate(host.clone())
        }
        // A start that was asked for before the last pause may have come late.
        State::Paused { host }
            if host.slot.is_none() && view.instance.is_some_and(|state| !state.is_gone()) =>
        {
            save(entry.moved(State::Stopping { host: host.clone() }, now))
        }
        State::Paused { .. } | State::Ended { .. } => Step::Wait(None),
    }
}

fn accepting(entry: &Entry, view: &View<'_>, config: &Config) -> Step {
    let now = view.now;
    // The web app may have written another configuration just before the acknowledgement.
    if let Some(again) = view.record.and_then(|record| retaken(entry, record, config, now)) {
        return save(again);
    }
    match &entry.spec {
        Some(_) if now >= entry.accepted_at.plus(config.deploy_timeout) => {
            save(failed(entry, deploy_timeout(config, now), now))
        }
        Some(spec) if entry.manifest.is_none() && wants_manifest(spec, config) => {
            Step::ReadManifest(manifest_of(&spec.configuration.eif_path))
        }
        Some(spec) if shares(spec, config) => joining(entry, false, &[], view, config),
        Some(spec) => match claim(entry, spec, view.spares, view.fresh, config, now) {
            Some(claim) => Step::Claim(Box::new(claim)),
            None => save(launch(entry, Vec::new(), config, view.short, now)),
        },
        None => save(entry.moved(State::Refusing, now)),
    }
}

/// Joins a shared host, and goes on when it is there.
fn joining(
    entry: &Entry,
    has_seat: bool,
    tried: &[Tried],
    view: &View<'_>,
    config: &Config,
) -> Step {
    let now = view.now;
    let deadline = entry.accepted_at.plus(config.deploy_timeout);
    if now >= deadline {
        return save(failed(entry, deploy_timeout(config, now), now));
    }
    let again = |tried: Vec<Tried>| {
        let mut next = entry.clone();
        next.state = State::Joining { seat: None, tried };
        save(next)
    };
    if !has_seat {
        let spec = entry.spec.as_ref();
        let claim = spec.and_then(|spec| join(entry, spec, tried.to_vec(), view, config));
        return claim.map_or_else(
            || save(nowhere(entry, tried, now)),
            |claim| Step::Claim(Box::new(claim)),
        );
    }
    match joined(entry, view.slot) {
        Joined::NotYet => Step::Wait(Some(deadline)),
        Joined::Lost => again(tried.to_vec()),
        Joined::Refused(place, refused) => {
            let places = entry.spec.as_ref().map_or(0, |spec| spec.places.len());
            if refused.is_short() && places > 1 {
                return again(tried.iter().cloned().chain([place]).collect());
            }
            if refused.is_short() && waits(entry) {
                return save(shortage(entry, refused.failure(now), now));
            }
            save(failed(entry, refused.failure(now), now))
        }
        Joined::Host(host) => {
            // Deadlines count from here; the instance may have run for a while.
            let host = Host { launched_at: now, ..host.clone() };
            let nonce = outcome::next_nonce(entry, view.fresh, now);
            let since = entry.accepted_at;
            save(entry.moved(State::Deploying { host, nonce, since, restarts: 0 }, now))
        }
    }
}

/// Waits until nothing of the entry's enclave is left on its shared host, and goes on.
fn once_released(
    entry: &Entry,
    host: &Host,
    view: &View<'_>,
    then: impl FnOnce() -> Entry,
) -> Step {
    if is_released(entry, host, view) { save(then()) } else { Step::Wait(None) }
}

/// Whether an enclave waits for a place when EC2 has none: one that is to run always, and ran before. A
/// first deploy fails at once, so that whoever asked for it can ask for something else.
pub(crate) fn waits(entry: &Entry) -> bool {
    runs_always(entry) && entry.entered.contains_key(RUNNING)
}

fn runs_always(entry: &Entry) -> bool {
    entry.configuration().is_some_and(|it| it.restart == RestartPolicy::Always)
}

/// The name of [`State::Deployed`].
const RUNNING: &str = "RUNNING";

/// How long a place is waited for before it is tried again.
const SHORTAGE_PAUSE: Duration = Duration::from_mins(1);

/// The entry that waits for a place.
pub(crate) fn shortage(entry: &Entry, why: Failure, now: UnixMillis) -> Entry {
    let mut next = entry.clone();
    next.note(now, format!("{}: {}", why.code, why.message));
    next.moved(State::Waiting { why, until: now.plus(SHORTAGE_PAUSE) }, now)
}

fn waiting(
    entry: &Entry,
    why: &Failure,
    until: UnixMillis,
    view: &View<'_>,
    config: &Config,
) -> Step {
    let now = view.now;
    let deadline = entry.accepted_at.plus(config.deploy_timeout);
    if now >= deadline {
        return save(failed(entry, Failure { at: now, ..why.clone() }, now));
    }
    if now >= until {
        return save(outcome::placed_anew(entry, config, view.short, now));
    }
    Step::Wait(Some(until.min(deadline)))
}

/// The entry of which EC2 refused every place; no instance is left of any intent.
fn nowhere(entry: &Entry, tried: &[Tried], now: UnixMillis) -> Entry {
    let places: Vec<_> = tried.iter().map(ToString::to_string).collect();
    let message = match places.as_slice() {
        [] => "none of the zones that were accepted has a subnet any more".to_owned(),
        places => format!("EC2 refused every place: {}", places.join("; ")),
    };
    let failure = Failure::new(FailureCode::CapacityUnavailable, message, now);
    if waits(entry) {
        return shortage(entry, failure, now);
    }
    let mut next = entry.clone();
    next.note(now, format!("{}: {}", failure.code, failure.message));
    next.failure = Some(failure);
    next.moved(State::Ended { outcome: Outcome::Failed, host: None }, now)
}

/// The entry with the intent to launch at the next place; `FAILED` when every place was tried. No
/// instance may be left of an earlier intent.
pub(crate) fn launch(
    entry: &Entry,
    tried: Vec<Tried>,
    config: &Config,
    short: &[Place],
    now: UnixMillis,
) -> Entry {
    let place = entry.spec.as_ref().and_then(|spec| next_place(spec, &tried, config, short));
    let Some(place) = place else { return nowhere(entry, &tried, now) };
    let intent = LaunchIntent::new(entry, place, config, now);
    let mut next = entry.clone();
    next.attempts = next.attempts.saturating_add(1);
    if let Some(refused) = tried.last() {
        next.note(now, format!("{refused}; trying {place}"));
    }
    let state = State::Launching { intent, cancelled: None, tried };
    if matches!(entry.state, State::Launching { .. }) {
        next.state = state;
        return next;
    }
    next.moved(state, now)
}

/// Whether the record still shows the request that was just taken.
fn is_unacknowledged(record: Option<&RecordState>) -> bool {
    record.is_none_or(|record| record.request.status == Ok(Status::PendingDeploy))
}

fn launching(
    entry: &Entry,
    intent: &LaunchIntent,
    cancelled: Option<Outcome>,
    now: UnixMillis,
    config: &Config,
) -> Step {
    let deadline = entry.accepted_at.plus(config.deploy_timeout);
    if cancelled.is_none() && now >= deadline {
        return save(failed(entry, deploy_timeout(config, now), now));
    }
    // Also when cancelled: only its answer tells whether there is an instance to terminate, and
    // a token that was used can start nothing later.
    Step::Launch(intent.clone())
}

/// The fields of [`State::Deploying`].
struct Waiting<'a> {
    host: &'a Host,
    nonce: &'a Nonce,
    since: UnixMillis,
    restarts: u32,
}

fn deploying(entry: &Entry, waiting: &Waiting<'_>, view: &View<'_>, config: &Config) -> Step {
    let Waiting { host, nonce, since, restarts } = *waiting;
    let now = view.now;
    let deadline = since.plus(config.deploy_timeout);
    let host_deadline = host.launched_at.plus(config.host_timeout);
    let nonce_ends = nonce.issued_at.plus(config.nonce_ttl);
    let assignment = view.assignment(entry);
    let fail = |failure| save(failed(&with_host_phases(entry, assignment), failure, now));
    if let Some(failure) = lost(view.instance, host, now) {
        let entry = with_host_phases(entry, assignment);
        return save(gone_on(&entry, nonce.sequence, host, view, failure));
    }
    if let Some(failure) = assignment.and_then(|assignment| given_up(assignment, now)) {
        return fail(failure);
    }
    let answered = answer_to(assignment, nonce.sequence);
    let is_late = now >= nonce_ends;
    if is_late && answered.is_some() {
        // It was answered while no coordinator looked. That is not the enclave's fault: it gets
        // another nonce, and its time anew.
        return save(reissued(entry, waiting, view, now));
    }
    if now >= deadline {
        return fail(deploy_timeout(config, now));
    }
    // What a host reported while it was spare does not say that its agent still works.
    if is_first_try(entry) && assignment.is_none() && now >= host_deadline {
        let mut next = entry.clone();
        next.note(now, format!("the agent on {} does not take its work up", host.instance_id));
        return save(next.moved(State::Replacing { host: host.clone() }, now));
    }
    let is_unheard_of = view.observed.is_none() || (host.slot.is_some() && assignment.is_none());
    if is_unheard_of && now >= host_deadline {
        let seconds = config.host_timeout.as_secs();
        let message =
            format!("the agent on {} did not report within {seconds} s", host.instance_id);
        return fail(Failure::new(FailureCode::HostUnreachable, message, now));
    }
    if let Some((assignment, answer)) = answered {
        let judgement = judge(entry, host, nonce, assignment, &answer.document, view, config);
        let incarnation = Incarnation::of(assignment);
        let state = State::Reporting {
            host: host.clone(),
            judgement: Box::new(judgement),
            incarnation,
            since: now,
            misses: None,
        };
        return save(with_host_phases(entry, Some(assignment)).moved(state, now));
    }
    // A new start may have come after an answer that nobody looked at; it waits for a new nonce.
    if is_late || assignment.is_some_and(|assignment| assignment.restarts != restarts) {
        return save(reissued(entry, waiting, view, since));
    }
    if is_unwritten(host, view) {
        return write_desired(entry, host);
    }
    let progress = assignment
        .filter(|assignment| assignment.phase == HostPhase::Fetching)
        .map(|_| now.plus(PROGRESS_INTERVAL));
    let is_unheard_of = is_unheard_of || (is_first_try(entry) && assignment.is_none());
    let host_silent = is_unheard_of.then_some(host_deadline);
    Step::Wait(sooner(progress, sooner(host_silent, Some(deadline.min(nonce_ends)))))
}

fn reporting(
    entry: &Entry,
    host: &Host,
    judgement: &Judgement,
    since: UnixMillis,
    view: &View<'_>,
    config: &Config,
) -> Step {
    let now = view.now;
    if let Some(failure) = lost(view.instance, host, now) {
        return save(gone_on(entry, judgement.sequence, host, view, failure));
    }
    match &judgement.failure {
        // An enclave of which nothing is proven is not left running for want of a place for its
        // report.
        Some(failure) if now >= since.plus(config.drain_timeout) => {
            save(failed(entry, failure.clone(), now))
        }
        None if now >= since.plus(config.deploy_timeout) => {
            save(failed(entry, deploy_timeout(config, now), now))
        }
        _ => Step::StoreReport(judgement.clone()),
    }
}

/// The fields of [`State::Deployed`].
struct Running<'a> {
    host: &'a Host,
    sequence: u64,
    incarnation: &'a Incarnation,
    renewal: &'a Renewal,
}

fn deployed(entry: &Entry, running: &Running<'_>, view: &View<'_>, config: &Config) -> Step {
    let now = view.now;
    if let Some(failure) = lost(view.instance, running.host, now) {
        return save(gone_on(entry, running.sequence, running.host, view, failure));
    }
    let assignment = view.assignment(entry);
    if let Some(failure) = assignment.and_then(|assignment| given_up(assignment, now)) {
        return save(failed(entry, failure, now));
    }
    if let Some(assignment) = assignment.filter(|a| running.incarnation.is_over(a)) {
        return save(started_again(entry, running, assignment, view));
    }
    if leaves(entry, now) {
        return save(moved_away(entry, running, now));
    }
    match &running.renewal.nonce {
        None if now >= running.renewal.due => {
            save(asked_again(entry, running, running.renewal.clone(), view))
        }
        None => Step::Wait(Some(running.renewal.due)),
        Some(nonce) => renewing(entry, running, nonce, view, config),
    }
}

/// The entry of an enclave whose instance no longer runs, although nobody here asked for it.
///
/// One that was stopped is started again, unless the enclave is never to be restarted: somebody may
/// have stopped it, or a call of an earlier pause may have come late. One that is no more is replaced
/// when the enclave is to run always. Neither goes on for ever.
fn gone_on(entry: &Entry, sequence: u64, host: &Host, view: &View<'_>, failure: Failure) -> Entry {
    let now = view.now;
    let is_ended = view.instance.is_none_or(InstanceState::is_ended);
    let restart = entry.configuration().map_or(RestartPolicy::Never, |c| c.restart);
    let state = match restart {
        // A host that was spare may have been lost before it was taken.
        _ if is_ended && is_first_try(entry) => State::Replacing { host: host.clone() },
        _ if losses(entry, now) > MOST_LOSSES => return failed(entry, failure, now),
        // So may a shared one before it was joined.
        _ if is_ended && is_newcomer(entry, host, view) => State::Replacing { host: host.clone() },
        RestartPolicy::Always if is_ended => State::Replacing { host: host.clone() },
        RestartPolicy::Always | RestartPolicy::OnFailure if !is_ended => {
            State::Resuming { host: host.clone() }
        }
        _ => return failed(entry, failure, now),
    };
    let mut next = entry.clone();
    next.note(now, format!("{}: {}", failure.code, failure.message));
    next.attested = None;
    next.issued = sequence;
    // A launch counts by its intent.
    next.attempts = next.attempts.saturating_add(u32::from(!is_ended));
    next.losses = losses(entry, now);
    // Deadlines count anew.
    next.accepted_at = now;
    next.moved(state, now)
}

/// Whether an enclave that is to run always leaves its instance before AWS takes it away.
///
/// It does so at once, however far ahead the date is: the hardware fails, or two minutes are left. There
/// are never two enclaves, so it pauses for as long as a deploy takes; that is what the end of the
/// instance would bring as well, only later, and in the middle of whatever it does. When EC2 has no place
/// for it, it waits for one.
fn leaves(entry: &Entry, now: UnixMillis) -> bool {
    runs_always(entry)
        && losses(entry, now) <= MOST_LOSSES
        && entry.announced().is_some_and(|said| said.takes_away)
}

/// The entry of an enclave that leaves its instance.
fn moved_away(entry: &Entry, running: &Running<'_>, now: UnixMillis) -> Entry {
    let mut next = entry.clone();
    next.attested = None;
    next.issued = running.sequence;
    next.losses = losses(entry, now);
    // Deadlines count anew.
    next.accepted_at = now;
    next.moved(State::Moving { host: next_desired(running.host.clone()), since: now }, now)
}

/// Whether the entry has taken a spare host, and nothing came of it yet.
fn is_first_try(entry: &Entry) -> bool {
    entry.attempts == 0 && matches!(entry.state, State::Deploying { .. })
}

/// Whether the entry has joined a shared host, which has not said anything about it yet.
fn is_newcomer(entry: &Entry, host: &Host, view: &View<'_>) -> bool {
    let deploys = matches!(entry.state, State::Deploying { .. });
    host.slot.is_some() && deploys && view.assignment(entry).is_none()
}

/// How many instances one generation may lose, or leave, before another loss ends it.
const MOST_LOSSES: u32 = 9;
/// After so long without a loss they are counted anew.
const LOSSES_FORGOTTEN: Duration = Duration::from_hours(24);

/// How many instances the entry has lost with the present one. Since the last loss its deadlines count.
fn losses(entry: &Entry, now: UnixMillis) -> u32 {
    let is_long_ago = now.since(entry.accepted_at) >= LOSSES_FORGOTTEN;
    let before = if is_long_ago { 0 } else { entry.losses };
    before.saturating_add(1)
}

/// The entry of an enclave that is another one than the one that answered: nothing is proven of it
/// yet.
fn started_again(
    entry: &Entry,
    running: &Running<'_>,
    assignment: &ObservedAssignment,
    view: &View<'_>,
) -> Entry {
    let now = view.now;
    let mut next = entry.clone();
    next.note(now, "the enclave was started again and has to attest again");
    next.attested = None;
    next.state = State::Deploying {
        host: next_desired(running.host.clone()),
        nonce: nonce_after(running.sequence, view),
        since: now,
        restarts: assignment.restarts,
    };
    next
}

/// The entry with a new nonce outstanding for an enclave that runs.
fn asked_again(entry: &Entry, running: &Running<'_>, renewal: Renewal, view: &View<'_>) -> Entry {
    let nonce = nonce_after(running.sequence, view);
    let mut next = entry.clone();
    next.state = State::Deployed {
        host: next_desired(running.host.clone()),
        sequence: nonce.sequence,
        incarnation: running.incarnation.clone(),
        renewal: Renewal { nonce: Some(nonce), ..renewal },
    };
    next
}

fn renewing(
    entry: &Entry,
    running: &Running<'_>,
    nonce: &Nonce,
    view: &View<'_>,
    config: &Config,
) -> Step {
    let Running { host, renewal, .. } = *running;
    let now = view.now;
    let nonce_ends = nonce.issued_at.plus(config.nonce_ttl);
    let answered = answer_to(view.assignment(entry), nonce.sequence);
    match answered {
        // Answered while no coordinator looked: it is no miss, and gets another nonce.
        Some(_) if now >= nonce_ends => save(asked_again(entry, running, renewal.clone(), view)),
        Some((assignment, answer)) => {
            let judgement = judge(entry, host, nonce, assignment, &answer.document, view, config);
            let mut next = entry.clone();
            next.state = State::Reporting {
                host: host.clone(),
                judgement: Box::new(judgement),
                incarnation: running.incarnation.clone(),
                since: now,
                misses: Some(renewal.misses),
            };
            save(next)
        }
        None if now >= nonce_ends => {
            let seconds = config.nonce_ttl.as_secs();
            let reason = format!("no answer within {seconds} s");
            match missed(renewal.misses, &reason, config, now) {
                Ok(again) => {
                    let mut next = asked_again(entry, running, again, view);
                    next.note_miss(renewal.misses, &reason, now);
                    save(next)
                }
                Err(failure) => save(failed(entry, failure, now)),
            }
        }
        None if is_unwritten(host, view) => write_desired(entry, host),
        None => Step::Wait(Some(nonce_ends)),
    }
}

/// How it goes on after one more failure to attest again: degraded, or not at all.
pub(crate) fn missed(
    misses: u32,
    reason: &str,
    config: &Config,
    now: UnixMillis,
) -> Result<Renewal, Failure> {
    let misses = misses.saturating_add(1);
    if misses > config.reattest_misses {
        let message =
            format!("the enclave failed to attest again {misses} times in a row: {reason}");
        return Err(Failure::new(FailureCode::AttestationUnavailable, message, now));
    }
    Ok(Renewal { due: now, nonce: None, misses, reason: Some(reason.to_owned()) })
}

fn draining(
    entry: &Entry,
    host: &Host,
    outcome: Outcome,
    since: UnixMillis,
    view: &View<'_>,
    config: &Config,
) -> Step {
    match drained(entry, host, since, view, config) {
        Drained::Done if host.slot.is_some() => {
            save(outcome::terminated(entry, config, view.short, view.now))
        }
        Drained::Done => Step::Terminate(host.clone()),
        Drained::TooLate(entry) => {
            let state = State::Terminating { host: host.clone(), outcome, since: view.now };
            save(entry.moved(state, view.now))
        }
        Drained::NotYet(step) => *step,
    }
}

/// Goes on to the state `then` when the host has ended what it ran, or was asked for long enough.
fn once_drained(
    entry: &Entry,
    host: &Host,
    since: UnixMillis,
    then: State,
    view: &View<'_>,
    config: &Config,
) -> Step {
    match drained(entry, host, since, view, config) {
        Drained::Done => save(entry.moved(then, view.now)),
        Drained::TooLate(entry) => save(entry.moved(then, view.now)),
        Drained::NotYet(step) => *step,
    }
}

/// Whether a host has ended what it ran.
enum Drained {
    /// Nothing runs there.
    Done,
    /// It took too long; the entry says so.
    TooLate(Box<Entry>),
    /// It is to be asked, or waited for.
    NotYet(Box<Step>),
}

fn resuming(entry: &Entry, host: &Host, view: &View<'_>, config: &Config) -> Step {
    let now = view.now;
    if now >= entry.accepted_at.plus(config.deploy_timeout) {
        return save(failed(entry, deploy_timeout(config, now), now));
    }
    if host.slot.is_some() {
        // Its place was given up.
        return save(outcome::placed_anew(entry, config, view.short, now));
    }
    Step::Start(host.clone())
}

/// Asks the host to end what it runs.
fn drained(
    entry: &Entry,
    host: &Host,
    since: UnixMillis,
    view: &View<'_>,
    config: &Config,
) -> Drained {
    let now = view.now;
    let deadline = since.plus(config.drain_timeout);
    let answered =
        view.observed.filter(|observed| observed.desired_version >= host.desired_version);
    let is_drained = answered.is_some_and(|observed| {
        observed.assignments.iter().all(|a| {
            a.enclave_id != entry.id || matches!(a.phase, HostPhase::Stopped | HostPhase::Failed)
        })
    });
    let is_gone = view.instance.is_some_and(InstanceState::is_gone);
    // A host whose agent was never heard of runs nothing that could be drained.
    if is_drained || is_gone || view.observed.is_none() {
        return Drained::Done;
    }
    if now >= deadline {
        let mut entry = entry.clone();
        let seconds = config.drain_timeout.as_secs();
        entry.note(now, format!("not drained within {seconds} s; ended all the same"));
        return Drained::TooLate(Box::new(entry));
    }
    let step = match desired(entry).filter(|_| is_unwritten(host, view)) {
        Some(desired) => Step::WriteDesired { instance_arn: host.instance_arn.clone(), desired },
        None => Step::Wait(Some(deadline)),
    };
    Drained::NotYet(Box::new(step))
}

/// Whether the host is still to be told what the entry calls for; a shared one is told together with every
/// save.
fn is_unwritten(host: &Host, view: &View<'_>) -> bool {
    if host.slot.is_some() {
        return false;
    }
    let seen = view.observed.map_or(0, |observed| observed.desired_version);
    view.desired_written.max(seen) < host.desired_version
}

/// The nonce that follows the one with this sequence.
fn nonce_after(sequence: u64, view: &View<'_>) -> Nonce {
    Nonce {
        bytes: Base64Bytes(view.fresh.to_vec()),
        issued_at: view.now,
        sequence: sequence.saturating_add(1),
    }
}

fn write_desired(entry: &Entry, host: &Host) -> Step {
    match desired(entry) {
        Some(desired) => Step::WriteDesired { instance_arn: host.instance_arn.clone(), desired },
        None => Step::Wait(None),
    }
}

/// What the entry's own host should run; none in the states in which it is not told anything.
#[must_use]
pub fn desired(entry: &Entry) -> Option<Desired> {
    let (host, nonce) = match &entry.state {
        State::Deploying { host, nonce, .. } => (host, Some(nonce)),
        State::Deployed { host, renewal, .. } => (host, Some(renewal.nonce.as_ref()?)),
        State::Draining { host, .. } | State::Pausing { host, .. } | State::Moving { host, .. } => {
            (host, None)
        }
        _ => return None,
    };
    if host.slot.is_some() {
        return None;
    }
    let assigned = nonce.and_then(|nonce| assignment(entry, nonce));
    Some(Desired {
        version: host.desired_version,
        drain: nonce.is_none(),
        assignments: assigned.into_iter().collect(),
        pool: None,
    })
}

/// What a host is told to run for the entry.
pub(crate) fn assignment(entry: &Entry, nonce: &Nonce) -> Option<Assignment> {
    let configuration = entry.configuration()?;
    let expected_pcrs = entry.expected_pcrs().map(|(pcrs, _)| pcrs).unwrap_or_default();
    Some(Assignment {
        enclave_id: entry.id.clone(),
        generation: entry.generation,
        eif: EifSource {
            location: configuration.eif_path.clone(),
            version_id: configuration.eif_version_id.clone(),
            sha384: entry.eif_sha384(),
        },
        cpu_count: configuration.cpu_count,
        memory_mib: configuration.memory_mib,
        debug: configuration.debug_mode,
        expected_pcrs,
        restart: configuration.restart,
        nonce: nonce.clone(),
        egress: configuration.egress.clone(),
        ingress: configuration.ingress.clone(),
    })
}

/// The entry with a new nonce in the place of one that nobody answered in time.
fn reissued(entry: &Entry, waiting: &Waiting<'_>, view: &View<'_>, since: UnixMillis) -> Entry {
    let nonce = nonce_after(waiting.nonce.sequence, view);
    let restarts = view.assignment(entry).map_or(waiting.restarts, |a| a.restarts);
    let host = next_desired(waiting.host.clone());
    let mut next = entry.clone();
    next.note(view.now, "the nonce expired unanswered; a new one is issued");
    next.state = State::Deploying { host, nonce, since, restarts };
    next
}

fn answer_to(
    assignment: Option<&ObservedAssignment>,
    sequence: u64,
) -> Option<(&ObservedAssignment, &bailey_model::hosts::Answer)> {
    let assignment = assignment?;
    let answer = assignment.answer.as_ref().filter(|answer| answer.sequence == sequence)?;
    Some((assignment, answer))
}

/// The host's reason to have given up, when it has.
fn given_up(assignment: &ObservedAssignment, now: UnixMillis) -> Option<Failure> {
    let unexplained =
        || Failure::new(FailureCode::EnclaveStopped, "the host gave up and does not say why", now);
    (assignment.phase == HostPhase::Failed)
        .then(|| assignment.failure.clone().unwrap_or_else(unexplained))
}

fn lost(instance: Option<InstanceState>, host: &Host, now: UnixMillis) -> Option<Failure> {
    instance.filter(|state| state.is_gone()).map(|state| {
        let message = format!(
            "instance {} is {} without having been asked to",
            host.instance_id,
            state.as_str()
        );
        Failure::new(FailureCode::HostLost, message, now)
    })
}

fn deploy_timeout(config: &Config, now: UnixMillis) -> Failure {
    let seconds = config.deploy_timeout.as_secs();
    let message = format!("no accepted attestation within {seconds} s");
    Failure::new(FailureCode::DeployTimeout, message, now)
}

/// The entry on its way to `FAILED`; the instance, if there is one, is terminated at once.
pub(crate) fn failed(entry: &Entry, failure: Failure, now: UnixMillis) -> Entry {
    let mut entry = entry.clone();
    entry.note(now, format!("{}: {}", failure.code, failure.message));
    entry.failure = Some(failure);
    let outcome = Outcome::Failed;
    match entry.state.host().cloned() {
        Some(host) => entry.moved(State::Terminating { host, outcome, since: now }, now),
        None => end(&entry, outcome, now).unwrap_or(entry),
    }
}

/// The entry with the times of the host's phases, which the host's items do not outlive.
fn with_host_phases(entry: &Entry, assignment: Option<&ObservedAssignment>) -> Entry {
    let mut entry = entry.clone();
    for (phase, at) in assignment.into_iter().flat_map(crate::project::host_phases) {
        entry.entered.entry(phase.as_str().to_owned()).or_insert(at);
    }
    entry
}

fn save(entry: Entry) -> Step {
    Step::Save(Box::new(entry))
}

fn sooner(a: Option<UnixMillis>, b: Option<UnixMillis>) -> Option<UnixMillis> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}
