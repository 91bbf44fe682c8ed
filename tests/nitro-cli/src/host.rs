//! A simulated parent instance: a directory that stands for its sysfs, procfs and `/run`.
//!
//! ```text
//! host.json            HostFacts
//! root/sys, root/proc  what the agent reads: CPUs, NUMA node, hugepages, memory, boot id
//! root/dev             nitro_enclaves, an empty file
//! etc/allocator.yaml   the allocator's configuration
//! run/                 nitro-cli's state, logs and sockets
//! vsock/<cid>.sock     the vsock of each enclave, behind the CONNECT handshake
//! state/               the agent's
//! ```

mod cpus;
mod layout;
mod memory;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub(crate) use cpus::POOL;
pub use layout::create;
pub use memory::PAGE_MIB;
pub(crate) use memory::{HugePages, reservable_mib};

/// The environment variable that names the host's directory.
pub const ENVIRONMENT: &str = "BAILEY_SIM_HOST";

/// What is fixed about a simulated parent while it exists; kept as `host.json`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct HostFacts {
    /// The instance's id, `i-…`.
    pub instance_id: String,
    /// The instance's type, `m5.xlarge`.
    pub instance_type: String,
    /// The instance's ARN.
    pub instance_arn: String,
    /// The ARN of the role that the instance has; goes into PCR3.
    pub role_arn: String,
    /// The zone, `eu-west-1a`.
    pub availability_zone: String,
    /// The region, `eu-west-1`.
    pub region: String,
    /// How many vCPUs the instance has.
    pub vcpus: u32,
    /// The instance's memory, in MiB.
    pub memory_mib: u32,
    /// How many vCPUs a core has: 2 on Intel and AMD types, 1 on Graviton.
    pub threads_per_core: u32,
    /// A PEM file with the local root's certificate and its private key, which sign the
    /// attestation documents of this host's enclaves.
    pub authority: PathBuf,
}

/// A simulated parent that exists.
#[derive(Clone, Debug)]
pub struct Host {
    dir: PathBuf,
    facts: HostFacts,
}

impl Host {
    /// The host that [`ENVIRONMENT`] names.
    pub fn from_environment() -> Result<Self, HostError> {
        let dir = std::env::var_os(ENVIRONMENT).ok_or(HostError::NoEnvironment)?;
        Self::open(Path::new(&dir))
    }

    /// The host in `dir`, made before by [`create`].
    pub fn open(dir: &Path) -> Result<Self, HostError> {
        let path = dir.join("host.json");
        let text = fs::read(&path).map_err(|source| HostError::File {
            action: "read",
            path: path.clone(),
            source,
        })?;
        let facts =
            serde_json::from_slice(&text).map_err(|source| HostError::Facts { path, source })?;
        // Processes of the host outlive the command that started them, and its working directory.
        let dir = fs::canonicalize(dir).map_err(|source| HostError::File {
            action: "resolve",
            path: dir.to_owned(),
            source,
        })?;
        Ok(Self { dir, facts })
    }

    /// The host's directory, absolute.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What is fixed about the host.
    #[must_use]
    pub fn facts(&self) -> &HostFacts {
        &self.facts
    }

    /// A file below the host's root directory: `root/<path>`.
    #[must_use]
    pub fn root(&self, path: &str) -> PathBuf {
        self.dir.join("root").join(path)
    }

    /// A file of nitro-cli's: `run/<name>`.
    #[must_use]
    pub fn run(&self, name: &str) -> PathBuf {
        self.dir.join("run").join(name)
    }

    /// The Unix socket that stands for the vsock of the enclave with this CID.
    #[must_use]
    pub fn vsock_socket(&self, cid: u32) -> PathBuf {
        self.dir.join("vsock").join(format!("{cid}.sock"))
    }

    /// The allocator's configuration.
    #[must_use]
    pub fn allocator_file(&self) -> PathBuf {
        self.dir.join("etc/allocator.yaml")
    }
}

/// Why a simulated host could not be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// `host.json` does not hold a host's facts.
    #[error("`{}` does not describe a simulated host", path.display())]
    Facts {
        /// The file.
        path: PathBuf,
        /// The parser's reason.
        source: serde_json::Error,
    },
    /// A file or directory of the host could not be used.
    #[error("cannot {action} `{}`", path.display())]
    File {
        /// What was being done.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The environment does not say which host is meant.
    #[error("{ENVIRONMENT} does not name a simulated host's directory")]
    NoEnvironment,
    /// The facts describe a machine that cannot be.
    #[error("a host with {vcpus} vCPUs, {threads_per_core} for each core, cannot be")]
    Topology {
        /// The vCPUs asked for.
        vcpus: u32,
        /// The threads per core asked for.
        threads_per_core: u32,
    },
}
