//! The loop that keeps this host as the coordinator wants it.
//!
//! # Expected flow
//! Something happens (a desired state was read, a piece of work came out, the enclaves were listed,
//! a pause is over); the [`Host`] takes it in and says what to do; that is started and nothing is
//! waited for but the next thing to happen.
//!
//! # Guarantees
//! - The loop itself never waits for the network, nitro-cli or a disk full of image: a piece of work
//!   that hangs holds up its own assignment alone.
//! - What is remembered is on the disk before what follows from it is begun.
//! - Ending the loop leaves the enclaves running.

use crate::{
    assignment::WorkId,
    config::Pace,
    herald::{Herald, summary},
    host::{Host, Order, Outcome, Task},
    ports::{Cause, EnclaveInfo, Enclaves, HostsTable, Images, Responders, failure},
    state::StateDir,
    upkeep::{self, Complaint, ProgressSource},
    workload::Workloads,
};
use bailey_model::{
    UnixMillis,
    hosts::{Announcement, Answer, Desired, Observed},
};
use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    task::{AbortHandle, JoinError, JoinSet},
    time::{Instant, sleep_until, timeout},
};

/// How long the last report may take when the agent is asked to end.
const LAST_REPORT: Duration = Duration::from_secs(5);
/// Pauses are never longer, so that a jump of the clock cannot hold a restart up for long.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// Everything outside that the loop needs.
#[derive(Debug)]
pub struct Ports<T, I, E, R> {
    /// The hosts table.
    pub table: Arc<T>,
    /// The images.
    pub images: Arc<I>,
    /// The enclaves.
    pub enclaves: Arc<E>,
    /// The responders inside them.
    pub responders: Arc<R>,
    /// The service manager.
    pub herald: Herald,
    /// What EC2 has announced about the instance.
    pub announced: watch::Receiver<Option<Announcement>>,
    /// Who listens to the workloads.
    pub workloads: Workloads,
}

/// For a host about which nothing is ever announced.
#[must_use]
pub fn nothing_announced() -> watch::Receiver<Option<Announcement>> {
    watch::channel(None).1
}

impl<T, I, E, R> Clone for Ports<T, I, E, R> {
    fn clone(&self) -> Self {
        Self {
            table: Arc::clone(&self.table),
            images: Arc::clone(&self.images),
            enclaves: Arc::clone(&self.enclaves),
            responders: Arc::clone(&self.responders),
            herald: self.herald,
            announced: self.announced.clone(),
            workloads: self.workloads.clone(),
        }
    }
}

/// What every report says of the agent itself.
#[derive(Clone, Debug)]
pub struct About {
    /// Version of the agent.
    pub agent_version: String,
    /// The identity of the parent's image, where it has one.
    pub parent_image: Option<String>,
    /// The kernel's boot id.
    pub boot_id: String,
}

/// Why the loop ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// It was asked to; the enclaves go on.
    Asked,
    /// Nobody ever wanted anything of this host.
    Unassigned,
}

/// Keeps `host` as the table says until `shutdown` is done or nobody wants the host.
pub async fn supervise<T: HostsTable, I: Images, E: Enclaves, R: Responders>(
    ports: Ports<T, I, E, R>,
    host: Host,
    state: StateDir,
    about: About,
    pace: Pace,
    progress: impl ProgressSource,
    shutdown: impl Future<Output = ()>,
) -> Result<Ending, JoinError> {
    let (settled, settled_seen) = watch::channel(false);
    let (newest, to_report) = watch::channel(None);
    let (found, desired) = mpsc::channel(1);
    let mut upkeep = JoinSet::new();
    let table = || Arc::clone(&ports.table);
    upkeep.spawn(upkeep::follow(table(), pace, settled_seen, found));
    upkeep.spawn(upkeep::beat(table(), pace.beat, progress));
    let reporting = tokio::spawn(upkeep::report(table(), to_report));
    let supervisor = Supervisor {
        ports,
        host,
        state,
        about,
        pace,
        works: JoinSet::new(),
        handles: BTreeMap::new(),
        listing: false,
        list_at: Instant::now(),
        complaint: Complaint::default(),
        settled,
        newest,
        said: String::new(),
        alive_at: Instant::now(),
    };
    let ending = supervisor.run(desired, shutdown).await;
    upkeep.abort_all();
    if timeout(LAST_REPORT, reporting).await.is_err() {
        log::warn!("the last report could not be written");
    }
    ending
}

