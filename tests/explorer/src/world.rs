//! The world, and what coordinators read of it.

use crate::{
    hosts,
    shared::{Memo, Shared},
};
use bailey_lifecycle::{
    Config, InstanceState, LaunchTemplate, RecordState, Step, Subnets, View,
    launch::{LaunchRequest, Place},
    ledger::{Entry, State},
    next_step,
    orphan::{Claimant, Claimed, Ownership, ownership, slot_ownership},
    shared::seat,
    spare::{Slot, SlotStep, SlotView, next_slot_step},
};
use bailey_model::{
    EnclaveId, UnixMillis,
    hosts::{Desired, Observed},
    record::Request,
};
use serde_json::{Map, Value};
use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, LazyLock},
    time::Duration,
};

/// How much may happen.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Scope {
    /// Coordinators at work.
    pub coordinators: usize,
    /// Enclaves that the web app asks for.
    pub enclaves: usize,
    /// On which hosts they run.
    pub hosting: Hosting,
    /// Requests, rewrites and deletions by the web app, besides the first.
    pub requests: u8,
    /// Crashes, lost answers, refusals, failures of hosts and instances.
    pub faults: u8,
    /// Times that [`TICK`] passes.
    pub ticks: u8,
}

/// On which hosts enclaves run.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Hosting {
    /// Each has a host of its own.
    Own,
    /// So too, and one host is booted before anybody asks.
    Spare,
    /// They share a host.
    Shared,
}

impl Scope {
    /// One enclave on a host of its own.
    #[must_use]
    pub const fn own(coordinators: usize, requests: u8, faults: u8, ticks: u8) -> Self {
        Self { coordinators, enclaves: 1, hosting: Hosting::Own, requests, faults, ticks }
    }

    /// So much for two enclaves with such hosts.
    #[must_use]
    pub const fn two(self, hosting: Hosting) -> Self {
        Self { enclaves: 2, hosting, ..self }
    }
}

/// The step in which time passes: every deadline but that of a deploy ends within one.
pub const TICK: Duration = Duration::from_mins(6);

/// When it all begins.
const BEGIN: u64 = 1_800_000_000_000;

/// The settings of every coordinator.
pub static CONFIG: LazyLock<Config> = LazyLock::new(|| Config {
    deployment: "model".to_owned(),
    template: LaunchTemplate { name: "parents".to_owned(), version: 1 },
    subnets: Subnets::default(),
    role_arn: Some(hosts::ROLE.to_owned()),
    roots: hosts::roots(),
    chains: Arc::new(bailey_attestation::ChainCache::new(64)),
    manifest_keys: bailey_manifest::TrustedKeys::default(),
    reports_bucket: "reports".to_owned(),
    fallback_types: "m6i.xlarge".parse().into_iter().collect(),
    spares: Vec::new(),
    enclaves_per_parent: 4,
    strict_instance_types: false,
    absence_grace: Duration::from_mins(1),
    nonce_ttl: Duration::from_mins(5),
    reattest_interval: Duration::from_mins(5),
    reattest_misses: 1,
    deploy_timeout: Duration::from_mins(10),
    host_timeout: Duration::from_mins(5),
    drain_timeout: Duration::from_mins(1),
    destroy_timeout: Duration::from_mins(20),
    skew: Duration::from_mins(20),
    software: BTreeMap::new(),
});

/// One instance.
#[derive(Clone, Debug, Hash)]
pub struct Instance {
    /// Its id.
    pub id: String,
    /// Its state.
    pub state: InstanceState,
    /// The request that launched it.
    pub request: Shared<LaunchRequest>,
    /// Whether it was told that EC2 will take it away.
    pub is_taken_away: bool,
}

/// Something that a test breaks on purpose, to see that a rule notices.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Mutation {
    /// EC2 forgets tokens: a launch that is sent again launches again.
    ForgottenTokens,
    /// The entry is forgotten together with the record.
    ForgottenEntry,
    /// Leaving a report that may be stored leaves it out of the chain.
    ForgottenReport,
    /// A spare host is taken without a look at its slot.
    LooseClaim,
    /// A place on a shared host is given up without a write of its slot.
    LooseSeat,
    /// A request is answered without a write of the entry.
    LooseAnswer,
    /// No sweep ends an instance that nobody owns.
    NoSweep,
    /// A drained host is waited for, for ever.
    NeverDrained,
    /// The record is read before the entry.
    RecordFirst,
    /// The projection replaces the record.
    ReplacedRecord,
    /// A report that is there is overwritten.
    RewrittenReport,
    /// A report is taken for stored without having been.
    SkippedReport,
    /// An instance is taken for terminated without having been, and no sweep makes up for it.
    SkippedTermination,
    /// Every resend of an intent asks for another place.
    UnstableIntent,
    /// Entries are saved whatever their version is.
    UnconditionalSave,
    /// A shared host is ended as soon as anybody leaves.
    HastyEnd,
}

