//! The enclave pool: the CPUs and the memory that the parent set aside for enclaves.
//!
//! # Expected flow
//! Facts are read, a plan is made, the allocator's file is written, the allocator is run, and the
//! facts are read *again*: the allocator has reported success when it had failed, so only what the
//! kernel says afterwards counts.
//!
//! # Guarantees
//! While an enclave runs the pool is not changed; what does not fit is refused with the numbers.

pub mod allocator;
pub mod cpu_list;
pub mod facts;
pub mod plan;

use crate::{
    command::CommandError,
    helper::{Helper, HelperError},
    name::EnclaveName,
    ports::{Cause, EnclaveInfo, RoomOrder, Size},
};
use allocator::Allocator;
use bailey_model::failure::FailureCode;
use facts::{FactsError, HostFacts};
use plan::{PoolPlan, Shortage};
use std::{
    io,
    path::{Path, PathBuf},
};

/// The pool of this parent.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Where sysfs and procfs lie: `/` on a real parent.
    pub facts_root: PathBuf,
    /// The allocator's configuration file.
    pub allocator_file: PathBuf,
    /// The command that makes the allocator read it.
    pub allocator_command: Vec<String>,
    /// The helper that does both, when this process has no right to.
    pub helper: Option<Helper>,
}

impl Pool {
    /// Sees to it that the pool can hold the enclave of `order` beside those that run.
    pub async fn make_room(
        &self,
        running: &[EnclaveInfo],
        order: &RoomOrder,
    ) -> Result<(), RoomError> {
        let facts = self.facts()?;
        let own = order.wanted.iter().find(|(name, _)| *name == order.name);
        let Some((_, size)) = own else { return Ok(()) };
        if !running.is_empty() {
            let used_cpus = running.iter().map(|enclave| enclave.cpu_count).sum();
            return plan::fits(&facts, used_cpus, *size)
                .map_err(|shortage| RoomError::Occupied { running: running.len(), shortage });
        }
        let sizes = admitted(&facts, order.wanted.as_slice(), &order.name)?;
        let plan = plan::plan(&facts, &sizes).map_err(RoomError::Host)?;
        if plan::check_applied(&facts, plan).is_ok() {
            return Ok(());
        }
        self.apply(plan).await
    }

    async fn apply(&self, plan: PoolPlan) -> Result<(), RoomError> {
        let PoolPlan { cpu_count, memory_mib } = plan;
        log::info!(cpu_count, memory_mib; "setting up the enclave pool");
        let text = format!("---\nmemory_mib: {memory_mib}\ncpu_count: {cpu_count}\n");
        let (success, said) = self.allocator().apply(&text).await?;
        // The shortage is the better explanation, so it is looked for first.
        plan::check_applied(&self.facts()?, plan)
            .map_err(|shortage| RoomError::Applied { shortage, said: said.clone() })?;
        if success { Ok(()) } else { Err(RoomError::Allocator { said }) }
    }

    pub(crate) fn allocator(&self) -> Allocator {
        let direct = || Allocator::Direct {
            file: self.allocator_file.clone(),
            command: self.allocator_command.clone(),
        };
        self.helper.clone().map_or_else(direct, Allocator::Helped)
    }

    fn facts(&self) -> Result<HostFacts, RoomError> {
        HostFacts::read(Path::new(&self.facts_root)).map_err(RoomError::Facts)
    }
}

/// The sizes that fit together, taken in the coordinator's order; `own` must be among them.
fn admitted(
    facts: &HostFacts,
    wanted: &[(EnclaveName, Size)],
    own: &EnclaveName,
) -> Result<Vec<Size>, RoomError> {
    let mut sizes = Vec::new();
    for (name, size) in wanted {
        sizes.push(*size);
        if let Err(shortage) = plan::plan(facts, &sizes) {
            if name == own {
                return Err(RoomError::Host(shortage));
            }
            sizes.pop();
        }
    }
    Ok(sizes)
}

/// Why the pool cannot hold an enclave.
#[derive(Debug, thiserror::Error)]
pub enum RoomError {
    /// The allocator failed although the kernel shows the pool that was asked for.
    #[error("the allocator failed: {said}")]
    Allocator {
        /// The end of what it said.
        said: String,
    },
    /// The allocator reserved less than it was asked for.
    #[error("the allocator reserved too little ({said})")]
    Applied {
        /// What is missing.
        #[source]
        shortage: Shortage,
        /// The end of what it said.
        said: String,
    },
    /// The allocator could not be run.
    #[error("cannot run the allocator")]
    Command(#[source] CommandError),
    /// The parent could not be examined.
    #[error("cannot examine the parent")]
    Facts(#[source] FactsError),
    /// The helper did not do it.
    #[error(transparent)]
    Helper(HelperError),
    /// This host is too small.
    #[error("the host is too small")]
    Host(#[source] Shortage),
    /// The pool is too small beside what runs, and cannot change before that has ended.
    #[error("the pool cannot grow while {running} enclaves run")]
    Occupied {
        /// How many enclaves run.
        running: usize,
        /// What is missing.
        #[source]
        shortage: Shortage,
    },
    /// The allocator's file could not be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl Cause for RoomError {
    fn code(&self) -> FailureCode {
        match self {
            Self::Applied { shortage, .. }
            | Self::Host(shortage)
            | Self::Occupied { shortage, .. } => match shortage {
                Shortage::SplitCore { .. } => FailureCode::InvalidConfiguration,
                Shortage::Cpus { .. } | Shortage::Memory { .. } => {
                    FailureCode::InsufficientHostResources
                }
            },
            Self::Allocator { .. } | Self::Command(_) | Self::Facts(_) | Self::Write { .. } => {
                FailureCode::EnclaveStartFailed
            }
            Self::Helper(source) => source.code(),
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Allocator { .. } | Self::Command(_) | Self::Facts(_) | Self::Write { .. } => {
                Some("check nitro-enclaves-allocator and the nitro_enclaves driver on the parent")
            }
            Self::Helper(source) => source.hint(),
            _ => None,
        }
    }
}
