//! A small world around the lifecycle: a record, a ledger, EC2 and hosts, with a clock of its own.
//!
//! Steps are decided by the real [`next_step`] and carried out here; documents are really signed,
//! by a simulated NSM, and really verified.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a world in which something is missing has failed its test"
)]

use bailey_attestation::{ChainCache, RootFingerprint, TrustedRoots};
use bailey_lifecycle::{
    Config, InstanceState, LaunchTemplate, ManifestObject, Projected, RecordState, Step, Subnets,
    View,
    launch::{LaunchRefused, LaunchRequest, Launched, Place},
    ledger::{Entry, Outcome, State},
    next_step, outcome,
    shared::{Seated, Tenant, Together, seat, seated},
    spare::{self, Slot, SlotStep, SlotView, next_slot_step},
};
use bailey_manifest::TrustedKeys;
use bailey_model::{
    Base64Bytes, Pcr, PcrSet, UnixMillis, binding,
    failure::{Failure, FailureCode},
    hosts::{Answer, Desired, HostPhase, Observed, ObservedAssignment, RunningEnclave},
    record::Request,
    report::Report,
};
use bailey_simulated_nsm::{Attestation, Authority, Enclave, Mode, SimulatedNsm};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| Authority::generate().unwrap());

/// The role of every parent here.
pub(crate) const ROLE: &str = "arn:aws:iam::123456789012:role/parent";

/// What the image measures, in every world.
pub(crate) fn image_pcrs() -> PcrSet {
    (0..=2).map(|index| (index, Pcr([index + 1; 48]))).collect()
}

/// The record of the seed.
pub(crate) fn seed_record() -> Value {
    json!({
        "id": "test-enclave-001", "status": "PENDING_DEPLOY",
        "configuration": { "instance_type": "m5.large", "cpu_count": 2, "memory_mib": 1024,
                           "eif_path": "s3://your-bucket/test.eif", "debug_mode": true },
        "created_at": "2025-01-01T12:00:00Z"
    })
}

/// The seed's record with other values in its configuration.
pub(crate) fn record_with(changes: &Value) -> Value {
    let mut record = seed_record();
    for (name, value) in changes.as_object().unwrap() {
        record["configuration"][name] = value.clone();
    }
    record
}

/// What a launch meets with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum LaunchFate {
    /// It works.
    Works,
    /// It works, and its answer is lost.
    AnswerLost,
    /// EC2 never sees it.
    RequestLost,
    /// EC2 refuses it for want of capacity.
    Refused,
}

#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) id: String,
    pub(crate) state: InstanceState,
    pub(crate) request: LaunchRequest,
}

pub(crate) struct World {
    pub(crate) now: UnixMillis,
    pub(crate) record: Option<Map<String, Value>>,
    pub(crate) entry: Option<Entry>,
    pub(crate) instances: Vec<Instance>,
    pub(crate) desired: HashMap<String, Desired>,
    pub(crate) observed: HashMap<String, Observed>,
    pub(crate) reports: BTreeMap<String, String>,
    pub(crate) config: Config,
    pub(crate) fate: LaunchFate,
    /// Whether EC2's view of instances is known to the coordinator.
    pub(crate) sees_instances: bool,
    /// Whether the record cannot be written.
    pub(crate) unwritable: bool,
    /// What lies where the image's signed manifest would be.
    pub(crate) manifest: ManifestObject,
    /// Where it was looked for.
    pub(crate) manifests_read: Vec<String>,
    /// Places that the coordinator knows to be short of capacity.
    pub(crate) short: Vec<Place>,
    /// The slots for spare hosts.
    pub(crate) spares: Vec<Slot>,
    /// Whether EC2 starts a stopped instance again.
    pub(crate) can_start: bool,
    fresh: u8,
}