/// What one coordinator has read and not acted upon.
#[derive(Clone, Debug, Default, Hash)]
pub enum Coordinator {
    /// Nothing.
    #[default]
    Idle,
    /// The entry and its host; the record comes next.
    Reading(Seen),
    /// Everything.
    Loaded(Seen),
    /// A slot, and what EC2 and its host say.
    Tending(SlotSeen),
}

/// What was read of a slot.
#[derive(Clone, Debug, Hash)]
pub struct SlotSeen {
    pub(crate) slot: Shared<Slot>,
    pub(crate) is_wanted: bool,
    /// Once its host has reported: whether EC2 takes it away.
    pub(crate) reported: Option<bool>,
    pub(crate) is_told: bool,
    pub(crate) instance: Option<InstanceState>,
}

/// What was read.
#[derive(Clone, Debug, Hash)]
pub struct Seen {
    pub(crate) enclave: usize,
    /// The slot on whose host the entry has a place.
    pub(crate) slot: Option<Shared<Slot>>,
    /// All slots, when a host is looked for.
    pub(crate) slots: Vec<Shared<Slot>>,
    pub(crate) entry: Option<Shared<Entry>>,
    pub(crate) record: Option<Shared<Map<String, Value>>>,
    pub(crate) observed: Option<Shared<Observed>>,
    pub(crate) instance: Option<InstanceState>,
    pub(crate) desired_written: u64,
}

/// The world at one instant.
#[derive(Clone, Debug, Hash)]
pub struct World {
    /// How much may still happen.
    pub left: Scope,
    /// Times that [`TICK`] has passed.
    pub passed: u64,
    /// The enclaves.
    pub enclaves: Vec<Enclave>,
    /// The slots for spare and shared hosts, by name.
    pub slots: BTreeMap<String, Shared<Slot>>,
    /// Every instance that was ever launched.
    pub instances: Vec<Instance>,
    /// The hosts' `desired` items, by ARN.
    pub desired: BTreeMap<String, Shared<Desired>>,
    /// The hosts' `observed` items, by ARN.
    pub observed: BTreeMap<String, Shared<Observed>>,
    /// The stored reports, by key.
    pub reports: BTreeMap<String, Shared<String>>,
    /// The coordinators.
    pub coordinators: Vec<Coordinator>,
    /// What is broken on purpose.
    pub mutation: Option<Mutation>,
}

/// One enclave id.
#[derive(Clone, Debug, Hash)]
pub struct Enclave {
    /// The web app's record.
    pub record: Option<Shared<Map<String, Value>>>,
    /// The ledger's entry.
    pub entry: Option<Shared<Entry>>,
    /// How often the web app asked for a deploy.
    pub asked: u64,
    /// The status that the web app wrote last; none when it deleted its record.
    pub wrote: Option<&'static str>,
}

/// How an effect on EC2 turns out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// It takes place, and its answer arrives.
    Works,
    /// It takes place, and the coordinator dies before it hears of it.
    Crash,
    /// EC2 has no capacity.
    Refused,
}

impl World {
    /// A world in which the web app has just written its record.
    #[must_use]
    pub fn new(scope: Scope) -> Self {
        Self {
            left: scope,
            passed: 0,
            enclaves: (0..scope.enclaves)
                .map(|enclave| Enclave::asked_for(scope, enclave))
                .collect(),
            slots: BTreeMap::new(),
            instances: Vec::new(),
            desired: BTreeMap::new(),
            observed: BTreeMap::new(),
            reports: BTreeMap::new(),
            coordinators: vec![Coordinator::Idle; scope.coordinators],
            mutation: None,
        }
    }

    /// The entry of an enclave.
    #[must_use]
    pub fn entry(&self, enclave: usize) -> Option<&Shared<Entry>> {
        self.enclaves.get(enclave)?.entry.as_ref()
    }

