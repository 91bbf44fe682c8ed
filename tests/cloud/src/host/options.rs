//! What hosts are made of.

use super::light::LightHosts;
use crate::processes::{self, Program};
use bailey_model::instance_type::Resources;
use bailey_nitro_cli_standin::host::HostFacts;
use nix::sys::signal::Signal;
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

/// What every host has in common.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// The directory of the whole simulation.
    pub state: PathBuf,
    /// `bailey-agent`.
    pub agent: PathBuf,
    /// The stand-in for `nitro-cli`.
    pub nitro_cli: PathBuf,
    /// The stand-in for the allocator.
    pub allocator: PathBuf,
    /// A PEM file with the local root's certificate and key.
    pub authority: PathBuf,
    /// A PEM file with the local root's certificate, which agents trust.
    pub trusted_root: PathBuf,
    /// The address of the AWS emulator.
    pub endpoint_url: String,
    /// More keys of the agent's configuration.
    pub agent_settings: toml::Table,
    /// What hosts are made of when they are light; then no program above is used.
    pub light: Option<LightHosts>,
}

impl HostOptions {
    /// The directory of one host.
    #[must_use]
    pub fn dir(&self, instance_id: &str) -> PathBuf {
        self.state.join("hosts").join(instance_id)
    }

    /// A log of one host, which outlives it.
    #[must_use]
    pub fn log(&self, instance_id: &str, name: &str) -> PathBuf {
        self.state.join("logs").join(format!("{instance_id}.{name}"))
    }

    /// How often an enclave was asked to start on a host, now or when it was still there.
    #[must_use]
    pub fn enclave_launches(&self, instance_id: &str) -> u64 {
        let log = fs::read_to_string(self.log(instance_id, "nitro-cli.log")).unwrap_or_default();
        let launches = log.lines().filter(|line| line.starts_with("run-enclave")).count();
        u64::try_from(launches).unwrap_or(u64::MAX)
    }

    /// Removes the directory of a host that was halted.
    pub fn remove(&self, instance_id: &str) {
        let dir = self.dir(instance_id);
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let dir = dir.display().to_string();
                log::error!(dir, error = error.to_string(); "host's directory not removed");
            }
            _ => {}
        }
    }

    /// The agent of one host. It inherits nothing that a real parent would not have.
    pub(super) fn agent_program(&self, dir: &Path, log: PathBuf, region: &str) -> Program {
        let environment = [
            (processes::ENVIRONMENT, self.state.clone().into_os_string()),
            (bailey_nitro_cli_standin::host::ENVIRONMENT, dir.as_os_str().to_owned()),
            ("AWS_ENDPOINT_URL", self.endpoint_url.clone().into()),
            ("AWS_REGION", region.into()),
            ("AWS_ACCESS_KEY_ID", "test".into()),
            ("AWS_SECRET_ACCESS_KEY", "test".into()),
        ];
        let environment = environment.into_iter().chain(unit_environment());
        let environment: BTreeMap<String, OsString> =
            environment.map(|(name, value)| (name.to_owned(), value)).collect();
        Program {
            path: self.agent.clone(),
            arguments: vec!["run".into(), "--config".into(), dir.join("agent.toml").into()],
            environment,
            log,
            when_orphaned: Signal::SIGKILL,
        }
    }
}

/// The environment that the agent's unit gives it.
fn unit_environment() -> impl Iterator<Item = (&'static str, OsString)> {
    let lines = include_str!("../../../../agent/systemd/bailey-agent.service").lines();
    let set = lines.filter_map(|line| line.strip_prefix("Environment=")?.split_once('='));
    set.map(|(name, value)| (name, value.into()))
}

/// What is fixed about one instance.
#[derive(Clone, Debug)]
pub struct InstanceFacts {
    /// The instance's id.
    pub id: String,
    /// Its type.
    pub instance_type: String,
    /// What its type offers.
    pub resources: Resources,
    /// Its availability zone.
    pub zone: String,
    /// Its region.
    pub region: String,
    /// The account, 12 digits.
    pub account: String,
    /// Its address in the private network.
    pub private_ip: String,
    /// The image that it was launched from.
    pub image_id: String,
    /// Its instance profile.
    pub profile_arn: Option<String>,
    /// Its user data; empty for none.
    pub user_data: Vec<u8>,
}

impl InstanceFacts {
    /// The instance's ARN, the key of its items in the hosts table.
    #[must_use]
    pub fn arn(&self) -> String {
        let Self { region, account, id, .. } = self;
        format!("arn:aws:ec2:{region}:{account}:instance/{id}")
    }

    /// The name of the instance's role: here that of its profile.
    #[must_use]
    pub fn role_name(&self) -> Option<&str> {
        self.profile_arn.as_ref()?.rsplit('/').next()
    }

    /// The ARN of the instance's role, which goes into PCR3; empty without one.
    #[must_use]
    pub fn role_arn(&self) -> String {
        let arn = |role| format!("arn:aws:iam::{}:role/{role}", self.account);
        self.role_name().map(arn).unwrap_or_default()
    }

    pub(super) fn host_facts(&self, options: &HostOptions) -> HostFacts {
        HostFacts {
            instance_id: self.id.clone(),
            instance_type: self.instance_type.clone(),
            instance_arn: self.arn(),
            role_arn: self.role_arn(),
            availability_zone: self.zone.clone(),
            region: self.region.clone(),
            vcpus: self.resources.vcpus,
            memory_mib: self.resources.memory_mib,
            threads_per_core: self.resources.threads_per_core,
            authority: options.authority.clone(),
        }
    }
}