impl World {
    pub(crate) fn new() -> Self {
        let root = RootFingerprint::of_der(AUTHORITY.certificate_der());
        Self {
            now: UnixMillis(1_800_000_000_000),
            record: None,
            entry: None,
            instances: Vec::new(),
            desired: HashMap::new(),
            observed: HashMap::new(),
            reports: BTreeMap::new(),
            config: Config {
                deployment: "test".to_owned(),
                template: LaunchTemplate { name: "parents".to_owned(), version: 1 },
                subnets: Subnets::default(),
                role_arn: Some(ROLE.to_owned()),
                roots: TrustedRoots::only(vec![root]),
                chains: Arc::new(ChainCache::new(16)),
                manifest_keys: TrustedKeys::default(),
                reports_bucket: "reports".to_owned(),
                fallback_types: Vec::new(),
                spares: Vec::new(),
                enclaves_per_parent: 4,
                strict_instance_types: false,
                absence_grace: Duration::from_mins(1),
                nonce_ttl: Duration::from_mins(5),
                reattest_interval: Duration::from_hours(1),
                reattest_misses: 3,
                deploy_timeout: Duration::from_mins(30),
                host_timeout: Duration::from_mins(5),
                drain_timeout: Duration::from_mins(1),
                destroy_timeout: Duration::from_mins(20),
                skew: Duration::from_mins(5),
                software: BTreeMap::new(),
            },
            fate: LaunchFate::Works,
            sees_instances: true,
            spares: Vec::new(),
            unwritable: false,
            manifest: ManifestObject::Absent,
            manifests_read: Vec::new(),
            short: Vec::new(),
            can_start: true,
            fresh: 0,
        }
    }

    /// A world in which the web app has written `record`.
    pub(crate) fn with_record(record: Value) -> Self {
        let mut world = Self::new();
        world.write(record);
        world
    }

    /// The web app puts a whole record.
    pub(crate) fn write(&mut self, record: Value) {
        let Value::Object(record) = record else { panic!("a record is a map") };
        self.record = Some(record);
    }

    /// The web app sets the status alone.
    pub(crate) fn ask(&mut self, status: &str) {
        if let Some(record) = &mut self.record {
            record.insert("status".to_owned(), status.into());
        }
    }

    pub(crate) fn later(&mut self, seconds: u64) {
        self.now = self.now.plus(Duration::from_secs(seconds));
    }

    pub(crate) fn attribute(&self, name: &str) -> Value {
        self.record.as_ref().and_then(|record| record.get(name)).cloned().unwrap_or_default()
    }