    /// The record of an enclave.
    #[must_use]
    pub fn record(&self, enclave: usize) -> Option<&Shared<Map<String, Value>>> {
        self.enclaves.get(enclave)?.record.as_ref()
    }

    /// The entries that there are.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Shared<Entry>> {
        self.enclaves.iter().filter_map(|enclave| enclave.entry.as_ref())
    }

    /// A fingerprint of everything that may make a difference later.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    /// The entry's state and version, and the record's status, for people.
    #[must_use]
    pub fn brief(&self) -> String {
        let one = |it: &Enclave| {
            let entry =
                it.entry.as_deref().map(|it| format!("{} v{}", it.state.name(), it.version));
            let status = it.record.as_deref().and_then(|record| record.get("status"));
            let status = status.and_then(Value::as_str).unwrap_or("no status");
            format!("{}, {status}", entry.as_deref().unwrap_or("no entry"))
        };
        let enclaves = self.enclaves.iter().map(one);
        let slot = |slot: &Shared<Slot>| {
            format!("{} {} of {} v{}", slot.id, slot.name(), slot.tenants.len(), slot.version)
        };
        enclaves.chain(self.slots.values().map(slot)).collect::<Vec<_>>().join("; ")
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> UnixMillis {
        let ticks = u32::try_from(self.passed).unwrap_or(u32::MAX);
        UnixMillis(BEGIN).plus(TICK.saturating_mul(ticks))
    }

    /// The state of an instance.
    #[must_use]
    pub fn instance(&self, id: &str) -> Option<InstanceState> {
        self.instances.iter().find(|instance| instance.id == id).map(|instance| instance.state)
    }

    /// Whose an instance is, as the sweep sees it.
    #[must_use]
    pub fn ownership(&self, instance: &Instance) -> Ownership {
        let LaunchRequest { client_token, tags, .. } = &*instance.request;
        match Claimed::read(&instance.id, client_token, tags) {
            Some(claimed) => self.whose(&claimed),
            None => Ownership::Unproven("it claims nothing"),
        }
    }

    fn whose(&self, claimed: &Claimed) -> Ownership {
        let deployment = &CONFIG.deployment;
        let entry = |id: &EnclaveId| self.entries().find(|entry| entry.id == *id).map(|it| &**it);
        match &claimed.by {
            Claimant::Enclave(id) => ownership(claimed, entry(id), deployment),
            Claimant::Slot(id) => {
                let slot = self.slots.get(id.as_str());
                let taker = slot.and_then(|slot| slot.given_to(&claimed.instance_id));
                let slot = slot.map(|slot| &**slot);
                slot_ownership(claimed, slot, taker.and_then(entry), deployment)
            }
        }
    }

    /// Whether the sweep ends this instance.
    #[must_use]
    pub fn is_swept(&self, instance: &Instance) -> bool {
        let sweeps =
            ![Mutation::NoSweep, Mutation::SkippedTermination].map(Some).contains(&self.mutation);
        sweeps && !instance.state.is_ended() && self.ownership(instance) == Ownership::Orphaned
    }

    /// Whether this is broken on purpose.
    pub(crate) fn is_broken(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// What a coordinator reads first.
    pub(crate) fn read_entry(&self, enclave: usize) -> Seen {
        if self.is_broken(Mutation::RecordFirst) {
            let nothing = Seen {
                enclave,
                slot: None,
                slots: Vec::new(),
                entry: None,
                record: None,
                observed: None,
                instance: None,
                desired_written: 0,
            };
            return Seen { record: self.record(enclave).cloned(), ..nothing };
        }
        self.seen(enclave)
    }

    pub(crate) fn seen(&self, enclave: usize) -> Seen {
        let entry = self.entry(enclave).cloned();
        let host = entry.as_ref().and_then(|entry| entry.state.host());
        let arn = host.map(|host| host.instance_arn.as_str()).unwrap_or_default();
        Seen {
            enclave,
            slot: None,
            slots: Vec::new(),
            record: None,
            observed: self.observed.get(arn).cloned(),
            instance: host.and_then(|host| self.instance(&host.instance_id)),
            desired_written: 0,
            entry,
        }
    }

    /// What it reads next.
    pub(crate) fn read_record(&self, seen: Seen) -> Seen {
        if self.is_broken(Mutation::RecordFirst) {
            return self.with_slots(Seen { record: seen.record, ..self.seen(seen.enclave) });
        }
        self.with_slots(Seen { record: self.record(seen.enclave).cloned(), ..seen })
    }

    /// What is read of slots by whoever has read this entry.
    pub(crate) fn with_slots(&self, seen: Seen) -> Seen {
        let entry = seen.entry.as_deref();
        let slot = entry.and_then(seat).and_then(|id| self.slots.get(id.as_str())).cloned();
        let looks = entry.is_some_and(|entry| {
            matches!(entry.state, State::Accepting | State::Joining { seat: None, .. })
        });
        let slots = if looks { self.slots.values().cloned().collect() } else { Vec::new() };
        Seen { slot, slots, ..seen }
    }

    /// The slots that there are or should be, and whether each is called for.
    pub(crate) fn all_slots(&self) -> Vec<(Shared<Slot>, bool)> {
        let has_spare = self.left.hosting == Hosting::Spare;
        let mut all: Vec<_> =
            self.slots.values().map(|slot| (slot.clone(), !slot.id.is_shared())).collect();
        if has_spare && all.is_empty() {
            let place = Place { instance_type: hosts::spare_type(), availability_zone: None };
            all.push((Shared::new(Slot::new(&place, 0)), true));
        }
        all
    }

    /// What a coordinator reads of a slot before it sees to it.
    pub(crate) fn read_slot(&self, slot: &Shared<Slot>, is_wanted: bool) -> SlotSeen {
        let host = slot.host();
        let arn = host.map(|host| host.instance_arn.as_str()).unwrap_or_default();
        SlotSeen {
            reported: self.observed.get(arn).map(|it| it.is_taken_away),
            is_told: false,
            is_wanted,
            instance: host.and_then(|host| self.instance(&host.instance_id)),
            slot: slot.clone(),
        }
    }

    /// The step that it decides by that.
    pub(crate) fn decided_for_slot(&self, seen: &SlotSeen) -> SlotStep {
        let report = |is_taken_away| Observed { is_taken_away, ..Observed::default() };
        let reported = seen.reported.map(report);
        let view = SlotView {
            now: self.now(),
            is_wanted: seen.is_wanted,
            observed: reported.as_ref(),
            instance: seen.instance,
            is_told: seen.is_told,
        };
        next_slot_step(&seen.slot, &view, &CONFIG)
    }

    /// The step that a coordinator decides by what it has read. The same is read in many states, so each
    /// decision is made once.
    pub(crate) fn decided(&self, seen: &Seen, coordinator: usize) -> Arc<Step> {
        let decide = || Arc::new(self.decide(seen, coordinator));
        DECIDED.get((seen, coordinator, self.passed), decide)
    }

    fn decide(&self, seen: &Seen, coordinator: usize) -> Step {
        let record = seen.record.as_deref().and_then(|attributes| {
            let request = Request::parse(attributes).ok()?;
            Some(RecordState { request, attributes: attributes.clone() })
        });
        let version = seen.entry.as_ref().map_or(0, |entry| entry.version);
        let slots: Vec<_> = seen.slots.iter().map(|slot| Slot::clone(slot)).collect();
        let view = View {
            now: self.now(),
            record: record.as_ref(),
            entry: seen.entry.as_deref(),
            observed: seen.observed.as_deref(),
            beat: None,
            instance: seen.instance,
            desired_written: seen.desired_written,
            fresh: fresh(version, coordinator),
            short: &[],
            spares: &slots,
            slot: seen.slot.as_deref(),
            unwritable: false,
            retrying: None,
        };
        next_step(&view, &CONFIG)
    }
}

impl Enclave {
    fn asked_for(scope: Scope, enclave: usize) -> Self {
        Self {
            record: Some(Shared::new(hosts::record(scope.hosting, enclave))),
            entry: None,
            asked: 1,
            wrote: Some("PENDING_DEPLOY"),
        }
    }
}

/// Decisions.
static DECIDED: LazyLock<Memo<Arc<Step>>> = LazyLock::new(|| Memo::new(100_000));

/// What must be random, and is another for every coordinator here.
pub(crate) fn fresh(version: u64, coordinator: usize) -> [u8; 32] {
    let byte = u8::try_from(version & 0x7F).unwrap_or_default();
    let mut fresh = [byte; 32];
    if let Some(first) = fresh.first_mut() {
        *first = u8::try_from(coordinator).unwrap_or_default();
    }
    fresh
}
