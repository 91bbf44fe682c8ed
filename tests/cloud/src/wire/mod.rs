//! The wire between our programs and AWS: a proxy that goes wrong on demand.
//!
//! ```text
//! coordinators ──▶ wire ──▶ emulator (DynamoDB, streams, S3)
//!              └─▶ wire ──▶ EC2 simulator
//! agents       ──▶ wire ──▶ emulator
//! ```
//!
//! What the web app, the command line and the tests call goes straight to the emulator. A call that
//! a caller gave up, or died over, takes its course all the same, as on a real network. Requests are
//! passed on as they came, `Host` included; an answer's body is passed on as it comes.

mod answer;
mod call;
mod fault;
mod proxy;

pub use call::{Call, Party};
pub use fault::{Noise, Side, Trouble, WireFault, WireRule};

use fault::Rules;
use proxy::Upstream;
use std::{
    io,
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
    task::JoinSet,
};

/// A proxy for each party and each service. Dropping it closes them.
#[derive(Debug)]
pub struct Wire {
    shared: Arc<Shared>,
    agents_url: String,
    coordinators_url: String,
    ec2_url: String,
    listeners: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// How many sweeps coordinators have begun.
    sweeps: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    rules: Rules,
    stop: Option<Stop>,
    writes: Vec<Call>,
}

/// Where a coordinator's write is to be held.
#[derive(Debug)]
struct Stop {
    /// Which writes count, by what their [`Call::step`] begins with; all of them when absent.
    step: Option<String>,
    /// How many of those pass before that.
    passing: u64,
    side: Side,
    reached: oneshot::Sender<Held>,
}

/// A call that is held. Dropping this loses it: its caller never gets an answer.
#[derive(Debug)]
pub struct Held {
    /// The call.
    pub call: Call,
    goes_on: oneshot::Sender<()>,
}

impl Held {
    /// Lets the call go on as if it had never been held.
    pub fn pass(self) {
        // Its caller may have hung up; then nobody waits for an answer.
        let _ = self.goes_on.send(());
    }
}

/// What is to become of a call.
#[derive(Debug)]
struct Plan {
    fault: Option<WireFault>,
    stop: Option<(Side, oneshot::Sender<Held>)>,
}

impl Wire {
    /// Listens for both parties' calls of the emulator at this address.
    pub async fn start(emulator_url: &str) -> io::Result<Self> {
        let mut wire = Self {
            shared: Arc::default(),
            agents_url: String::new(),
            coordinators_url: String::new(),
            ec2_url: String::new(),
            listeners: JoinSet::new(),
        };
        wire.agents_url = wire.listen(Party::Agents, emulator_url).await?;
        wire.coordinators_url = wire.listen(Party::Coordinators, emulator_url).await?;
        Ok(wire)
    }

    /// Listens for the coordinators' calls of the EC2 simulator at this address, too.
    pub async fn carry_ec2(&mut self, url: &str) -> io::Result<()> {
        self.ec2_url = self.listen(Party::Coordinators, url).await?;
        Ok(())
    }

    /// The emulator's address for agents.
    #[must_use]
    pub fn agents_url(&self) -> &str {
        &self.agents_url
    }

    /// The emulator's address for coordinators.
    #[must_use]
    pub fn coordinators_url(&self) -> &str {
        &self.coordinators_url
    }

    /// EC2's address for coordinators; empty before [`Self::carry_ec2`].
    #[must_use]
    pub fn ec2_url(&self) -> &str {
        &self.ec2_url
    }

    /// Lets the next calls that the rule is about go wrong.
    pub fn inject(&self, rule: WireRule) {
        self.shared.lock().rules.add(rule);
    }

    /// Lets calls go wrong at random from here on.
    pub fn disturb(&self, noise: Noise) {
        self.shared.lock().rules.disturb(noise);
    }

    /// From here on every call is passed on as it came. What is held stays held.
    pub fn calm(&self) {
        let mut state = self.shared.lock();
        state.rules.clear();
        state.stop = None;
    }

    /// Holds a write of a coordinator, after so many others have passed: before it takes effect, or
    /// when it has and is not answered yet. Only writes count
    /// whose [`Call::step`] begins with `step`, when there is one.
    #[must_use]
    pub fn hold_write(
        &self,
        step: Option<&str>,
        passing: u64,
        side: Side,
    ) -> oneshot::Receiver<Held> {
        let (reached, held) = oneshot::channel();
        let step = step.map(str::to_owned);
        self.shared.lock().stop = Some(Stop { step, passing, side, reached });
        held
    }

    /// Every write of a coordinator since the last time that this was asked, in their order.
    #[must_use]
    pub fn take_writes(&self) -> Vec<Call> {
        std::mem::take(&mut self.shared.lock().writes)
    }

    /// Waits until coordinators have begun so many more sweeps. Cancel-safe.
    pub async fn sweeps(&self, more: u64) {
        let mut sweeps = self.shared.sweeps.subscribe();
        let wanted = sweeps.borrow_and_update().saturating_add(more);
        // The sender lives as long as this wire.
        let _ = sweeps.wait_for(|begun| *begun >= wanted).await;
    }

    async fn listen(&mut self, party: Party, upstream: &str) -> io::Result<String> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let upstream = Upstream::new(upstream)?;
        self.listeners.spawn(proxy::serve(listener, party, upstream, Arc::clone(&self.shared)));
        Ok(url)
    }
}

impl Shared {
    /// Notes a call and decides what is to become of it.
    fn plan(&self, call: &Call) -> Plan {
        if call.is_sweep() {
            self.sweeps.send_modify(|begun| *begun += 1);
        }
        let mut state = self.lock();
        let mut stop = None;
        if call.party == Party::Coordinators && call.is_write() {
            state.writes.push(call.clone());
            // One for which nobody waits any more is forgotten.
            let _ = state.stop.take_if(|stop| stop.reached.is_closed());
            let counts =
                |stop: &Stop| stop.step.as_ref().is_none_or(|step| call.step().starts_with(step));
            let reached = state.stop.take_if(|stop| counts(stop) && stop.passing == 0);
            stop = reached.map(|stop| (stop.side, stop.reached));
            if let Some(later) = state.stop.as_mut().filter(|stop| counts(stop)) {
                later.passing -= 1;
            }
        }
        let fault = if stop.is_none() { state.rules.strike(call) } else { None };
        Plan { fault, stop }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves nothing half done here: every change is a single assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
