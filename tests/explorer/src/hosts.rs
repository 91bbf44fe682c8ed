//! The hosts' side: real documents under a root of this world.

use crate::{
    shared::{Memo, Shared},
    world::{Hosting, World},
};
use bailey_attestation::{RootFingerprint, TrustedRoots};
use bailey_lifecycle::InstanceState;
use bailey_model::{
    Base64Bytes, Pcr, PcrSet, binding,
    failure::{Failure, FailureCode},
    hosts::{Answer, Assignment, Desired, HostPhase, Observed, ObservedAssignment, RunningEnclave},
    instance_type::InstanceType,
};
use bailey_simulated_nsm::{Attestation, Authority, Enclave, Mode, SimulatedNsm};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

/// The role of every parent here.
pub(crate) const ROLE: &str = "arn:aws:iam::123456789012:role/parent";

/// When the certificates were issued: a while before the world begins.
const ISSUED_MS: u64 = 1_799_999_000_000;

static AUTHORITY: LazyLock<Option<Authority>> = LazyLock::new(|| Authority::generate().ok());

pub(crate) fn roots() -> TrustedRoots {
    let root = AUTHORITY.as_ref().map(|it| RootFingerprint::of_der(it.certificate_der()));
    TrustedRoots::only(root.into_iter().collect())
}

/// The record, with an attribute that is the web app's own.
pub(crate) fn record(hosting: Hosting, enclave: usize) -> Map<String, Value> {
    let mut record = json!({
        "id": format!("enc_{}", enclave + 1), "status": "PENDING_DEPLOY", "note": "the web app's own",
        "configuration": { "instance_type": "m5.xlarge", "cpu_count": 2, "memory_mib": 1024,
                           "eif_path": "s3://bucket/image.eif", "restart": "always" },
    });
    if let (Hosting::Shared, Some(configuration)) = (hosting, record.get_mut("configuration")) {
        // There is room for three on it.
        *configuration = json!({ "instance_type": "m5.2xlarge", "cpu_count": 2, "memory_mib": 1024,
            "eif_path": "s3://bucket/image.eif", "restart": "always", "share_parent": true });
    }
    match record {
        Value::Object(record) => record,
        _ => Map::new(),
    }
}

/// The type of spare hosts.
#[expect(clippy::expect_used, reason = "it is a type's name")]
pub(crate) fn spare_type() -> InstanceType {
    "m5.xlarge".parse().expect("m5.xlarge is a type")
}

pub(crate) fn arn(instance_id: &str) -> String {
    format!("arn:aws:ec2:eu-west-1:123456789012:instance/{instance_id}")
}

/// What a host does with its `desired` item.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Deed {
    /// All that is asked.
    Works,
    /// It gives up.
    Fails,
    /// It starts its enclave again, and has not asked it yet.
    Restarts,
}

impl World {
    /// The hosts that could do something: their instance runs, and their item asks for something.
    pub(crate) fn hosts_at_work(&self) -> Vec<String> {
        let runs = |arn: &&String| {
            let is_it = |i: &&crate::world::Instance| arn.ends_with(&i.id);
            self.instances.iter().find(is_it).is_some_and(|i| i.state == InstanceState::Running)
        };
        self.desired.keys().filter(runs).cloned().collect()
    }

    /// The host does something and reports it.
    ///
    /// All but the deed that works is done to the enclave of this number alone.
    pub(crate) fn host_does(&mut self, arn: &str, deed: Deed, number: usize) {
        let Some(desired) = self.desired.get(arn) else { return };
        let before = self.observed.get(arn);
        let is_it = |i: &&crate::world::Instance| arn.ends_with(&i.id);
        let is_taken_away = self.instances.iter().find(is_it).is_some_and(|i| i.is_taken_away);
        // The same is reported in many states.
        let depends_on = (arn, desired, before, deed, number, self.passed, is_taken_away);
        let observed = REPORTED.get(depends_on, || {
            let announced = is_taken_away.then(|| "EC2 takes the instance away".to_owned());
            let observed = self.reported(arn, desired, before, deed, number);
            Shared::new(Observed { announced, is_taken_away, ..observed })
        });
        self.observed.insert(arn.to_owned(), observed);
    }

