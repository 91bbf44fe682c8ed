//! The agent's configuration: a TOML file, and the instance's user data over it.

use crate::{
    helper::Helper,
    network::{self, Limits},
    nitro_cli::NitroCli,
    pool::{Pool, applier::Applier},
    vsock::{Vsock, VsockFormError},
};
use serde::Deserialize;
use std::{fs, io, net::IpAddr, path::PathBuf, time::Duration};
use toml::{Table, Value};

/// What the agent needs to know; each key has a default that serves on a real parent.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The hosts table. No default: it comes from the file or from the user data.
    pub hosts_table: String,
    /// nitro-cli.
    pub nitro_cli: PathBuf,
    /// How long nitro-cli may take to describe or to end enclaves, in seconds; it is killed then, and run again.
    pub nitro_cli_deadline_s: u64,
    /// Makes the allocator read its file: a program and its arguments.
    pub allocator_command: Vec<String>,
    /// Powers the instance off: a program and its arguments.
    pub poweroff_command: Vec<String>,
    /// The allocator's file.
    pub allocator_file: PathBuf,
    /// The socket of the helper that does what only root may; the agent does it itself when absent.
    pub helper: Option<PathBuf>,
    /// The agent's user, as whom the helper runs nitro-cli.
    pub user: String,
    /// The manifest of what was baked into this parent's image.
    pub image_manifest: PathBuf,
    /// Below which directory sysfs and procfs are read.
    pub facts_root: PathBuf,
    /// The most memory regions (huge pages) that the hypervisor takes for an enclave. It tells only
    /// the driver, whose kernel log says `Reached max memory regions <number>`; unknown when absent.
    pub most_memory_regions: Option<u64>,
    /// Where the agent keeps images and what it remembers.
    pub state_dir: PathBuf,
    /// How enclaves are reached: `kernel` or `unix:<directory>`.
    pub vsock: String,
    /// The instance metadata service.
    pub imds_endpoint: String,
    /// A PEM file with the only root to trust; AWS's when absent.
    pub trusted_root: Option<PathBuf>,
    /// How often the desired state is read while something is on its way, in milliseconds.
    pub poll_converging_ms: u64,
    /// How often it is read otherwise, in milliseconds.
    pub poll_idle_ms: u64,
    /// How often the heartbeat is written, in milliseconds.
    pub beat_interval_ms: u64,
    /// How often the running enclaves are listed, in milliseconds.
    pub inspect_interval_ms: u64,
    /// How long an enclave may take to answer a nonce, all tries together, in seconds.
    pub attest_timeout_s: u64,
    /// After how long without any desired state the instance is powered off, in seconds.
    pub unassigned_poweroff_s: u64,
    /// How much the images in the cache may take, in MiB.
    pub cache_limit_mib: u64,
    /// How often workloads are asked how they are, in seconds.
    pub health_period_s: u64,
    /// What groups of CloudWatch Logs are called before the enclave's id, as `/aws/ec2/enclave/`; output goes
    /// to the journal alone when absent.
    pub log_group_prefix: Option<String>,
    /// The address on which enclaves' ports listen.
    pub ingress_address: IpAddr,
    /// The most connections of one enclave in each direction; each takes two descriptors.
    pub network_connections: usize,
    /// How long a connection of an enclave may carry nothing, in seconds.
    pub network_idle_s: u64,
}

