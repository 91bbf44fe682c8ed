//! Carrying out the steps of one enclave id.

use crate::{
    ec2::{self, Ec2Error, LaunchAnswer, Switched},
    memory::{Memory, SentBefore},
    metrics::Metrics,
    notices::Notices,
    pace::Pace,
    pcr_log::PcrLog,
    shortages::Shortages,
    store::{
        HostView, Hosts, Images, Ledger, Look, ReadRecord, Records, Reports, StoreError, Written,
        WrittenTogether,
    },
    suspects::Suspects,
};
use bailey_lifecycle::{
    Config, InstanceState, Projected, RecordState, Step, View, desired,
    launch::{LaunchIntent, LaunchRefused, LaunchRequest, Launched},
    ledger::{Entry, Host, Judgement, State},
    next_step,
    orphan::{Claimed, Ownership, ownership},
    outcome, refuse_unusable,
    shared::{Seated, Together, seat, seated},
    spare::{Claim, Slot, SlotId, SlotState},
};
use bailey_model::{EnclaveId, S3Location, UnixMillis, hosts::Desired, record::RecordError};
use bailey_runtime::now;
use std::{sync::Arc, time::Duration};

/// Everything that steps are carried out with.
#[derive(Debug)]
pub struct Coordinator {
    /// The settings.
    pub config: Config,
    /// The web app's records.
    pub records: Records,
    /// The ledger.
    pub ledger: Ledger,
    /// The hosts table.
    pub hosts: Hosts,
    /// The images' buckets.
    pub images: Images,
    /// The reports' bucket.
    pub reports: Reports,
    /// EC2.
    pub ec2: ec2::Client,
    /// Where EC2 was short of capacity.
    pub shortages: Shortages,
    /// Instances that may belong to nobody.
    pub suspects: Suspects,
    /// Instances of enclaves that EC2 does not know.
    pub unknown: Suspects,
    /// How often EC2 is asked for all instances.
    pub looks: Pace,
    /// For how long either has to be so before it counts.
    pub grace: Duration,
    /// Figures for operators.
    pub metrics: Arc<Metrics>,
    /// Where what people should know goes.
    pub notices: Notices,
    /// Where accepted measurements are written for older readers, when anywhere.
    pub pcr_log: Option<PcrLog>,
    /// What this process remembers to spare calls; losing it costs nothing else.
    pub memory: Memory,
}

/// Why a step could not be carried out; it is tried again later.
#[derive(Debug, thiserror::Error)]
pub enum TickError {
    /// EC2 gave no usable answer.
    #[error(transparent)]
    Ec2(Ec2Error),
    /// The system has no randomness.
    #[error("the operating system gives no random bytes")]
    Randomness,
    /// The steps for one id do not come to an end; it is looked at again later.
    #[error("{STEP_LIMIT} steps in a row did not settle the record")]
    Restless,
    /// A table or the bucket gave no usable answer.
    #[error(transparent)]
    Store(StoreError),
    /// EC2 refused an intent that may have been sent before; it takes a while to be sure.
    #[error("RunInstances: {code}: {message}; waiting until EC2 would show an earlier launch")]
    Unconfirmed {
        /// EC2's error code.
        code: String,
        /// EC2's message.
        message: String,
    },
}

/// When to look at an id again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next {
    /// After this time.
    After(Duration),
    /// When something changes.
    OnChange,
}

/// A deploy takes about ten steps; ten times that means that something works against us.
const STEP_LIMIT: usize = 100;

/// How long `DescribeInstances` may lag behind a launch; AWS advises to allow minutes.
pub(crate) const DESCRIBE_LAG: Duration = Duration::from_mins(2);

/// How long to wait for somebody else's write.
const CONTENTION_PAUSE: Duration = Duration::from_millis(20);

/// How long to wait for the answer to another coordinator's launch of a shared host.
const SEAT_PAUSE: Duration = Duration::from_millis(200);

/// How long to wait for an instance that is between two states.
const SWITCH_PAUSE: Duration = Duration::from_secs(2);

