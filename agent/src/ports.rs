//! What the supervisor needs from the world, as traits, and the values that cross them.
//!
//! The adapters behind them speak to DynamoDB, S3, nitro-cli and vsock; tests put fakes there. An
//! error that ends an assignment says by itself which failure it is: see [`Cause`].

use crate::name::EnclaveName;
use bailey_model::{
    EnclaveId, Generation, PcrSet, UnixMillis,
    failure::{Failure, FailureCode},
    hosts::{Beat, Desired, EifSource, Observed, RunningEnclave},
};
pub use bailey_nitro_cli::EnclaveInfo;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, error::Error, future::Future, path::PathBuf};

/// The hosts table, as far as this instance may use it.
pub trait HostsTable: Send + Sync + 'static {
    /// Reads what this host should run; `None` while nothing was ever written.
    fn desired(&self) -> impl Future<Output = Result<Option<Desired>, TableError>> + Send;
    /// Replaces what this host reports.
    fn report(&self, observed: &Observed) -> impl Future<Output = Result<(), TableError>> + Send;
    /// Replaces this host's heartbeat.
    fn beat(&self, beat: &Beat) -> impl Future<Output = Result<(), TableError>> + Send;
}

/// Images in S3.
pub trait Images: Send + Sync + 'static {
    /// Why a fetch fails.
    type Error: Cause;
    /// Brings an image to the local disk and measures it on its way.
    fn fetch(&self, order: FetchOrder) -> impl Future<Output = Result<Image, Self::Error>> + Send;
}

/// The enclaves of this parent, and the pool of CPUs and memory that they are made of.
///
/// Calls are carried out one after the other: nitro-cli does not bear concurrent ones.
pub trait Enclaves: Send + Sync + 'static {
    /// Why a call fails.
    type Error: Cause;
    /// Every enclave of this parent, foreign ones included.
    fn list(&self) -> impl Future<Output = Result<Vec<EnclaveInfo>, Self::Error>> + Send;
    /// Sees to it that the pool can hold an enclave.
    fn make_room(&self, order: RoomOrder) -> impl Future<Output = Result<(), Self::Error>> + Send;
    /// Starts an enclave; one that already has the name is adopted instead.
    fn start(
        &self,
        order: StartOrder,
    ) -> impl Future<Output = Result<RunningEnclave, Self::Error>> + Send;
    /// Ends every enclave with the name; returns once none is left.
    fn end(&self, name: EnclaveName) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// The responders inside the enclaves.
pub trait Responders: Send + Sync + 'static {
    /// Why no acceptable document was had.
    type Error: Cause;
    /// Asks an enclave for a document and checks it; returns the raw document.
    fn attest(
        &self,
        order: AttestOrder,
    ) -> impl Future<Output = Result<Vec<u8>, Self::Error>> + Send;
}

/// An error that can end an assignment, and knows as what.
pub trait Cause: Error + Send + Sync + 'static {
    /// Which failure the record shows.
    fn code(&self) -> FailureCode;

    /// Advice that is better than the code's usual one.
    fn hint(&self) -> Option<&'static str> {
        None
    }
}

/// The failure that an error amounts to: its whole chain of causes as the message.
#[must_use]
pub fn failure(error: &impl Cause, at: UnixMillis) -> Failure {
    let mut failure = Failure::new(error.code(), bailey_runtime::chain(error), at);
    if let Some(hint) = error.hint() {
        hint.clone_into(&mut failure.hint);
    }
    failure
}

/// One image to fetch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FetchOrder {
    /// For which enclave; its progress is shown with the heartbeat.
    pub enclave_id: EnclaveId,
    /// For which accepted request.
    pub generation: Generation,
    /// Where the image lies.
    pub source: EifSource,
    /// Images that must stay in the cache.
    pub in_use: Vec<PathBuf>,
}

/// An image on the local disk.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Image {
    /// Where it lies.
    pub path: PathBuf,
    /// Its size.
    pub size_bytes: u64,
    /// PCR0 to PCR2, and PCR8 when it is signed; measured from its bytes, never zero.
    pub measurements: PcrSet,
}

/// CPUs and memory of one enclave.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Size {
    /// vCPUs.
    pub cpu_count: u32,
    /// Memory, in MiB.
    pub memory_mib: u32,
}

/// Room that is needed in the pool.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RoomOrder {
    /// The enclave that needs it now.
    pub name: EnclaveName,
    /// Every enclave wanted on this host, in the coordinator's order: the pool is planned once for
    /// all of them, because it cannot change while one of them runs.
    pub wanted: Vec<(EnclaveName, Size)>,
    /// How large the pool is to be from the beginning, for enclaves that come later.
    pub pool: Option<Size>,
}

/// One enclave to start.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StartOrder {
    /// The name to give it.
    pub name: EnclaveName,
    /// Its image.
    pub image: Image,
    /// CPUs and memory.
    pub size: Size,
    /// Whether to run it in debug mode.
    pub debug: bool,
}

/// One enclave to ask for a document.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AttestOrder {
    /// For which enclave.
    pub enclave_id: EnclaveId,
    /// For which accepted request.
    pub generation: Generation,
    /// Its vsock context id.
    pub cid: u32,
    /// The nonce that the document must carry.
    pub nonce: Vec<u8>,
    /// The sequence of the nonce.
    pub sequence: u64,
    /// Whether a document of an enclave in debug mode is acceptable.
    pub debug: bool,
    /// The measurements that the document must show; not looked at in debug mode.
    pub measurements: PcrSet,
}

/// The enclaves with names of ours, by name.
pub type Inventory = BTreeMap<EnclaveName, EnclaveInfo>;

/// Why the hosts table could not be used.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// DynamoDB did not do it.
    #[error("cannot {operation} item `{key}` of table `{table}`")]
    Call {
        /// What was to be done: `read` or `update`.
        operation: &'static str,
        /// The table.
        table: String,
        /// The item's partition key.
        key: String,
        /// The SDK's reason.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The item is there, but it is none that this version of the agent understands.
    #[error("cannot understand item `{key}` of table `{table}`")]
    Malformed {
        /// The table.
        table: String,
        /// The item's partition key.
        key: String,
        /// The decoder's reason.
        source: bailey_runtime::items::ItemError,
    },
}