impl Default for Config {
    fn default() -> Self {
        let command = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Self {
            hosts_table: String::new(),
            nitro_cli: "/usr/bin/nitro-cli".into(),
            nitro_cli_deadline_s: 30,
            allocator_command: command(&[
                "systemctl",
                "restart",
                "nitro-enclaves-allocator.service",
            ]),
            poweroff_command: command(&["systemctl", "poweroff"]),
            allocator_file: "/etc/nitro_enclaves/allocator.yaml".into(),
            helper: None,
            user: "bailey".to_owned(),
            image_manifest: "/usr/share/bailey/manifest.json".into(),
            facts_root: "/".into(),
            most_memory_regions: None,
            state_dir: "/var/lib/bailey".into(),
            vsock: "kernel".to_owned(),
            imds_endpoint: "http://169.254.169.254".to_owned(),
            trusted_root: None,
            poll_converging_ms: 1_000,
            poll_idle_ms: 10_000,
            beat_interval_ms: 5_000,
            inspect_interval_ms: 2_000,
            attest_timeout_s: 60,
            unassigned_poweroff_s: 900,
            cache_limit_mib: 8_192,
            health_period_s: 30,
            log_group_prefix: None,
            ingress_address: IpAddr::from([0, 0, 0, 0]),
            network_connections: 1_024,
            network_idle_s: 600,
        }
    }
}

/// A configuration file, before the user data is known.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    path: PathBuf,
    table: Table,
}

impl ConfigFile {
    /// Reads a file and checks everything that can be checked by now.
    pub fn read(path: PathBuf) -> Result<Self, ConfigError> {
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(source) => return Err(ConfigError::Read { path, source }),
        };
        let table = match text.parse::<Table>() {
            Ok(table) => table,
            Err(source) => return Err(ConfigError::Parse { path, source: Box::new(source) }),
        };
        let file = Self { path, table };
        file.config(&Table::new())?;
        Ok(file)
    }

    /// The instance metadata service, which must be known before the user data is.
    pub fn imds_endpoint(&self) -> Result<String, ConfigError> {
        Ok(self.config(&Table::new())?.imds_endpoint)
    }

    /// The file's keys alone: what the helper goes by, whatever the user data says.
    pub fn alone(&self) -> Result<Config, ConfigError> {
        self.config(&Table::new())
    }

    /// The file's keys, with those of the user data over them.
    ///
    /// User data that is not a configuration of ours is left alone with a warning: it may be meant
    /// for another program.
    pub fn with_user_data(self, user_data: Option<&str>) -> Result<Config, ConfigError> {
        let over = match user_data.map(str::parse::<Table>) {
            None => Table::new(),
            Some(Ok(over)) if self.config(&over).is_ok() => over,
            Some(_) => {
                log::warn!("user data is not a configuration of this agent, ignored");
                Table::new()
            }
        };
        let config = self.config(&over)?;
        if config.hosts_table.is_empty() {
            return Err(ConfigError::NoHostsTable { path: self.path });
        }
        config.vsock()?;
        Ok(config)
    }

    fn config(&self, over: &Table) -> Result<Config, ConfigError> {
        let mut table = self.table.clone();
        table.extend(over.clone());
        Value::Table(table).try_into().map_err(|source| ConfigError::Parse {
            path: self.path.clone(),
            source: Box::new(source),
        })
    }
}

impl Config {
    /// How enclaves are reached.
    pub fn vsock(&self) -> Result<Vsock, ConfigError> {
        self.vsock.parse().map_err(|source| ConfigError::Vsock { source })
    }

    /// nitro-cli, as this process runs it.
    #[must_use]
    pub fn nitro_cli(&self) -> NitroCli {
        NitroCli::plain(self.nitro_cli.clone(), self.nitro_cli_deadline())
    }

    /// How long nitro-cli may take for what is short.
    #[must_use]
    pub fn nitro_cli_deadline(&self) -> Duration {
        Duration::from_secs(self.nitro_cli_deadline_s.max(1))
    }

    /// The helper, when one does what only root may.
    #[must_use]
    pub fn helper(&self) -> Option<Helper> {
        self.helper.clone().map(|socket| Helper { socket })
    }

    /// The enclave pool, set up by this process unless a helper does that.
    #[must_use]
    pub fn pool(&self, helper: Option<Helper>) -> Pool {
        let direct = || Applier::Direct {
            file: self.allocator_file.clone(),
            command: self.allocator_command.clone(),
        };
        Pool {
            facts_root: self.facts_root.clone(),
            applier: helper.map_or_else(direct, Applier::Helped),
            most_regions: self.most_memory_regions,
        }
    }

