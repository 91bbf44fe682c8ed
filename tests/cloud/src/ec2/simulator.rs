//! The simulation with its clock and its hosts: instances come up, run and go.

use super::{
    Refusal, Settings, SimulationView,
    fault::Faults,
    instance::{Instance, InstanceState},
    region::{Place, Region},
    view::InstanceView,
};
use crate::host::{Ended, Host, HostOptions, InstanceFacts};
use bailey_runtime::{chain, now};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
};

/// How the simulation behaves.
#[derive(Clone, Debug)]
pub struct SimulatorOptions {
    /// Where it pretends to be.
    pub place: Place,
    /// Subnets besides the default one of each zone: the zone of each, by its id.
    pub subnets: BTreeMap<String, String>,
    /// How long an instance is `pending`.
    pub pending: Duration,
    /// By how much `DescribeInstances` lags behind.
    pub describe_lag: Duration,
    /// What every host is made of; without it instances run nothing.
    pub host: Option<HostOptions>,
}

/// The EC2 simulator.
#[derive(Debug)]
pub struct Simulator {
    pub(super) inner: Mutex<Inner>,
    /// Told when held calls may go on.
    pub(super) released: Notify,
    place: Place,
    host: Option<HostOptions>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) region: Region,
    pub(super) faults: Faults,
    pub(super) calls: BTreeMap<String, u64>,
    pub(super) held: u64,
    pending: Duration,
    describe_lag: Duration,
    /// What each instance is to do, and what its host looks like.
    lives: BTreeMap<String, Life>,
    logs: Option<HostOptions>,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Life {
    wanted: watch::Sender<Wanted>,
    host: watch::Receiver<Option<Arc<Host>>>,
}

/// What an instance is to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Wanted {
    Run,
    Stop,
    Terminate,
}

impl Simulator {
    /// A simulation without instances.
    #[must_use]
    pub fn new(options: SimulatorOptions) -> Arc<Self> {
        let inner = Inner {
            region: Region::new(options.place.clone(), options.subnets, seed()),
            faults: Faults::default(),
            calls: BTreeMap::new(),
            held: 0,
            pending: options.pending,
            describe_lag: options.describe_lag,
            lives: BTreeMap::new(),
            logs: options.host.clone(),
            tasks: JoinSet::new(),
        };
        Arc::new(Self {
            inner: Mutex::new(inner),
            released: Notify::new(),
            place: options.place,
            host: options.host,
        })
    }

    /// Ends every instance and waits until all of them are gone.
    pub async fn end(&self) {
        let mut tasks = {
            let mut inner = self.lock();
            for life in inner.lives.values() {
                life.wanted.send_replace(Wanted::Terminate);
            }
            std::mem::take(&mut inner.tasks)
        };
        while tasks.join_next().await.is_some() {}
    }

    /// What the control interface shows.
    pub fn view(&self) -> SimulationView {
        let inner = self.lock();
        let instances = inner.region.instances.values();
        SimulationView {
            instances: instances.map(|instance| inner.instance_view(instance)).collect(),
            launches: inner.region.launches,
            calls: inner.calls.clone(),
            held: inner.held,
        }
    }

    /// Changes how the simulation behaves from here on.
    pub fn set(&self, settings: Settings) {
        let mut inner = self.lock();
        if let Some(millis) = settings.pending_ms {
            inner.pending = Duration::from_millis(millis);
        }
        if let Some(millis) = settings.describe_lag_ms {
            inner.describe_lag = Duration::from_millis(millis);
        }
        if let Some(zones) = settings.zones_without_capacity {
            inner.region.subnets.full = zones.into_iter().collect();
        }
    }

    /// The host of an instance that runs.
    pub fn host(&self, id: &str) -> Option<Arc<Host>> {
        self.lock().lives.get(id)?.host.borrow().clone()
    }

