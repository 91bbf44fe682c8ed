//! The enclaves of this parent: nitro-cli and the pool behind one lock.
//!
//! # Guarantees
//! - One call at a time: concurrent `run-enclave` calls make each other fail (E36, E39), and the
//!   pool must not change between a look at it and its use.
//! - An enclave is started under a lock on a file that nitro-cli itself holds, as its standard
//!   input, until it ends. An agent that is killed in the middle of a start and comes back waits
//!   for that start to finish, and then finds the enclave instead of starting a second one.

use crate::{
    helper::{Helper, HelperError},
    name::EnclaveName,
    nitro_cli::{NitroCli, NitroCliError},
    pool::{Pool, RoomError},
    ports::{Cause, EnclaveInfo, Enclaves, RoomOrder, StartOrder},
};
use bailey_model::{failure::FailureCode, hosts::RunningEnclave};
use nix::fcntl::OFlag;
use std::{
    fs::{File, TryLockError},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
    time::Duration,
};
use tokio::{sync::Mutex, time::Instant};

/// How long another agent's start is waited for: longer than nitro-cli gives an ordinary image.
const LONGEST_FOREIGN_START: Duration = Duration::from_mins(5);
/// There is no event to await for a lock of another process; asking again costs nothing.
const LOCK_RETRY: Duration = Duration::from_millis(100);
/// How often a terminated enclave is looked for before it counts as not ended.
const END_CHECKS: u32 = 20;
const END_CHECK_PAUSE: Duration = Duration::from_millis(250);

/// This parent, as [`Enclaves`].
#[derive(Debug)]
pub struct Parent {
    cli: NitroCli,
    pool: Pool,
    start_lock: PathBuf,
    helper: Option<Helper>,
    turn: Mutex<()>,
}

impl Parent {
    /// A parent whose starts are guarded by the file `start_lock`, and carried out by the helper, when
    /// there is one.
    #[must_use]
    pub fn new(cli: NitroCli, pool: Pool, start_lock: PathBuf, helper: Option<Helper>) -> Self {
        Self { cli, pool, start_lock, helper, turn: Mutex::new(()) }
    }

    async fn describe(&self) -> Result<Vec<EnclaveInfo>, ParentError> {
        self.cli.describe().await.map_err(ParentError::NitroCli)
    }

    /// Takes the lock that nitro-cli holds while it starts an enclave.
    async fn lock_starts(&self) -> Result<File, ParentError> {
        let unusable = |source| ParentError::Lock { path: self.start_lock.clone(), source };
        let file = File::options()
            .read(true)
            .append(true)
            .create(true)
            // The helper opens it as root, in a directory of the agent's.
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(&self.start_lock)
            .map_err(unusable)?;
        let deadline = Instant::now() + LONGEST_FOREIGN_START;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    tokio::time::sleep(LOCK_RETRY).await;
                }
                Err(TryLockError::WouldBlock) => return Err(ParentError::StartUnderWay),
                Err(TryLockError::Error(source)) => return Err(unusable(source)),
            }
        }
    }

    async fn named(&self, name: &EnclaveName) -> Result<Vec<EnclaveInfo>, ParentError> {
        let mut enclaves = self.describe().await?;
        enclaves.retain(|enclave| enclave.name == name.as_str());
        Ok(enclaves)
    }
}

impl Enclaves for Parent {
    type Error = ParentError;

    async fn list(&self) -> Result<Vec<EnclaveInfo>, ParentError> {
        let _turn = self.turn.lock().await;
        let _no_start_under_way = self.lock_starts().await?;
        self.describe().await
    }

    async fn make_room(&self, order: RoomOrder) -> Result<(), ParentError> {
        let _turn = self.turn.lock().await;
        let running = self.describe().await?;
        self.pool.make_room(&running, &order).await.map_err(ParentError::Room)
    }

    async fn start(&self, order: StartOrder) -> Result<RunningEnclave, ParentError> {
        let _turn = self.turn.lock().await;
        let lock = self.lock_starts().await?;
        if let Some(enclave) = self.named(&order.name).await?.first() {
            return Ok(enclave.as_running());
        }
        match &self.helper {
            None => self.cli.start(&order, lock).await.map_err(ParentError::NitroCli),
            Some(helper) => {
                // It takes the lock itself, and looks for the name under it.
                drop(lock);
                helper.start(&order).await.map_err(ParentError::Helper)
            }
        }
    }

    async fn end(&self, name: EnclaveName) -> Result<(), ParentError> {
        let _turn = self.turn.lock().await;
        let _no_start_under_way = self.lock_starts().await?;
        for enclave in self.named(&name).await? {
            if let Err(err) = self.cli.terminate(&enclave.nitro_id).await {
                // It may have ended by itself meanwhile; the list below tells.
                log::warn!(
                    nitro_id = enclave.nitro_id.as_str(), error = bailey_runtime::chain(&err);
                    "terminate-enclave failed"
                );
            }
        }
        for _ in 0..END_CHECKS {
            if self.named(&name).await?.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(END_CHECK_PAUSE).await;
        }
        Err(ParentError::StillThere { name })
    }
}

/// Why a call on the parent's enclaves failed.
#[derive(Debug, thiserror::Error)]
pub enum ParentError {
    /// The helper did not start it.
    #[error(transparent)]
    Helper(HelperError),
    /// The lock file cannot be used.
    #[error("cannot lock `{}`", path.display())]
    Lock {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// nitro-cli failed.
    #[error(transparent)]
    NitroCli(NitroCliError),
    /// The pool has no room.
    #[error(transparent)]
    Room(RoomError),
    /// A start that an earlier agent began does not come to its end.
    #[error("a nitro-cli of an earlier agent is still starting an enclave")]
    StartUnderWay,
    /// The enclave was terminated and is listed all the same.
    #[error("enclave {name} is still listed after it was terminated")]
    StillThere {
        /// Its name.
        name: EnclaveName,
    },
}

impl Cause for ParentError {
    fn code(&self) -> FailureCode {
        match self {
            Self::Helper(source) => source.code(),
            Self::NitroCli(source) => source.code(),
            Self::Room(source) => source.code(),
            Self::Lock { .. } | Self::StartUnderWay | Self::StillThere { .. } => {
                FailureCode::EnclaveStartFailed
            }
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Helper(source) => source.hint(),
            Self::NitroCli(source) => source.hint(),
            Self::Room(source) => source.hint(),
            Self::Lock { .. } | Self::StartUnderWay | Self::StillThere { .. } => None,
        }
    }
}