    /// How enclaves' connections are served.
    pub fn network(&self) -> Result<network::Settings, ConfigError> {
        let idle = Duration::from_secs(self.network_idle_s.max(1));
        Ok(network::Settings {
            vsock: self.vsock()?,
            ingress_address: self.ingress_address,
            limits: Limits { connections: self.network_connections, idle, ..Limits::default() },
        })
    }

    /// How much the images in the cache may take, in bytes.
    #[must_use]
    pub fn cache_limit_bytes(&self) -> u64 {
        self.cache_limit_mib.saturating_mul(1_024 * 1_024)
    }

    /// The loop's paces.
    #[must_use]
    pub fn pace(&self) -> Pace {
        // A pace of zero would be a busy loop.
        let millis = |millis: u64| Duration::from_millis(millis.max(10));
        Pace {
            poll_converging: millis(self.poll_converging_ms),
            poll_idle: millis(self.poll_idle_ms),
            beat: millis(self.beat_interval_ms),
            inspect: millis(self.inspect_interval_ms),
            unassigned: Duration::from_secs(self.unassigned_poweroff_s),
        }
    }
}

/// How often what is done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pace {
    /// Between two reads of the desired state while something is on its way.
    pub poll_converging: Duration,
    /// Between two reads of it otherwise.
    pub poll_idle: Duration,
    /// Between two heartbeats.
    pub beat: Duration,
    /// Between two lists of the running enclaves.
    pub inspect: Duration,
    /// How long a host without any desired state stays up.
    pub unassigned: Duration,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Neither the file nor the user data names the hosts table.
    #[error("hosts_table is neither in `{}` nor in the user data", path.display())]
    NoHostsTable {
        /// The file.
        path: PathBuf,
    },
    /// The file is not TOML, or holds an unknown key or a value of the wrong type.
    #[error("`{}` is not a configuration of this agent", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The parser's reason.
        source: Box<toml::de::Error>,
    },
    /// The file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The key `vsock` has an unknown form.
    #[error("the configuration names no way to reach enclaves")]
    Vsock {
        /// The reason.
        source: VsockFormError,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> ConfigFile {
        ConfigFile { path: "agent.toml".into(), table: text.parse().unwrap() }
    }

    #[test]
    fn the_example_is_read_and_states_the_defaults() {
        let example: Config = toml::from_str(include_str!("../agent.example.toml")).unwrap();
        let defaults = Config { hosts_table: "bailey-hosts".to_owned(), ..Config::default() };
        assert_eq!(example, defaults);
    }

    #[test]
    fn user_data_overrides_the_file() {
        let file = file("hosts_table = 'a'\npoll_idle_ms = 5");
        let config = file.with_user_data(Some("hosts_table = 'b'")).unwrap();
        assert_eq!((config.hosts_table.as_str(), config.poll_idle_ms), ("b", 5));
    }

    #[test]
    fn user_data_for_somebody_else_is_ignored() {
        for user_data in ["#!/bin/sh\necho hello", "unknown = 1", "poll_idle_ms = 'x'"] {
            let config = file("hosts_table = 'a'").with_user_data(Some(user_data)).unwrap();
            assert_eq!(config, Config { hosts_table: "a".to_owned(), ..Config::default() });
        }
    }

    #[test]
    fn a_table_must_be_named_somewhere() {
        let err = file("").with_user_data(None).unwrap_err();
        assert_eq!(err.to_string(), "hosts_table is neither in `agent.toml` nor in the user data");
    }

    #[test]
    fn an_unknown_key_in_the_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.toml");
        fs::write(&path, "hosts_tabel = 'a'").unwrap();
        let err = ConfigFile::read(path).unwrap_err();
        assert!(bailey_runtime::chain(&err).contains("hosts_tabel"), "{err:?}");
    }
}