    /// Ends an instance as a failure of its hardware does: nobody asked for it.
    pub fn fail(&self, id: &str) -> Result<(), Refusal> {
        let reason = ("Server.InternalError", "Server.InternalError: Internal error on launch");
        self.terminate(id, reason)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere leaves nothing half done here: every change is a single assignment.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the life of an instance that was just launched.
    pub(super) fn begin(self: &Arc<Self>, inner: &mut Inner, id: &str) {
        let (wanted, commands) = watch::channel(Wanted::Run);
        let (host, shown) = watch::channel(None);
        inner.lives.insert(id.to_owned(), Life { wanted, host: shown });
        let (simulator, id) = (Arc::clone(self), id.to_owned());
        inner.tasks.spawn(async move { simulator.live(&id, commands, host).await });
    }

    pub(super) fn terminate(
        &self,
        id: &str,
        reason: (&'static str, &'static str),
    ) -> Result<(), Refusal> {
        let mut inner = self.lock();
        inner.region.instance(id)?;
        inner.enter(id, InstanceState::ShuttingDown, Some(reason));
        inner.want(id, Wanted::Terminate);
        Ok(())
    }

    /// Brings an instance to what is wanted of it, again and again, until it is terminated.
    async fn live(
        &self,
        id: &str,
        mut commands: watch::Receiver<Wanted>,
        shown: watch::Sender<Option<Arc<Host>>>,
    ) {
        loop {
            let wanted = *commands.borrow_and_update();
            match wanted {
                Wanted::Run => self.run(id, &mut commands, &shown).await,
                Wanted::Stop => {
                    self.enter(id, InstanceState::Stopping);
                    if let Some(host) = shown.send_replace(None) {
                        host.halt().await;
                    }
                    self.enter(id, InstanceState::Stopped);
                    let _ = commands.changed().await;
                }
                Wanted::Terminate => break,
            }
        }
        self.enter(id, InstanceState::ShuttingDown);
        let host = shown.borrow().clone();
        if let Some(host) = host {
            host.halt().await;
        }
        if let Some(options) = &self.host {
            options.remove(id);
        }
        shown.send_replace(None);
        self.enter(id, InstanceState::Terminated);
    }

    /// `pending`, then `running` until something else is wanted or the host powers itself off.
    async fn run(
        &self,
        id: &str,
        commands: &mut watch::Receiver<Wanted>,
        shown: &watch::Sender<Option<Arc<Host>>>,
    ) {
        self.enter(id, InstanceState::Pending);
        let pending = self.lock().pending;
        tokio::select! {
            () = tokio::time::sleep(pending) => {}
            _ = commands.changed() => return,
        }
        let Ok(host) = self.boot(id).await else {
            return self.power_off(id);
        };
        shown.send_replace(host.clone());
        self.enter(id, InstanceState::Running);
        let Some(host) = host else {
            let _ = commands.changed().await;
            return;
        };
        tokio::select! {
            Ended::PoweredOff = host.ended() => self.power_off(id),
            _ = commands.changed() => {}
        }
    }

    async fn boot(&self, id: &str) -> Result<Option<Arc<Host>>, ()> {
        let Some(options) = &self.host else { return Ok(None) };
        let facts = self.lock().region.instance(id).ok().map(|i| facts(i, &self.place));
        let Some(facts) = facts else { return Err(()) };
        match Host::boot(options, facts).await {
            Ok(host) => Ok(Some(Arc::new(host))),
            Err(error) => {
                log::error!(instance_id = id, error = chain(&error); "instance cannot start");
                Err(())
            }
        }
    }

    /// The instance was shut down from inside: it stops or is terminated, as it was launched to.
    fn power_off(&self, id: &str) {
        let mut inner = self.lock();
        let behavior =
            inner.region.instances.get(id).map(|i| i.launch.data.shutdown_behavior.clone());
        if behavior.flatten().as_deref() == Some("terminate") {
            let reason = (
                "Client.InstanceInitiatedShutdown",
                "Client.InstanceInitiatedShutdown: Instance initiated shutdown",
            );
            inner.enter(id, InstanceState::ShuttingDown, Some(reason));
            inner.want(id, Wanted::Terminate);
        } else {
            inner.want(id, Wanted::Stop);
        }
    }

    fn enter(&self, id: &str, state: InstanceState) {
        log::info!(instance_id = id, state = state.as_str(); "instance changed its state");
        self.lock().enter(id, state, None);
    }
}

impl Inner {
    /// The time as of which `DescribeInstances` shows instances.
    pub(super) fn seen_at(&self) -> bailey_model::UnixMillis {
        let lag = u64::try_from(self.describe_lag.as_millis()).unwrap_or(u64::MAX);
        bailey_model::UnixMillis(now().0.saturating_sub(lag))
    }

    pub(super) fn enter(
        &mut self,
        id: &str,
        state: InstanceState,
        reason: Option<(&'static str, &'static str)>,
    ) {
        self.region.enter(id, state, now());
        if let Some(instance) = self.region.instances.get_mut(id) {
            instance.reason = instance.reason.or(reason);
        }
    }

    pub(super) fn want(&self, id: &str, wanted: Wanted) {
        if let Some(life) = self.lives.get(id) {
            // Nothing revives what is to be terminated.
            life.wanted.send_if_modified(|current| {
                let changes = *current != Wanted::Terminate && *current != wanted;
                if changes {
                    *current = wanted;
                }
                changes
            });
        }
    }

    fn instance_view(&self, instance: &Instance) -> InstanceView {
        let host = self.lives.get(&instance.launch.id).and_then(|life| life.host.borrow().clone());
        let host = host.as_ref();
        InstanceView {
            id: instance.launch.id.clone(),
            state: instance.state(),
            history: instance.history().to_vec(),
            client_token: instance.launch.token.clone(),
            tags: instance.launch.data.tags.clone(),
            instance_type: instance.launch.instance_type.clone(),
            subnet_id: instance.launch.subnet_id.clone(),
            agent_pid: host.and_then(|host| host.agent_pid()),
            agent_starts: host.map_or(0, |host| host.agent_starts()),
            enclave_launches: self
                .logs
                .as_ref()
                .map_or(0, |logs| logs.enclave_launches(&instance.launch.id)),
            imds: host.and_then(|host| host.imds_url()),
        }
    }
}

fn facts(instance: &Instance, place: &Place) -> InstanceFacts {
    let user_data = instance.launch.data.user_data.as_deref().unwrap_or_default();
    InstanceFacts {
        id: instance.launch.id.clone(),
        instance_type: instance.launch.instance_type.clone(),
        resources: instance.launch.resources,
        zone: instance.launch.zone.clone(),
        region: place.region.clone(),
        account: place.account.clone(),
        private_ip: instance.launch.private_ip.clone(),
        image_id: instance.launch.data.image_id.clone().unwrap_or_default(),
        profile_arn: instance.launch.profile_arn.clone(),
        user_data: STANDARD.decode(user_data).unwrap_or_default(),
    }
}

/// Two simulations on one machine must not make the same ids.
fn seed() -> u64 {
    now().0.wrapping_mul(1 << 20) ^ u64::from(std::process::id())
}
