//! Images, enclaves and responders of a light host: what is left of them is a security module each.

use super::{InstanceFacts, LightHosts};
use bailey_agent::{
    name::EnclaveName,
    ports::{
        AttestOrder, Cause, EnclaveInfo, Enclaves, FetchOrder, Image, Images, Responders,
        RoomOrder, StartOrder,
    },
};
use bailey_model::{PcrSet, binding, failure::FailureCode, hosts::RunningEnclave};
use bailey_nitro_cli_standin::slot::Slot;
use bailey_runtime::now;
use bailey_simulated_nsm::{Attestation, Authority, Enclave, IssueError, Mode, SimulatedNsm};
use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    io::{self, Write as _},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Smaller than a quarter of any enclave's memory, so that every image fits.
const IMAGE_BYTES: u64 = 1_024;
/// The lowest that nitro-cli gives.
const FIRST_CID: u32 = 16;

/// What a parent is made of.
#[derive(Debug)]
pub(super) struct Machine {
    authority: Authority,
    measurements: PcrSet,
    instance_id: String,
    role_arn: String,
    /// Where each start of an enclave is noted, as a whole host's nitro-cli does.
    starts: PathBuf,
    running: Mutex<BTreeMap<EnclaveName, Running>>,
}

#[derive(Debug)]
struct Running {
    info: EnclaveInfo,
    nsm: Arc<SimulatedNsm>,
}

impl Machine {
    pub(super) fn new(light: &LightHosts, facts: &InstanceFacts, starts: PathBuf) -> Self {
        Self {
            authority: light.authority.clone(),
            measurements: light.measurements.clone(),
            instance_id: facts.id.clone(),
            role_arn: facts.role_arn(),
            starts,
            running: Mutex::default(),
        }
    }

    /// The security module of an enclave that starts now.
    fn module(&self, slot: Slot, debug: bool) -> Result<SimulatedNsm, MachineError> {
        let parent = self.authority.instance(&self.instance_id, &self.role_arn, now().0);
        let enclave = Enclave {
            module_id: slot.module_id(&self.instance_id),
            measurements: self.measurements.iter().map(|(index, pcr)| (*index, pcr.0)).collect(),
            mode: if debug { Mode::Debug } else { Mode::Production },
        };
        Ok(SimulatedNsm::new(parent.map_err(MachineError::Sign)?, enclave))
    }

    fn note_start(&self, name: &EnclaveName) -> io::Result<()> {
        let mut log = OpenOptions::new().create(true).append(true).open(&self.starts)?;
        writeln!(log, "run-enclave --enclave-name {name}")
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<EnclaveName, Running>> {
        // Nothing panics while it holds the lock; if it did, the map would still be usable.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Images for Machine {
    type Error = MachineError;

    async fn fetch(&self, order: FetchOrder) -> Result<Image, MachineError> {
        Ok(Image {
            path: order.source.location.key.into(),
            size_bytes: IMAGE_BYTES,
            measurements: self.measurements.clone(),
        })
    }
}

impl Enclaves for Machine {
    type Error = MachineError;

    async fn list(&self) -> Result<Vec<EnclaveInfo>, MachineError> {
        Ok(self.lock().values().map(|running| running.info.clone()).collect())
    }

    async fn make_room(&self, _order: RoomOrder) -> Result<(), MachineError> {
        Ok(())
    }

    async fn start(&self, order: StartOrder) -> Result<RunningEnclave, MachineError> {
        if let Some(running) = self.lock().get(&order.name) {
            return Ok(running.info.as_running());
        }
        self.note_start(&order.name).map_err(MachineError::Note)?;
        let slot = Slot::random().map_err(MachineError::Slot)?;
        let nsm = Arc::new(self.module(slot, order.debug)?);
        let mut enclaves = self.lock();
        let highest = enclaves.values().map(|running| running.info.cid).max();
        let cid = highest.map_or(FIRST_CID, |cid| cid.saturating_add(1));
        let info = EnclaveInfo {
            name: order.name.as_str().to_owned(),
            nitro_id: slot.enclave_id(&self.instance_id),
            cid,
            cpu_count: order.size.cpu_count,
            memory_mib: order.size.memory_mib,
            running: true,
        };
        let enclave = info.as_running();
        enclaves.insert(order.name, Running { info, nsm });
        Ok(enclave)
    }

    async fn end(&self, name: EnclaveName) -> Result<(), MachineError> {
        self.lock().remove(&name);
        Ok(())
    }
}

impl Responders for Machine {
    type Error = MachineError;

    async fn attest(&self, order: AttestOrder) -> Result<Vec<u8>, MachineError> {
        let asked_of = |running: &&Running| running.info.cid == order.cid;
        let nsm = self.lock().values().find(asked_of).map(|running| Arc::clone(&running.nsm));
        let nsm = nsm.ok_or(MachineError::NoEnclave { cid: order.cid })?;
        let bound = binding::user_data(order.enclave_id.as_str(), order.generation.0, &order.nonce);
        let asked = Attestation {
            nonce: Some(order.nonce),
            user_data: Some(bound.to_vec()),
            public_key: None,
        };
        nsm.attest(&asked, now().0).map_err(MachineError::Sign)
    }
}

/// Why a light host cannot do what its agent's loop asks for.
#[derive(Debug, thiserror::Error)]
pub(super) enum MachineError {
    /// No enclave has this context id.
    #[error("no enclave has the CID {cid}")]
    NoEnclave {
        /// The context id.
        cid: u32,
    },
    /// The start cannot be noted.
    #[error("cannot note the start of an enclave")]
    Note(#[source] io::Error),
    /// A certificate or a document cannot be signed.
    #[error("cannot sign")]
    Sign(#[source] IssueError),
    /// The system gives no number for the enclave.
    #[error("there is no number for the enclave")]
    Slot(#[source] io::Error),
}

impl Cause for MachineError {
    fn code(&self) -> FailureCode {
        match self {
            Self::NoEnclave { .. } => FailureCode::AttestationUnavailable,
            Self::Note(_) | Self::Sign(_) | Self::Slot(_) => FailureCode::EnclaveStartFailed,
        }
    }
}
