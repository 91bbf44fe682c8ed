//! A simulated parent: what a running instance is here.
//!
//! ```text
//! <state>/hosts/<instance id>/   the host's directory, as `bailey_nitro_cli_standin::host` has it
//!     agent.toml                 the agent's configuration
//!     nitro-cli                  notes each call and hands it to the stand-in
//!     poweroff                   made by the agent to shut the instance down
//! <state>/logs/<instance id>.*   what is kept when the instance is gone
//! ```

mod agent;
mod files;
mod imds;
mod options;

use agent::Supervisor;
use bailey_model::UnixMillis;
use bailey_nitro_cli_standin::host::HostError;
use imds::Metadata;
pub use options::{HostOptions, InstanceFacts};
use std::{io, path::PathBuf, time::Duration};

/// A simulated parent that runs.
#[derive(Debug)]
pub struct Host {
    dir: PathBuf,
    metadata: Metadata,
    supervisor: Supervisor,
}

/// How a host came to its end by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ended {
    /// The agent powered it off.
    PoweredOff,
}

impl Host {
    /// Boots the host of an instance: its directory, its metadata service, its agent.
    ///
    /// A host that was halted before keeps what its agent wrote below `state`.
    pub async fn boot(options: &HostOptions, facts: InstanceFacts) -> Result<Self, BootError> {
        let dir = options.dir(&facts.id);
        bailey_nitro_cli_standin::host::create(&dir, &facts.host_facts(options))
            .map_err(|source| BootError::Directory { source })?;
        let metadata =
            Metadata::serve(&facts).await.map_err(|source| BootError::Metadata { source })?;
        files::write(options, &dir, metadata.url())
            .map_err(|source| BootError::Files { dir: dir.clone(), source })?;
        let log = options.log(&facts.id, "agent.log");
        let program = options.agent_program(&dir, log, &facts.region);
        let supervisor = Supervisor::start(program, dir.join(files::POWEROFF));
        Ok(Self { dir, metadata, supervisor })
    }

    /// Waits until the host ends by itself. Cancel-safe.
    pub async fn ended(&self) -> Ended {
        self.supervisor.powered_off().await;
        Ended::PoweredOff
    }

    /// Cuts the power: ends the agent, every enclave and the metadata service at once.
    pub async fn halt(&self) {
        self.supervisor.stop().await;
        self.metadata.stop();
        if let Err(left) = crate::processes::end_all_of(&self.dir, HALT_LIMIT).await {
            let left: Vec<_> = left.iter().map(ToString::to_string).collect();
            log::error!(processes = left.join("; "); "processes of a halted host still run");
        }
    }

    /// The agent's process, while one runs.
    #[must_use]
    pub fn agent_pid(&self) -> Option<u32> {
        self.supervisor.pid()
    }

    /// How often the agent was started.
    #[must_use]
    pub fn agent_starts(&self) -> u64 {
        self.supervisor.starts()
    }

    /// Kills the agent; false when none runs.
    #[must_use]
    pub fn kill_agent(&self) -> bool {
        self.supervisor.kill()
    }

    /// The address of the metadata service.
    #[must_use]
    pub fn imds_url(&self) -> String {
        self.metadata.url().to_owned()
    }

    /// Announces that the instance will be taken back at `at`.
    pub fn announce_interruption(&self, at: UnixMillis) {
        self.metadata.announce_interruption(at);
    }
}

/// A process that got SIGKILL is gone when it next would run.
const HALT_LIMIT: Duration = Duration::from_secs(10);

/// Why a host did not boot.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// Its directory could not be made.
    #[error("the host's directory cannot be made")]
    Directory {
        /// Why.
        source: HostError,
    },
    /// The agent's configuration could not be written.
    #[error("the agent's files cannot be written to `{}`", dir.display())]
    Files {
        /// The host's directory.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The metadata service could not be started.
    #[error("the metadata service cannot be started")]
    Metadata {
        /// Why.
        source: io::Error,
    },
}