/// What a tick has read; kept up to date by its own writes.
struct Seen {
    record: Option<RecordState>,
    entry: Option<Entry>,
    host: HostView,
    /// The slot on whose host the entry has a place; read after the entry.
    slot: Option<Slot>,
    /// The host that this very pass launched, of which nothing can have been written yet.
    launched: Option<String>,
    /// Why the record could not be written, when it could not; everything else went on.
    unwritten: Option<TickError>,
    /// Why the shared host that is waited for is not known yet, when its launch failed; requests are heeded
    /// all the same.
    unlaunched: Option<TickError>,
}

impl Coordinator {
    /// Takes the steps that are due for `id`, until there is nothing to do but wait.
    pub async fn tick(&self, id: &str) -> Result<Next, TickError> {
        for _ in 0..STEP_LIMIT {
            // Boxed, for it holds all that a step needs.
            match Box::pin(self.pass(id)).await {
                Ok(Some(next)) => return Ok(next),
                Ok(None) => {}
                // Whoever writes there will have written in a moment.
                Err(TickError::Store(StoreError::Contended { .. })) => {
                    tokio::time::sleep(CONTENTION_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
        Err(TickError::Restless)
    }

    /// Reads everything and takes steps until one needs everything read again (none), or there is
    /// nothing to do but wait.
    ///
    /// Everything is read as of one instant: a request that was answered meanwhile cannot be taken for
    /// a new one.
    async fn pass(&self, id: &str) -> Result<Option<Next>, TickError> {
        let Ok(enclave_id) = id.parse::<EnclaveId>() else {
            // It has no entry either.
            let record = self.records.read(id).await.map_err(TickError::Store)?;
            let ReadRecord::Unusable { error, status } = record else {
                return Ok(Some(Next::OnChange));
            };
            return self.refuse(id, &error, &status).await;
        };
        let id = enclave_id;
        let known = self.memory.host_of(&id);
        let tables = (&self.ledger, &self.records, &self.hosts);
        let Look { entry, record, host } =
            Look::at(tables, &id, known.as_deref()).await.map_err(TickError::Store)?;
        let record = match record {
            ReadRecord::Absent => None,
            ReadRecord::Usable(record) => Some(*record),
            ReadRecord::Unusable { error, status } => {
                return self.refuse(id.as_str(), &error, &status).await;
            }
        };
        let mut seen = Seen {
            record,
            entry,
            host,
            slot: None,
            launched: None,
            unwritten: None,
            unlaunched: None,
        };
        if let Some(entry) = &seen.entry {
            self.metrics.read(entry);
            self.notices.look_at(entry);
            let present = entry.state.host();
            self.memory.runs_on(&id, present);
            if present.map(|host| &host.instance_arn) != known.as_ref() {
                self.look_at_host(&mut seen).await?;
            }
            self.look_at_slot(&mut seen).await?;
        }
        for _ in 0..STEP_LIMIT {
            match self.step(&id, &mut seen).await? {
                Progress::Again => {}
                Progress::Outdated => return Ok(None),
                Progress::Settled(next) => {
                    let until = resting_until(seen.entry.as_ref(), next, now());
                    self.memory.set_rest(id.as_str(), until, now());
                    return seen.unwritten.map_or(Ok(Some(next)), Err);
                }
            }
        }
        Err(TickError::Restless)
    }

    async fn look_at_host(&self, seen: &mut Seen) -> Result<(), TickError> {
        let host = seen.entry.as_ref().and_then(|entry| entry.state.host());
        seen.host = match host {
            Some(host) => self.hosts.read(&host.instance_arn).await.map_err(TickError::Store)?,
            None => HostView::default(),
        };
        Ok(())
    }

    /// Reads the slot on whose host the entry has a place. Who waits for the host sees to it as well.
    async fn look_at_slot(&self, seen: &mut Seen) -> Result<(), TickError> {
        let slot = seen.entry.as_ref().and_then(seat).cloned();
        seen.slot = match slot {
            Some(id) => self.ledger.slot(&id).await.map_err(TickError::Store)?,
            None => None,
        };
        let waits = seen.entry.as_ref().is_some_and(|e| matches!(e.state, State::Joining { .. }));
        if let Some(Slot { id, state: SlotState::Launching { .. }, .. }) = &seen.slot
            && waits
        {
            match self.tend_shared(&id.clone()).await {
                Ok(slot) => seen.slot = slot,
                Err(error) => seen.unlaunched = Some(error),
            }
        }
        Ok(())
    }

    async fn refuse(
        &self,
        id: &str,
        error: &RecordError,
        status: &str,
    ) -> Result<Option<Next>, TickError> {
        let Some((result, failure)) = refuse_unusable(error, status, now()) else {
            return Ok(Some(Next::OnChange));
        };
        let written = self.records.refuse(id, status, result, &failure, now()).await;
        match written.map_err(TickError::Store)? {
            Written::Done(()) => Ok(Some(Next::OnChange)),
            Written::Outdated => Ok(None),
        }
    }

    async fn step(&self, id: &EnclaveId, seen: &mut Seen) -> Result<Progress, TickError> {
        let now = now();
        let retrying = self.memory.trouble(id.as_str());
        let instance = match &seen.entry {
            Some(entry) => self.instance(entry, now).await?,
            None => None,
        };
        let short = self.shortages.current(now);
        let spares = self.spares_for(seen.entry.as_ref()).await?;
        let arn = seen.entry.as_ref().and_then(|e| e.state.host()).map(|h| &h.instance_arn);
        let view = View {
            now,
            record: seen.record.as_ref(),
            entry: seen.entry.as_ref(),
            observed: seen.host.observed.as_ref(),
            beat: seen.host.beat.as_ref(),
            instance,
            desired_written: arn.map_or(0, |arn| self.memory.desired_written(arn)),
            fresh: fresh()?,
            short: &short,
            spares: &spares,
            slot: seen.slot.as_ref(),
            unwritable: seen.unwritten.is_some(),
            retrying: retrying.as_deref(),
        };
        match next_step(&view, &self.config) {
            Step::Wait(_) if is_being_launched(seen) => {
                let pause = Ok(Progress::Settled(Next::After(SEAT_PAUSE)));
                seen.unlaunched.take().map_or(pause, Err)
            }
            Step::Wait(until) => Ok(Progress::Settled(wait(until, now))),
            Step::Claim(claim) => self.claim(*claim, seen).await,
            Step::Save(entry) => self.save(*entry, seen).await,
            Step::Project(projected) => self.project(id, &projected, seen).await,
            Step::Launch(intent) => self.launch(&intent, seen).await,
            Step::WriteDesired { instance_arn, desired } => {
                self.hosts
                    .write_desired(&instance_arn, &desired)
                    .await
                    .map_err(TickError::Store)?;
                self.memory.desired_is_written(&instance_arn, desired.version);
                Ok(Progress::Again)
            }
            Step::Start(host) => self.start(&host, seen).await,
            Step::Stop(host) => self.stop(&host, seen).await,
            Step::ReadManifest(location) => self.read_manifest(&location, seen).await,
            Step::StoreReport(judgement) => self.store_report(&judgement, seen).await,
            Step::Terminate(host) => self.terminate(&host, seen).await,
        }
    }

    /// What EC2 says about the entry's instance.
    ///
    /// A host that should run and was stopped may have been started since EC2 was asked, by another
    /// coordinator even: only a fresh word counts, and none while EC2 may still lag behind a start.
    async fn instance(
        &self,
        entry: &Entry,
        now: UnixMillis,
    ) -> Result<Option<InstanceState>, TickError> {
        let Some(host) = entry.state.host() else { return Ok(None) };
        let known = self.memory.instance(&host.instance_id);
        let should_run = matches!(
            entry.state,
            State::Deploying { .. } | State::Reporting { .. } | State::Deployed { .. }
        );
        let is_stopped = known.is_some_and(|state| state.is_gone() && !state.is_ended());
        if !(should_run && is_stopped) {
            return Ok(known);
        }
        if now.since(host.launched_at) < DESCRIBE_LAG {
            return Ok(None);
        }
        let state = self.ec2.instance(&host.instance_id).await.map_err(TickError::Ec2)?;
        let state = state.unwrap_or(InstanceState::Terminated);
        self.memory.set_instance(&host.instance_id, state);
        Ok(Some(state))
    }

    /// The spare hosts that an entry may take, and the shared ones that it may join, when it is about to be
    /// launched.
    async fn spares_for(&self, entry: Option<&Entry>) -> Result<Vec<Slot>, TickError> {
        let looks = entry.is_some_and(|entry| match entry.state {
            State::Accepting => !self.config.spares.is_empty() || self.may_share(entry),
            State::Joining { seat: None, .. } => true,
            _ => false,
        });
        if !looks {
            return Ok(Vec::new());
        }
        let mut slots = Vec::new();
        for slot in self.ledger.slots().await.map_err(TickError::Store)? {
            let state = slot.host().and_then(|host| self.memory.instance(&host.instance_id));
            if !state.is_some_and(InstanceState::is_gone) {
                slots.push(slot);
            } else if slot.id.is_shared() {
                // Nobody is to join it, and its name is not free before it is emptied.
                slots.extend(self.tend_shared(&slot.id).await?);
            }
        }
        Ok(slots)
    }

    fn may_share(&self, entry: &Entry) -> bool {
        let asks = entry.spec.as_ref().is_some_and(|spec| spec.configuration.share_parent);
        asks && self.config.enclaves_per_parent > 1
    }

    /// Writes the entry with the host of a slot, the slot without it, and what the host is told; or the entry
    /// and the slot on which it has a place from now on.
    async fn claim(&self, claim: Claim, seen: &mut Seen) -> Result<Progress, TickError> {
        let Claim { entry, slot: claimed } = claim;
        let (_, slot) = self.ledger.slot_in_transaction(&claimed).map_err(TickError::Store)?;
        let mut others = vec![slot];
        let told = self.news_for_host(&entry, seen);
        if let Some((instance_arn, desired)) = &told {
            let told = self.hosts.desired_in_transaction(instance_arn, desired);
            others.push(told.map_err(TickError::Store)?);
        }
        match self.ledger.save_with(&entry, others).await.map_err(TickError::Store)? {
            WrittenTogether::Done(entry) => {
                if let Some((instance_arn, desired)) = told {
                    self.memory.desired_is_written(&instance_arn, desired.version);
                }
                if let SlotState::Launching { intent } = &claimed.state
                    && claimed.tenants.len() == 1
                {
                    self.memory.intent_is_new(&intent.request.client_token);
                }
                let progress = self.saved(entry, seen).await?;
                self.look_at_slot(seen).await?;
                Ok(progress)
            }
            // Whoever took it, or wrote here, was quicker: all is read again.
            WrittenTogether::Outdated | WrittenTogether::OthersOutdated => Ok(Progress::Outdated),
        }
    }

    /// Writes the entry, and with it what its host is told anew.
    async fn save(&self, entry: Entry, seen: &mut Seen) -> Result<Progress, TickError> {
        let entry = match &seen.entry {
            Some(before) => match seated(before, entry, seen.slot.as_ref()) {
                Seated::Alone(entry) => *entry,
                Seated::Together(together) => {
                    return Box::pin(self.save_with_slot(*together, seen)).await;
                }
            },
            None => entry,
        };
        if let Some((instance_arn, desired)) = self.news_for_host(&entry, seen) {
            let told = self.hosts.desired_in_transaction(&instance_arn, &desired);
            let told = vec![told.map_err(TickError::Store)?];
            let written = Box::pin(self.ledger.save_with(&entry, told)).await;
            let written = written.map_err(TickError::Store)?;
            // Whoever told the host something as new has done it for us.
            if written != WrittenTogether::Outdated {
                self.memory.desired_is_written(&instance_arn, desired.version);
            }
            match written {
                WrittenTogether::Done(entry) => return self.saved(entry, seen).await,
                WrittenTogether::Outdated => return Ok(Progress::Outdated),
                WrittenTogether::OthersOutdated => {}
            }
        }
        match self.ledger.save(&entry).await.map_err(TickError::Store)? {
            Written::Outdated => Ok(Progress::Outdated),
            Written::Done(entry) => self.saved(entry, seen).await,
        }
    }

    /// Writes the entry with the slot on which it has or had a place, and what the slot's host is told.
    async fn save_with_slot(
        &self,
        together: Together,
        seen: &mut Seen,
    ) -> Result<Progress, TickError> {
        let Together { entry, slot, told } = together;
        let (changed, slot) = self.ledger.slot_in_transaction(&slot).map_err(TickError::Store)?;
        let mut others = vec![slot];
        if let Some((instance_arn, desired)) = &told {
            let told = self.hosts.desired_in_transaction(instance_arn, desired);
            others.push(told.map_err(TickError::Store)?);
        }
        match self.ledger.save_with(&entry, others).await.map_err(TickError::Store)? {
            WrittenTogether::Done(entry) => {
                let stays = seat(&entry) == Some(&changed.id);
                let id = changed.id.clone();
                let is_left = changed.tenants.values().all(|tenant| tenant.leaving);
                seen.slot = stays.then_some(changed);
                let progress = self.saved(entry, seen).await?;
                if is_left {
                    self.end_left(&id).await;
                    self.look_at_slot(seen).await?;
                }
                Ok(progress)
            }
            // Another tenant was quicker.
            WrittenTogether::Outdated | WrittenTogether::OthersOutdated => Ok(Progress::Outdated),
        }
    }

    /// Sees to a host that nobody stays on; what cannot be done now is the sweep's.
    async fn end_left(&self, slot: &SlotId) {
        if let Err(error) = self.tend_shared(slot).await {
            let error = bailey_runtime::chain(&error);
            log::warn!(slot = slot.as_str(), error = error.as_str(); "a shared host is not ended yet");
        }
    }

    /// What the entry's host is to be told and has not been, as far as this process knows.
    fn news_for_host(&self, entry: &Entry, seen: &Seen) -> Option<(String, Desired)> {
        let arn = entry.state.host()?.instance_arn.clone();
        let desired = desired(entry)?;
        let told = seen.host.observed.as_ref().map_or(0, |observed| observed.desired_version);
        (desired.version > told.max(self.memory.desired_written(&arn))).then_some((arn, desired))
    }

    /// Writes the entry, and removes what was written for a host on which nothing runs any more.
    async fn save_without(
        &self,
        entry: Entry,
        host: &Host,
        seen: &mut Seen,
    ) -> Result<Progress, TickError> {
        let removed = self.hosts.removal_in_transaction(&host.instance_arn);
        let removed = removed.map_err(TickError::Store)?;
        match self.ledger.save_with(&entry, removed).await.map_err(TickError::Store)? {
            WrittenTogether::Done(entry) => {
                self.memory.forget(&host.instance_arn, &host.instance_id);
                seen.host = HostView::default();
                self.saved(entry, seen).await
            }
            WrittenTogether::Outdated | WrittenTogether::OthersOutdated => Ok(Progress::Outdated),
        }
    }

    async fn saved(&self, entry: Entry, seen: &mut Seen) -> Result<Progress, TickError> {
        let before = seen.entry.replace(entry);
        let Some(entry) = &seen.entry else { return Ok(Progress::Outdated) };
        log_change(before.as_ref(), entry);
        self.metrics.changed(before.as_ref(), entry);
        self.notices.look_at(entry);
        self.note_intent(before.as_ref(), entry);
        let arn = |entry: &Entry| entry.state.host().map(|host| host.instance_arn.clone());
        let has = arn(entry);
        self.memory.runs_on(&entry.id, entry.state.host());
        if before.as_ref().and_then(arn) != has {
            if let (Some(log), Some(_)) = (&self.pcr_log, &has) {
                log.prepare(&entry.id).await;
            }
            if has.is_some() && has == seen.launched {
                seen.host = HostView::default();
            } else {
                self.look_at_host(seen).await?;
            }
        }
        Ok(Progress::Again)
    }

    /// An intent that this process has just written was never sent before.
    fn note_intent(&self, before: Option<&Entry>, after: &Entry) {
        let token = |entry: &Entry| match &entry.state {
            State::Launching { intent, .. } => Some(intent.request.client_token.clone()),
            _ => None,
        };
        if let Some(new) = token(after)
            && before.and_then(token).as_ref() != Some(&new)
        {
            self.memory.intent_is_new(&new);
        }
    }

    async fn project(
        &self,
        id: &EnclaveId,
        projected: &Projected,
        seen: &mut Seen,
    ) -> Result<Progress, TickError> {
        let written = if projected.goes_with_entry() {
            self.project_with_entry(id, projected, seen).await
        } else {
            self.records.project(id, projected, now()).await
        };
        match written {
            Ok(Written::Done(ReadRecord::Usable(record))) => {
                seen.record = Some(*record);
                Ok(Progress::Again)
            }
            Ok(Written::Done(_) | Written::Outdated) => Ok(Progress::Outdated),
            Err(contended @ StoreError::Contended { .. }) => Err(TickError::Store(contended)),
            // A record that is full, or may not be written, must not keep its enclave running.
            Err(error) => {
                seen.unwritten = Some(TickError::Store(error));
                Ok(Progress::Again)
            }
        }
    }

    /// Writes the projection and the entry together, if neither changed since they were read.
    async fn project_with_entry(
        &self,
        id: &EnclaveId,
        projected: &Projected,
        seen: &mut Seen,
    ) -> Result<Written<ReadRecord>, StoreError> {
        let Some(entry) = &seen.entry else { return Ok(Written::Outdated) };
        let projection = self.records.projection_in_transaction(id, projected, now())?;
        match self.ledger.save_with(entry, vec![projection]).await? {
            WrittenTogether::Done(entry) => seen.entry = Some(entry),
            WrittenTogether::Outdated | WrittenTogether::OthersOutdated => {
                return Ok(Written::Outdated);
            }
        }
        self.records.read(id.as_str()).await.map(Written::Done)
    }

    async fn launch(&self, intent: &LaunchIntent, seen: &mut Seen) -> Result<Progress, TickError> {
        let (answer, is_first) = self.sent(intent).await?;
        let Some(entry) = &seen.entry else { return Ok(Progress::Outdated) };
        let id = entry.id.clone();
        let (next, launched) = match answer {
            LaunchAnswer::Launched(launched) => {
                seen.launched = is_first.then(|| launched.instance_arn.clone());
                (outcome::launched(entry, launched.clone(), fresh()?, now()), Some(launched))
            }
            LaunchAnswer::Refused(refused) => {
                if refused.is_short() {
                    self.shortages.note(intent.place(), now());
                }
                let short = self.shortages.current(now());
                (outcome::launch_refused(entry, &refused, &self.config, &short, now()), None)
            }
        };
        let progress = self.save(next, seen).await?;
        self.memory.answered(&intent.request.client_token);
        if let (Progress::Outdated, Some(launched)) = (&progress, launched) {
            self.disown(&id, intent, &launched).await?;
        }
        Ok(progress)
    }

    /// Terminates an instance whose launch was closed by another coordinator without it.
    async fn disown(
        &self,
        id: &EnclaveId,
        intent: &LaunchIntent,
        launched: &Launched,
    ) -> Result<(), TickError> {
        let entry = self.ledger.read(id).await.map_err(TickError::Store)?;
        let LaunchRequest { client_token, tags, .. } = &intent.request;
        let instance_id = launched.instance_id.as_str();
        let is_orphaned = Claimed::read(instance_id, client_token, tags).is_some_and(|claimed| {
            ownership(&claimed, entry.as_ref(), &self.config.deployment) == Ownership::Orphaned
        });
        if is_orphaned {
            log::warn!(enclave_id = id.as_str(), instance_id = instance_id; "instance of a closed launch is terminated");
            self.ec2.terminate(instance_id).await.map_err(TickError::Ec2)?;
        }
        Ok(())
    }

    /// Sends the intent, or looks for its instance when its token is too old to be sent.
    ///
    /// A refusal is believed when nothing can have been launched before: when this was certainly the
    /// first time, which is told as well, or when EC2 would by now show an instance of an earlier one,
    /// and shows none.
    pub(crate) async fn sent(
        &self,
        intent: &LaunchIntent,
    ) -> Result<(LaunchAnswer, bool), TickError> {
        let token = &intent.request.client_token;
        let (refused, before) = if intent.may_be_sent(now()) {
            let before = self.memory.send(token, now());
            match self.ec2.launch(&intent.request).await.map_err(TickError::Ec2)? {
                LaunchAnswer::Refused(refused) => {
                    self.memory.refused(token, before);
                    (refused, before)
                }
                launched @ LaunchAnswer::Launched(_) => {
                    return Ok((launched, before == SentBefore::Never));
                }
            }
        } else {
            let message = "RunInstances was not answered within the lifetime of its client token";
            let code = "ClientTokenExpired".to_owned();
            let refused = LaunchRefused { code, message: message.to_owned() };
            (refused, SentBefore::At(intent.decided_at))
        };
        let SentBefore::At(at) = before else {
            return Ok((LaunchAnswer::Refused(refused), true));
        };
        match self.ec2.launched_by(token).await.map_err(TickError::Ec2)? {
            Some(launched) => Ok((LaunchAnswer::Launched(launched), false)),
            None if now().since(at) >= DESCRIBE_LAG => Ok((LaunchAnswer::Refused(refused), false)),
            None => Err(TickError::Unconfirmed { code: refused.code, message: refused.message }),
        }
    }

    async fn read_manifest(
        &self,
        location: &S3Location,
        seen: &mut Seen,
    ) -> Result<Progress, TickError> {
        let found = self.images.manifest(location).await.map_err(TickError::Store)?;
        let Some(entry) = &seen.entry else { return Ok(Progress::Outdated) };
        let next = outcome::manifest_read(entry, &found, &self.config, now());
        // When the next step is to save again, what is saved now would be read by nobody.
        let short = self.shortages.current(now());
        let spares = self.spares_for(Some(&next)).await?;
        let view = View {
            now: now(),
            record: seen.record.as_ref(),
            entry: Some(&next),
            observed: None,
            beat: None,
            instance: None,
            desired_written: 0,
            fresh: fresh()?,
            short: &short,
            spares: &spares,
            slot: None,
            unwritable: seen.unwritten.is_some(),
            retrying: None,
        };
        let next = match next_step(&view, &self.config) {
            Step::Save(after) => *after,
            _ => next,
        };
        self.save(next, seen).await
    }

    async fn store_report(
        &self,
        judgement: &Judgement,
        seen: &mut Seen,
    ) -> Result<Progress, TickError> {
        let stored = self.reports.store(&judgement.report_key, &judgement.report).await;
        stored.map_err(TickError::Store)?;
        let Some(entry) = &seen.entry else { return Ok(Progress::Outdated) };
        if let (Some(log), Some(attested)) = (&self.pcr_log, &judgement.attested) {
            log.write(&entry.id, attested, now()).await;
        }
        let next = outcome::report_stored(entry, &self.config, now());
        self.save(next, seen).await
    }

    async fn terminate(&self, host: &Host, seen: &mut Seen) -> Result<Progress, TickError> {
        let state = self.ec2.terminate(&host.instance_id).await.map_err(TickError::Ec2)?;
        let is_gone = match state {
            // `TerminateInstances` answers with the state that it brought about.
            Some(state) => state.is_gone(),
            // Just after a launch EC2 may not know its own instance yet.
            None => now().since(host.launched_at) >= DESCRIBE_LAG,
        };
        if !is_gone {
            return Ok(Progress::Settled(Next::After(Duration::from_secs(1))));
        }
        let Some(entry) = &seen.entry else { return Ok(Progress::Outdated) };
        let short = self.shortages.current(now());
        let next = outcome::terminated(entry, &self.config, &short, now());
        self.save_without(next, host, seen).await
    }

    async fn stop(&self, host: &Host, seen: &mut Seen) -> Result<Progress, TickError> {
        let id = host.instance_id.as_str();
        match self.ec2.stop(id).await.map_err(TickError::Ec2)? {
            Switched::Done => {}
            // It starts, or it is no more.
            Switched::NotNow => {
                let state = self.ec2.instance(id).await.map_err(TickError::Ec2)?;
                if state.is_some_and(|state| !state.is_ended()) {
                    return Ok(Progress::Settled(Next::After(SWITCH_PAUSE)));
                }
            }
            // Not every instance can be stopped; whoever resumes gets another one.
            Switched::Refused { code, message } => {
                log::warn!(instance_id = id, code = code.as_str(), error = message.as_str(); "instance cannot be stopped and is terminated");
                self.ec2.terminate(id).await.map_err(TickError::Ec2)?;
            }
        }
        let Some(entry) = &seen.entry else { return Ok(Progress::Outdated) };
        let next = outcome::stopped(entry, now());
        self.save_without(next, host, seen).await
    }

    async fn start(&self, host: &Host, seen: &mut Seen) -> Result<Progress, TickError> {
        let id = host.instance_id.as_str();
        let refused = match self.ec2.start(id).await.map_err(TickError::Ec2)? {
            Switched::Done => None,
            Switched::NotNow => {
                let state = self.ec2.instance(id).await.map_err(TickError::Ec2)?;
                if state.is_some_and(|state| !state.is_ended()) {
                    return Ok(Progress::Settled(Next::After(SWITCH_PAUSE)));
                }
                Some("it is terminated".to_owned())
            }
            Switched::Refused { code, message } => Some(format!("{code}: {message}")),
        };
        let Some(entry) = &seen.entry else { return Ok(Progress::Outdated) };
        let next = if let Some(reason) = refused {
            outcome::start_refused(entry, &reason, now())
        } else {
            self.memory.set_instance(id, InstanceState::Pending);
            outcome::started(entry, fresh()?, now())
        };
        self.save(next, seen).await
    }
}

/// How a tick goes on.
enum Progress {
    /// Decide again with what was read and written.
    Again,
    /// Somebody else wrote: read everything again.
    Outdated,
    /// Nothing more to do now.
    Settled(Next),
}

/// Until when nothing is expected of an enclave that runs, or is paused; none of any other.
fn resting_until(entry: Option<&Entry>, next: Next, now: UnixMillis) -> Option<UnixMillis> {
    let entry = entry.filter(|entry| entry.absent_since.is_none() && entry.unstored.is_none())?;
    match (&entry.state, next) {
        (State::Paused { .. }, _) => Some(UnixMillis(u64::MAX)),
        (State::Deployed { renewal, .. }, Next::After(pause)) if renewal.nonce.is_none() => {
            Some(now.plus(pause))
        }
        _ => None,
    }
}

/// Whether the entry waits for a shared host that somebody else launches.
fn is_being_launched(seen: &Seen) -> bool {
    let waits = seen.entry.as_ref().is_some_and(|e| matches!(e.state, State::Joining { .. }));
    waits && seen.slot.as_ref().is_some_and(|it| matches!(it.state, SlotState::Launching { .. }))
}

fn wait(until: Option<UnixMillis>, now: UnixMillis) -> Next {
    // A millisecond more, so that the deadline has passed when it is looked at.
    until.map_or(Next::OnChange, |until| Next::After(until.since(now) + Duration::from_millis(1)))
}

fn fresh() -> Result<[u8; 32], TickError> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| TickError::Randomness)?;
    Ok(bytes)
}

fn log_change(before: Option<&Entry>, after: &Entry) {
    let (enclave_id, generation) = (after.id.as_str(), after.generation.0);
    let failures = [
        (&after.failure, before.and_then(|before| before.failure.as_ref()), "enclave fails"),
        (&after.refused, before.and_then(|before| before.refused.as_ref()), "request refused"),
    ];
    for (now, then, what) in failures {
        if let Some(failure) = now.as_ref().filter(|failure| Some(*failure) != then) {
            log::warn!(
                enclave_id, generation, code = failure.code.as_str(),
                error = failure.message.as_str(); "{what}"
            );
        }
    }
    let name = after.state.name();
    if before.is_some_and(|before| before.state.name() == name) {
        return;
    }
    let instance_id = match &after.state {
        State::Ended { host, .. } => host.as_ref(),
        state => state.host(),
    };
    let instance_id = instance_id.map_or("-", |host| host.instance_id.as_str());
    let code = after.failure.as_ref().map_or("-", |failure| failure.code.as_str());
    log::info!(
        enclave_id = after.id.as_str(),
        generation = after.generation.0,
        phase = name,
        instance_id = instance_id,
        code = code;
        "enclave changed phase"
    );
}
