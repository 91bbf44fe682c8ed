//! A simulated parent: what a running instance is here.
//!
//! ```text
//! <state>/hosts/<instance id>/   the host's directory, as `bailey_nitro_cli_standin::host` has it
//!     agent.toml                 the agent's configuration
//!     nitro-cli                  notes each call and hands it to the stand-in
//!     poweroff                   made by the agent to shut the instance down
//! <state>/logs/<instance id>.*   what is kept when the instance is gone
//! ```
//!
//! A thousand of them fit on one machine when they are [`light`]: tasks, without an agent of their own.

mod agent;
mod files;
mod imds;
pub mod light;
mod options;
mod whole;

use bailey_model::UnixMillis;
use bailey_nitro_cli_standin::host::HostError;
use light::{LightError, LightHost};
pub use options::{HostOptions, InstanceFacts};
use std::{io, path::PathBuf};
use whole::WholeHost;

/// A simulated parent that runs.
#[derive(Debug)]
pub struct Host {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Light(LightHost),
    Whole(WholeHost),
}

/// How a host came to its end by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ended {
    /// The agent powered it off.
    PoweredOff,
}

impl Host {
    /// Boots the host of an instance: its directory, its metadata service, its agent, or a light one.
    ///
    /// A host that was halted before keeps what its agent wrote below `state`.
    pub async fn boot(options: &HostOptions, facts: InstanceFacts) -> Result<Self, BootError> {
        let kind = match &options.light {
            Some(light) => {
                let host = LightHost::boot(light, options, &facts);
                Kind::Light(host.map_err(|source| BootError::Light { source })?)
            }
            None => Kind::Whole(WholeHost::boot(options, &facts).await?),
        };
        Ok(Self { kind })
    }

    /// Waits until the host ends by itself. Cancel-safe.
    pub async fn ended(&self) -> Ended {
        match &self.kind {
            Kind::Light(host) => host.powered_off().await,
            Kind::Whole(host) => host.powered_off().await,
        }
        Ended::PoweredOff
    }

    /// Cuts the power: ends the agent, every enclave and the metadata service at once.
    pub async fn halt(&self) {
        match &self.kind {
            Kind::Light(host) => host.halt().await,
            Kind::Whole(host) => host.halt().await,
        }
    }

    /// The agent's process, while one runs.
    #[must_use]
    pub fn agent_pid(&self) -> Option<u32> {
        self.whole()?.agent_pid()
    }

    /// How often the agent was started; a light host has none.
    #[must_use]
    pub fn agent_starts(&self) -> u64 {
        self.whole().map_or(0, WholeHost::agent_starts)
    }

    /// Kills the agent; false when none runs.
    #[must_use]
    pub fn kill_agent(&self) -> bool {
        self.whole().is_some_and(WholeHost::kill_agent)
    }

    /// The address of the metadata service, when the host has one.
    #[must_use]
    pub fn imds_url(&self) -> Option<String> {
        self.whole().map(WholeHost::imds_url)
    }

    /// Announces that the instance will be taken back at `at`; false when nobody could hear of it.
    #[must_use]
    pub fn announce_interruption(&self, at: UnixMillis) -> bool {
        let whole = self.whole();
        if let Some(whole) = whole {
            whole.announce_interruption(at);
        }
        whole.is_some()
    }

    fn whole(&self) -> Option<&WholeHost> {
        match &self.kind {
            Kind::Light(_) => None,
            Kind::Whole(host) => Some(host),
        }
    }
}

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
    /// The light host could not be started.
    #[error("the light host cannot be started")]
    Light {
        /// Why.
        source: LightError,
    },
    /// The metadata service could not be started.
    #[error("the metadata service cannot be started")]
    Metadata {
        /// Why.
        source: io::Error,
    },
}