struct Supervisor<T, I, E, R> {
    ports: Ports<T, I, E, R>,
    host: Host,
    state: StateDir,
    about: About,
    pace: Pace,
    works: JoinSet<Done>,
    handles: BTreeMap<WorkId, AbortHandle>,
    /// Whether the enclaves are being listed.
    listing: bool,
    /// When they are listed next.
    list_at: Instant,
    complaint: Complaint,
    settled: watch::Sender<bool>,
    newest: watch::Sender<Option<Observed>>,
    /// What the service manager was last told.
    said: String,
    /// When it is next told that the loop goes round.
    alive_at: Instant,
}

/// What came of something that was begun.
enum Done {
    Work(WorkId, Outcome),
    Listed { mark: u64, listed: Result<Vec<EnclaveInfo>, String> },
}

impl<T: HostsTable, I: Images, E: Enclaves, R: Responders> Supervisor<T, I, E, R> {
    async fn run(
        mut self,
        mut desired: mpsc::Receiver<Desired>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<Ending, JoinError> {
        tokio::pin!(shutdown);
        let unassigned_at = Instant::now() + self.pace.unassigned;
        let mut ever_assigned = false;
        self.ports.herald.ready();
        loop {
            let pause_over = self.reconcile();
            self.tell_service_manager();
            tokio::select! {
                () = &mut shutdown => {
                    self.ports.herald.stopping();
                    return Ok(Ending::Asked);
                }
                () = sleep_until(self.alive_at), if self.ports.herald.period().is_some() => {}
                Some(desired) = desired.recv() => self.desire(desired),
                Some(done) = self.works.join_next() => self.done(done)?,
                () = sleep_until(self.list_at), if !self.listing => self.list(),
                () = changed(&mut self.ports.announced) => {}
                () = changed(&mut self.ports.workloads.findings) => self.hear(),
                () = sleep_until(pause_over) => {}
                () = sleep_until(unassigned_at), if !ever_assigned => {
                    if self.host.is_unassigned() {
                        return Ok(Ending::Unassigned);
                    }
                    ever_assigned = true;
                }
            }
        }
    }

    /// Tells the service manager that the loop goes round, and what the agent does when that changed.
    fn tell_service_manager(&mut self) {
        let now = Instant::now();
        if let Some(period) = self.ports.herald.period()
            && now >= self.alive_at
        {
            self.ports.herald.alive();
            self.alive_at = now + period;
        }
        let observed = self.newest.borrow().as_ref().map(|it| summary(Some(&it.assignments)));
        let text = observed.unwrap_or_else(|| summary(None));
        if text != self.said {
            self.ports.herald.status(&text);
            self.said = text;
        }
    }

    /// Begins what is to be done and tells what has changed; returns when to look again.
    fn reconcile(&mut self) -> Instant {
        let now = bailey_runtime::now();
        let orders = self.host.orders(now);
        self.state.save(&self.host);
        for order in orders {
            self.carry_out(order);
        }
        self.publish();
        let pause = self.host.wake_at(now).map(|instant| instant.since(now));
        Instant::now() + pause.unwrap_or(LONGEST_PAUSE).min(LONGEST_PAUSE)
    }

    fn carry_out(&mut self, order: Order) {
        match order {
            Order::Cancel(id) => {
                if let Some(handle) = self.handles.remove(&id) {
                    handle.abort();
                }
            }
            Order::Do(id, task) => {
                let ports = self.ports.clone();
                let work = async move { Done::Work(id, work(&ports, task).await) };
                self.handles.insert(id, self.works.spawn(work));
            }
        }
    }

    fn publish(&self) {
        let announced = self.ports.announced.borrow().clone();
        let observed = self.host.observed().map(|(desired_version, assignments)| Observed {
            agent_version: self.about.agent_version.clone(),
            parent_image: self.about.parent_image.clone(),
            boot_id: self.about.boot_id.clone(),
            desired_version,
            // Set when it is written, so that only what changed counts as a change.
            reported_at: UnixMillis::default(),
            announced: announced.as_ref().map(|said| said.text.clone()),
            is_taken_away: announced.is_some_and(|said| said.takes_away),
            assignments,
        });
        self.newest.send_if_modified(|newest| {
            let changed = observed.is_some() && *newest != observed;
            if changed {
                *newest = observed;
            }
            changed
        });
        let running = self.host.running();
        self.ports.workloads.running.send_if_modified(|was| {
            let changed = *was != running;
            *was = running;
            changed
        });
        let settled = self.host.is_settled();
        self.settled.send_if_modified(|was| std::mem::replace(was, settled) != settled);
    }

    fn hear(&mut self) {
        self.host.hear(&self.ports.workloads.findings.borrow_and_update());
    }

    fn desire(&mut self, desired: Desired) {
        let version = desired.version;
        if !self.host.desire(desired) {
            let seen = self.host.seen_version();
            log::warn!(version, seen = seen.unwrap_or_default(); "older desired state ignored");
        }
    }

    fn list(&mut self) {
        self.listing = true;
        let (mark, enclaves) = (self.host.mark(), Arc::clone(&self.ports.enclaves));
        self.works.spawn(async move {
            let listed = enclaves.list().await.map_err(|err| bailey_runtime::chain(&err));
            Done::Listed { mark, listed }
        });
    }

    fn done(&mut self, done: Result<Done, JoinError>) -> Result<(), JoinError> {
        match done {
            Ok(Done::Work(id, outcome)) => {
                self.handles.remove(&id);
                self.host.finish(id, outcome, bailey_runtime::now());
            }
            Ok(Done::Listed { mark, listed }) => self.listed(mark, listed),
            // What was cancelled is no longer anybody's concern. A panic ends the agent: it is
            // started again, and adopts what runs.
            Err(err) if err.is_cancelled() => {}
            Err(err) => return Err(err),
        }
        Ok(())
    }

    fn listed(&mut self, mark: u64, listed: Result<Vec<EnclaveInfo>, String>) {
        self.listing = false;
        self.list_at = Instant::now() + self.pace.inspect;
        match listed {
            Ok(enclaves) => {
                self.complaint.settle();
                // How an enclave ended that is not in the list may just have been told.
                self.hear();
                if !self.host.listed(mark, enclaves, bailey_runtime::now()) {
                    self.list_at = Instant::now();
                }
            }
            Err(reason) => {
                self.complaint.voice("enclaves not listed", &reason);
                self.host.not_listed();
            }
        }
    }
}

/// Waits until something else is told; for ever when nobody tells anything any more.
async fn changed<V>(told: &mut watch::Receiver<V>) {
    if told.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn work<T: HostsTable, I: Images, E: Enclaves, R: Responders>(
    ports: &Ports<T, I, E, R>,
    task: Task,
) -> Outcome {
    match task {
        Task::Fetch(order) => outcome(ports.images.fetch(order).await, Outcome::Fetched),
        Task::MakeRoom(order) => {
            outcome(ports.enclaves.make_room(order).await, |()| Outcome::Roomy)
        }
        Task::Start(order) => outcome(ports.enclaves.start(order).await, Outcome::Started),
        Task::End(name) => outcome(ports.enclaves.end(name).await, |()| Outcome::Ended),
        Task::Attest(order) => {
            let sequence = order.sequence;
            outcome(ports.responders.attest(order).await, |document| {
                Outcome::Attested(Answer { sequence, document: document.into() })
            })
        }
    }
}

fn outcome<V>(result: Result<V, impl Cause>, good: impl FnOnce(V) -> Outcome) -> Outcome {
    match result {
        Ok(value) => good(value),
        Err(err) => Outcome::Failed(failure(&err, bailey_runtime::now())),
    }
}

#[cfg(test)]
#[path = "supervisor_tests.rs"]
mod tests;