    pub(crate) fn status(&self) -> String {
        self.attribute("status").as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn failure_code(&self) -> Option<FailureCode> {
        self.entry.as_ref()?.failure.as_ref().map(|failure| failure.code)
    }

    pub(crate) fn alive(&self) -> usize {
        self.instances.iter().filter(|instance| !instance.state.is_gone()).count()
    }

    /// Another enclave, which is to stay and may have shown a module id, has a place on the same host.
    pub(crate) fn beside_another(&mut self, module_id: Option<String>) {
        let mut slot = self.slot().unwrap().clone();
        let other = slot.tenants.values().next().unwrap().clone();
        slot.tenants
            .insert("another".parse().unwrap(), Tenant { assignment: None, module_id, ..other });
        self.save_slot(&slot);
    }

    /// All others on the same host only wait for the end of their enclaves.
    pub(crate) fn the_others_leave(&mut self) {
        let mut slot = self.slot().unwrap().clone();
        slot.tenants.values_mut().for_each(|tenant| tenant.leaving = true);
        self.save_slot(&slot);
    }

    /// The host hears that AWS takes its instance away, or of something that does not.
    pub(crate) fn announces(&mut self, takes_away: bool) {
        let host = self.entry.as_ref().and_then(|entry| entry.state.host());
        if let Some(observed) = host.and_then(|host| self.observed.get_mut(&host.instance_arn)) {
            observed.announced = Some("EC2 has scheduled something".to_owned());
            observed.is_taken_away = takes_away;
            let arn = host.map(|host| host.instance_arn.as_str()).unwrap_or_default();
            observed.desired_version = self.desired.get(arn).map_or(0, |desired| desired.version);
        }
    }

    /// The slot on whose host the enclave has a place.
    fn slot(&self) -> Option<&Slot> {
        let id = self.entry.as_ref().and_then(seat)?;
        self.spares.iter().find(|slot| slot.id == *id)
    }

    fn save_slot(&mut self, slot: &Slot) {
        let saved = Slot { version: slot.version + 1, ..slot.clone() };
        // As the table gives it back to whoever reads it next.
        let stored = serde_json::to_value(&saved).unwrap();
        assert_eq!(serde_json::from_value::<Slot>(stored).unwrap(), saved);
        self.spares.retain(|other| other.id != slot.id);
        self.spares.push(saved);
    }

    /// Carries out a step for a slot of a shared host; true when there was one.
    fn tend(&mut self) -> bool {
        let instances = &self.instances;
        let state = |slot: &Slot| {
            let host = slot.host()?;
            instances.iter().find(|it| it.id == host.instance_id).map(|it| it.state)
        };
        let step = self.spares.iter().filter(|slot| slot.id.is_shared()).find_map(|slot| {
            let instance = state(slot).filter(|_| self.sees_instances);
            let view = SlotView {
                now: self.now,
                is_wanted: false,
                observed: None,
                instance,
                is_told: true,
            };
            let step = next_slot_step(slot, &view, &self.config);
            (!matches!(step, SlotStep::Wait(_))).then(|| (slot.clone(), step))
        });
        let Some((slot, step)) = step else { return false };
        let next = match step {
            SlotStep::Save(next) => *next,
            SlotStep::Launch(intent) => {
                let id = format!("i-{:017x}", self.instances.len() + 1);
                let (state, request) = (InstanceState::Running, intent.request);
                self.instances.push(Instance { id: id.clone(), state, request });
                let launched = Launched {
                    instance_arn: format!("arn:aws:ec2:eu-west-1:123456789012:instance/{id}"),
                    instance_id: id,
                    availability_zone: "eu-west-1a".to_owned(),
                };
                spare::launched(&slot, launched, self.now)
            }
            SlotStep::Terminate(host) => {
                self.set_state(&host.instance_id, InstanceState::Terminated);
                self.observed.remove(&host.instance_arn);
                self.desired.remove(&host.instance_arn);
                spare::terminated(&slot, self.now)
            }
            SlotStep::Wait(_) | SlotStep::WriteDesired(..) => unreachable!("{slot:?}"),
        };
        self.save_slot(&next);
        true
    }

    /// The step that is next.
    pub(crate) fn next(&mut self) -> Step {
        self.fresh = self.fresh.wrapping_add(1);
        let record = self.record.clone().map(|attributes| RecordState {
            request: Request::parse(&attributes).unwrap(),
            attributes,
        });
        let host = self.entry.as_ref().and_then(|entry| entry.state.host()).cloned();
        let instance = host.as_ref().filter(|_| self.sees_instances).and_then(|host| {
            let known = self.instances.iter().find(|instance| instance.id == host.instance_id);
            known.map(|instance| instance.state)
        });
        let arn = host.map(|host| host.instance_arn).unwrap_or_default();
        let view = View {
            now: self.now,
            record: record.as_ref(),
            entry: self.entry.as_ref(),
            observed: self.observed.get(&arn),
            beat: None,
            instance,
            short: &self.short,
            spares: &self.spares,
            slot: self.slot(),
            unwritable: self.unwritable,
            desired_written: self.desired.get(&arn).map_or(0, |desired| desired.version),
            fresh: [self.fresh; 32],
            retrying: None,
        };
        next_step(&view, &self.config)
    }

    /// Carries out one step; true when it was one that changes something.
    ///
    /// With `crash`, the coordinator dies after the step's effect and before it notes the outcome.
    pub(crate) fn step(&mut self, crash: bool) -> bool {
        match self.next() {
            Step::Wait(_) => return self.tend(),
            Step::Claim(claim) => {
                self.save_slot(&claim.slot);
                self.save_alone(claim.entry);
            }
            Step::Save(entry) => self.save(*entry),
            Step::Project(projected) => self.project(&projected),
            Step::WriteDesired { instance_arn, desired } => {
                self.desired.insert(instance_arn, desired);
            }
            Step::Launch(intent) => {
                let fate = std::mem::replace(&mut self.fate, LaunchFate::Works);
                let next = self.launch(&intent.request, fate);
                if let Some(next) = next.filter(|_| !crash) {
                    self.save(next);
                }
            }
            Step::ReadManifest(location) => {
                self.manifests_read.push(location.to_string());
                if !crash {
                    let entry = self.entry.as_ref().unwrap();
                    self.save(outcome::manifest_read(
                        entry,
                        &self.manifest,
                        &self.config,
                        self.now,
                    ));
                }
            }
            Step::StoreReport(judgement) => {
                let stored = self
                    .reports
                    .entry(judgement.report_key)
                    .or_insert_with(|| judgement.report.clone());
                assert_eq!(*stored, judgement.report, "a report was changed");
                if !crash {
                    let next = outcome::report_stored(
                        self.entry.as_ref().unwrap(),
                        &self.config,
                        self.now,
                    );
                    self.save(next);
                }
            }
            Step::Stop(host) => {
                self.set_state(&host.instance_id, InstanceState::Stopped);
                self.observed.remove(&host.instance_arn);
                self.desired.remove(&host.instance_arn);
                if !crash {
                    let next = outcome::stopped(self.entry.as_ref().unwrap(), self.now);
                    self.save(next);
                }
            }
            Step::Start(host) => {
                let entry = self.entry.clone().unwrap();
                let known = self.instances.iter().find(|known| known.id == host.instance_id);
                let is_ended = known.is_none_or(|known| known.state.is_ended());
                let next = if is_ended || !self.can_start {
                    outcome::start_refused(&entry, "InsufficientInstanceCapacity", self.now)
                } else {
                    self.set_state(&host.instance_id, InstanceState::Running);
                    outcome::started(&entry, [self.fresh; 32], self.now)
                };
                if !crash {
                    self.save(next);
                }
            }
            Step::Terminate(host) => {
                for instance in &mut self.instances {
                    if instance.id == host.instance_id {
                        instance.state = InstanceState::Terminated;
                    }
                }
                self.observed.remove(&host.instance_arn);
                if !crash {
                    let entry = self.entry.as_ref().unwrap();
                    let next = outcome::terminated(entry, &self.config, &self.short, self.now);
                    self.save(next);
                }
            }
        }
        true
    }

    /// EC2 changes an instance that is not terminated.
    fn set_state(&mut self, instance_id: &str, state: InstanceState) {
        let is_it = |i: &&mut Instance| i.id == instance_id && !i.state.is_ended();
        for instance in self.instances.iter_mut().filter(is_it) {
            instance.state = state;
        }
    }

    /// Takes steps until there is nothing to do but wait.
    pub(crate) fn settle(&mut self) {
        for _ in 0..100 {
            if !self.step(false) {
                return;
            }
        }
        panic!("the record does not settle: {:?}", self.entry);
    }

    fn save(&mut self, entry: Entry) {
        let Some(before) = &self.entry else { return self.save_alone(entry) };
        match seated(before, entry, self.slot()) {
            Seated::Alone(entry) => self.save_alone(*entry),
            Seated::Together(together) => {
                let Together { entry, slot, told } = *together;
                self.save_slot(&slot);
                self.desired.extend(told);
                self.save_alone(entry);
            }
        }
    }

    fn save_alone(&mut self, entry: Entry) {
        let version = self.entry.as_ref().map_or(0, |entry| entry.version);
        assert_eq!(entry.version, version, "an entry is written from the one that was read");
        let entry = Entry { version: version + 1, ..entry };
        // As the table gives it back to whoever reads it next.
        let stored = serde_json::to_value(&entry).unwrap();
        let read: Entry = serde_json::from_value(stored).expect("a stored entry can be read");
        assert_eq!(read, entry);
        self.entry = Some(read);
    }

    fn project(&mut self, projected: &Projected) {
        let Some(record) = &mut self.record else { return };
        assert_eq!(projected.read_status.as_ref(), record.get("status"));
        if let Some(status) = projected.status {
            record.insert("status".to_owned(), status.as_str().into());
        }
        let Value::Object(new) = serde_json::to_value(&projected.projection).unwrap() else {
            panic!("a projection is a map")
        };
        for name in bailey_model::projection::Projection::OPTIONAL {
            record.remove(name);
        }
        record.extend(new);
    }

    fn launch(&mut self, request: &LaunchRequest, fate: LaunchFate) -> Option<Entry> {
        let entry = self.entry.clone().unwrap();
        let is_known =
            self.instances.iter().any(|i| i.request.client_token == request.client_token);
        match fate {
            LaunchFate::RequestLost => return None,
            // A token that was used before answers with its instance, and the shell confirms that
            // there is none before it believes a refusal.
            LaunchFate::Refused if is_known => {}
            LaunchFate::Refused => {
                let refused = LaunchRefused {
                    code: "InsufficientInstanceCapacity".to_owned(),
                    message: "none left".to_owned(),
                };
                let (config, short) = (&self.config, &self.short);
                return Some(outcome::launch_refused(&entry, &refused, config, short, self.now));
            }
            LaunchFate::Works | LaunchFate::AnswerLost => {}
        }
        let known = self
            .instances
            .iter()
            .find(|instance| instance.request.client_token == request.client_token);
        let id = if let Some(instance) = known {
            assert_eq!(instance.request, *request, "a token was used for two requests");
            instance.id.clone()
        } else {
            let id = format!("i-{:017x}", self.instances.len() + 1);
            let (state, request) = (InstanceState::Running, request.clone());
            self.instances.push(Instance { id: id.clone(), state, request });
            id
        };
        let launched = Launched {
            instance_arn: format!("arn:aws:ec2:eu-west-1:123456789012:instance/{id}"),
            instance_id: id,
            availability_zone: "eu-west-1a".to_owned(),
        };
        (fate != LaunchFate::AnswerLost)
            .then(|| outcome::launched(&entry, launched, [self.fresh; 32], self.now))
    }

    /// The host does all that its `desired` item asks of it.
    pub(crate) fn host_works(&mut self) {
        self.host_answers(|_| {});
    }

    /// As [`World::host_works`], with the report changed by `change` before it is written.
    pub(crate) fn host_answers(&mut self, change: impl Fn(&mut ObservedAssignment)) {
        for (arn, desired) in &self.desired {
            let alive = self
                .instances
                .iter()
                .find(|instance| arn.ends_with(&instance.id) && !instance.state.is_gone());
            let Some(instance) = alive else { continue };
            let before = self.observed.get(arn).cloned().unwrap_or_default();
            let assignments = desired.assignments.iter().map(|assignment| {
                let restarts = before.assignments.first().map_or(0, |a| a.restarts);
                let mut observed = ObservedAssignment {
                    enclave_id: assignment.enclave_id.clone(),
                    generation: assignment.generation,
                    phase: HostPhase::Running,
                    entered: BTreeMap::from([(HostPhase::Fetching, self.now)]),
                    enclave: Some(RunningEnclave {
                        nitro_id: format!("{}-enc1", instance.id),
                        cid: 16,
                    }),
                    measurements: image_pcrs(),
                    answer: Some(Answer {
                        sequence: assignment.nonce.sequence,
                        document: document(&instance.id, assignment, self.now),
                    }),
                    failure: None,
                    restarts,
                    health: None,
                };
                change(&mut observed);
                observed
            });
            let observed = Observed {
                desired_version: desired.version,
                assignments: assignments.collect(),
                ..before
            };
            self.observed.insert(arn.clone(), observed);
        }
    }

    /// Deploys what the record asks for, all the way.
    pub(crate) fn deploy(&mut self) {
        self.settle();
        self.host_works();
        self.settle();
    }

    pub(crate) fn state(&self) -> &State {
        &self.entry.as_ref().unwrap().state
    }

    /// At rest, the stored reports are one chain that ends with the ledger's head.
    pub(crate) fn check_history(&self) {
        let mut head = self.entry.as_ref().and_then(|e| e.chain.clone()).map(|head| head.sha256);
        let sha256 = |text: &String| hex::encode(Sha256::digest(text.as_bytes()));
        let mut reports: BTreeMap<_, _> =
            self.reports.values().map(|text| (sha256(text), text)).collect();
        while let Some(sha256) = head {
            let text = reports.remove(&sha256).expect("a report of the chain is not stored");
            let report: Report = serde_json::from_str(text).unwrap();
            head = report.previous;
        }
        assert_eq!(reports.len(), 0, "a report is stored that the chain does not name");
    }

    /// What must hold in every world at every instant.
    pub(crate) fn check(&self) {
        for instance in &self.instances {
            let token = &instance.request.client_token;
            let same = self.instances.iter().filter(|i| i.request.client_token == *token).count();
            assert_eq!(same, 1, "two instances were launched for one intent");
            let is_sibling = |other: &&Instance| {
                other.request.tags == instance.request.tags && !other.state.is_ended()
            };
            let living = self.instances.iter().filter(is_sibling).count();
            assert!(living <= 1, "two instances are there for one generation");
        }
        assert!(self.alive() <= 1, "two instances are alive at a time");
        let Some(entry) = &self.entry else {
            assert!(self.instances.is_empty());
            return;
        };
        if let State::Ended { .. } = entry.state {
            let is_left = self.instances.iter().any(|instance| !instance.state.is_ended());
            assert!(!is_left, "an instance outlives its generation");
        }
        if let State::Deployed { .. } = entry.state {
            let attested = entry.attested.as_ref().expect("deployed means attested");
            let key = attested.report.strip_prefix("s3://reports/").unwrap();
            assert!(self.reports.contains_key(key), "deployed means reported");
        }
        if self.status() == "DESTROYED"
            && matches!(entry.state, State::Ended { outcome: Outcome::Destroyed, .. })
        {
            assert_eq!(self.alive(), 0);
        }
    }
}

/// A failure as a host reports it.
pub(crate) fn host_failure(code: FailureCode) -> Failure {
    Failure::new(code, "the host says why", UnixMillis(0))
}

/// A document of the enclave that runs `assignment` on the instance.
pub(crate) fn document(
    instance_id: &str,
    assignment: &bailey_model::hosts::Assignment,
    now: UnixMillis,
) -> Base64Bytes {
    document_with(instance_id, assignment, now, None)
}

/// The same with a key of its workload's.
pub(crate) fn document_with(
    instance_id: &str,
    assignment: &bailey_model::hosts::Assignment,
    now: UnixMillis,
    public_key: Option<Vec<u8>>,
) -> Base64Bytes {
    let nonce = assignment.nonce.bytes.as_slice();
    let bound = binding::user_data(assignment.enclave_id.as_str(), assignment.generation.0, nonce);
    let asked =
        Attestation { nonce: Some(nonce.to_vec()), user_data: Some(bound.to_vec()), public_key };
    let nsm = module(instance_id, assignment.debug, now);
    Base64Bytes(nsm.attest(&asked, now.0).unwrap())
}

/// The module of an instance's enclave. Its certificates take long to make and live for hours, so
/// worlds share them.
fn module(instance_id: &str, debug: bool, now: UnixMillis) -> Arc<SimulatedNsm> {
    static MODULES: LazyLock<Mutex<HashMap<Module, Arc<SimulatedNsm>>>> =
        LazyLock::new(Mutex::default);
    let half_day = now.0 / 43_200_000;
    let module = (instance_id.to_owned(), debug, half_day);
    let issue = || {
        let issued_at = half_day * 43_200_000;
        let parent = AUTHORITY.instance(instance_id, ROLE, issued_at).unwrap();
        let enclave = Enclave {
            module_id: format!("{instance_id}-enc0123456789abcdef"),
            measurements: image_pcrs().into_iter().map(|(index, pcr)| (index, pcr.0)).collect(),
            mode: if debug { Mode::Debug } else { Mode::Production },
        };
        Arc::new(SimulatedNsm::new(parent, enclave))
    };
    Arc::clone(MODULES.lock().unwrap().entry(module).or_insert_with(issue))
}

/// Instance, whether in debug mode, and in which half day.
type Module = (String, bool, u64);