    fn reported(
        &self,
        arn: &str,
        desired: &Desired,
        before: Option<&Shared<Observed>>,
        deed: Deed,
        number: usize,
    ) -> Observed {
        let restarts_before = |assignment: &Assignment| {
            let mut known = before.iter().flat_map(|observed| &observed.assignments);
            known.find(|it| it.enclave_id == assignment.enclave_id).map_or(0, |it| it.restarts)
        };
        let report = |(place, assignment): (usize, &Assignment)| {
            let deed = if place == number { deed } else { Deed::Works };
            self.report(arn, assignment, deed, restarts_before(assignment))
        };
        Observed {
            desired_version: desired.version,
            assignments: desired.assignments.iter().enumerate().map(report).collect(),
            ..before.map(|observed| Observed::clone(observed)).unwrap_or_default()
        }
    }

    fn report(
        &self,
        arn: &str,
        assignment: &Assignment,
        deed: Deed,
        restarts: u32,
    ) -> ObservedAssignment {
        let instance_id = arn.rsplit('/').next().unwrap_or_default();
        let answers = deed == Deed::Works;
        let answer = answers.then(|| Answer {
            sequence: assignment.nonce.sequence,
            document: document(instance_id, assignment, self.now().0),
        });
        let failure = (deed == Deed::Fails)
            .then(|| Failure::new(FailureCode::EnclaveStopped, "it ended", self.now()));
        ObservedAssignment {
            enclave_id: assignment.enclave_id.clone(),
            generation: assignment.generation,
            phase: match deed {
                Deed::Works => HostPhase::Running,
                Deed::Fails => HostPhase::Failed,
                Deed::Restarts => HostPhase::Attesting,
            },
            entered: BTreeMap::new(),
            enclave: Some(RunningEnclave {
                nitro_id: format!("{instance_id}-{}", assignment.enclave_id),
                cid: 16,
            }),
            measurements: image_pcrs(),
            answer,
            failure,
            restarts: restarts + u32::from(deed == Deed::Restarts),
            health: None,
        }
    }
}

/// What hosts report.
static REPORTED: LazyLock<Memo<Shared<Observed>>> = LazyLock::new(|| Memo::new(50_000));

fn image_pcrs() -> PcrSet {
    (0..=2).map(|index| (index, Pcr([index + 1; 48]))).collect()
}

/// What a document depends on.
type Asked = (String, String, u64, Vec<u8>, u64);

/// A document takes long to sign, and the same one is asked for in many states.
fn document(instance_id: &str, assignment: &Assignment, now_ms: u64) -> Base64Bytes {
    static DOCUMENTS: LazyLock<Mutex<HashMap<Asked, Base64Bytes>>> = LazyLock::new(Mutex::default);
    let nonce = assignment.nonce.bytes.as_slice();
    let id = assignment.enclave_id.as_str();
    let generation = assignment.generation.0;
    let asked = (instance_id.to_owned(), id.to_owned(), generation, nonce.to_vec(), now_ms);
    let mut documents = DOCUMENTS.lock().unwrap_or_else(PoisonError::into_inner);
    documents
        .entry(asked)
        .or_insert_with(|| {
            let bound = binding::user_data(id, assignment.generation.0, nonce);
            let asked = Attestation {
                nonce: Some(nonce.to_vec()),
                user_data: Some(bound.to_vec()),
                public_key: None,
            };
            let signed = module(instance_id, id).and_then(|nsm| nsm.attest(&asked, now_ms).ok());
            Base64Bytes(signed.unwrap_or_default())
        })
        .clone()
}

/// By instance and enclave.
type Modules = HashMap<(String, String), Arc<SimulatedNsm>>;

fn module(instance_id: &str, enclave_id: &str) -> Option<Arc<SimulatedNsm>> {
    static MODULES: LazyLock<Mutex<Modules>> = LazyLock::new(Mutex::default);
    let key = (instance_id.to_owned(), enclave_id.to_owned());
    let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = modules.get(&key) {
        return Some(Arc::clone(known));
    }
    let parent = AUTHORITY.as_ref()?.instance(instance_id, ROLE, ISSUED_MS).ok()?;
    let enclave = Enclave {
        module_id: format!(
            "{instance_id}-enc{:0>16}",
            enclave_id.len() + usize::from(enclave_id.ends_with('2'))
        ),
        measurements: image_pcrs().into_iter().map(|(index, pcr)| (index, pcr.0)).collect(),
        mode: Mode::Production,
    };
    let nsm = Arc::new(SimulatedNsm::new(parent, enclave));
    modules.insert(key, Arc::clone(&nsm));
    Some(nsm)
}
