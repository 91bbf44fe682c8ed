//! All of the local cloud together: emulator, EC2 simulator, tables, buckets, coordinator.

mod error;
mod installation;
mod options;
mod programs;
mod setup;
mod store;

use crate::{
    ec2::{Control, SimulationView},
    emulator::{Emulator, EmulatorOptions},
    processes::{self, LiveProcess, Program},
    wire::Wire,
};
use bailey_manifest::SigningKey;
use bailey_simulated_nsm::Authority;
pub use error::CloudError;
pub use installation::{Index, Installation, InstallationError, Subnet, Table};
use nix::sys::signal::Signal;
pub use options::{Binaries, Names, Options, light_measurements};
pub use setup::Clients;
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
pub use store::{Record, Waited};
use tempfile::TempDir;
use tokio::process::Child;

/// The region that the local cloud pretends to be in.
pub const REGION: &str = "eu-west-1";
/// The account that it pretends to be.
pub const ACCOUNT: &str = "123456789012";
/// The role of its parents, which goes into PCR3.
pub const ROLE: &str = "bailey-parent";
/// How long a process that was asked to end may take.
const END_LIMIT: Duration = Duration::from_secs(20);

/// A local cloud that runs. Dropping it ends everything at once.
#[derive(Debug)]
pub struct LocalCloud {
    options: Options,
    state: PathBuf,
    /// Removes the directory when it was made for this cloud.
    _temporary: Option<TempDir>,
    emulator: Option<Emulator>,
    ec2_process: Option<Child>,
    ec2: Control,
    clients: Clients,
    /// What our programs call instead of the emulator and the EC2 simulator.
    wire: Option<Wire>,
    coordinator: Option<Child>,
    /// Whether the coordinator is told of the local root.
    trusts_local_root: bool,
    /// What the coordinator takes for the addresses of AWS and of EC2, where that is not what they are.
    coordinator_route: Option<(String, String)>,
}

impl LocalCloud {
    /// Starts everything but the coordinator, and waits until all of it answers.
    pub async fn start(options: Options) -> Result<Self, CloudError> {
        let (state, temporary) = options.make_state_dir()?;
        // Whoever used this directory before may have been killed.
        processes::end_all_of(&state, END_LIMIT)
            .await
            .map_err(|left| CloudError::LeftRunning { left })?;
        write_authority(&state)?;
        write_manifest_key(&state)?;
        let emulator = Emulator::start(&EmulatorOptions {
            venv: options.venv.clone(),
            state: state.clone(),
            region: REGION.to_owned(),
        })
        .await
        .map_err(|source| CloudError::Emulator { source })?;
        let clients = Clients::new(emulator.url());
        let wire = |source| CloudError::Wire { source };
        let mut laid = None;
        if options.with_wire {
            laid = Some(Wire::start(emulator.url()).await.map_err(wire)?);
        }
        let elsewhere = options.installation.as_ref().and_then(|it| it.agents_endpoint.as_deref());
        let for_agents = laid.as_ref().map(Wire::agents_url).or(elsewhere);
        let for_agents = for_agents.unwrap_or_else(|| emulator.url());
        let (ec2_process, ec2) = programs::start_ec2(&options, &state, for_agents).await?;
        if let Some(laid) = &mut laid {
            laid.carry_ec2(ec2.url()).await.map_err(wire)?;
        }
        let cloud = Self {
            options,
            state,
            _temporary: temporary,
            emulator: Some(emulator),
            ec2_process: Some(ec2_process),
            ec2,
            clients,
            wire: laid,
            coordinator: None,
            trusts_local_root: true,
            coordinator_route: None,
        };
        cloud.set_up().await?;
        Ok(cloud)
    }

    /// The directory below which everything is.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        &self.state
    }

    /// The names of tables, buckets and the launch template.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.options.names
    }

    /// The address of the AWS emulator.
    #[must_use]
    pub fn endpoint_url(&self) -> &str {
        self.emulator.as_ref().map_or("", Emulator::url)
    }

    /// The local root's certificate, which stands for AWS's.
    #[must_use]
    pub fn trusted_root(&self) -> PathBuf {
        self.state.join(TRUSTED_ROOT)
    }

    /// The private key whose signed manifests of images count.
    #[must_use]
    pub fn manifest_key(&self) -> PathBuf {
        self.state.join(MANIFEST_KEY)
    }

    /// The EC2 simulator: its calls, its state, its faults.
    #[must_use]
    pub fn ec2(&self) -> &Control {
        &self.ec2
    }

    /// The wire between our programs and AWS, when there is one.
    #[must_use]
    pub fn wire(&self) -> Option<&Wire> {
        self.wire.as_ref()
    }

    /// The real SDK's client for the emulator's DynamoDB.
    #[must_use]
    pub fn dynamodb(&self) -> &aws_sdk_dynamodb::Client {
        self.clients.dynamodb()
    }

    /// The real SDK's client for the emulator's streams.
    #[must_use]
    pub fn streams(&self) -> &aws_sdk_dynamodbstreams::Client {
        self.clients.streams()
    }

    /// The real SDK's client for the emulator's S3.
    #[must_use]
    pub fn s3(&self) -> &aws_sdk_s3::Client {
        self.clients.s3()
    }

    /// The environment by which a program, such as `bailey`, uses this cloud for AWS.
    #[must_use]
    pub fn env(&self) -> BTreeMap<String, String> {
        let names = &self.options.names;
        let root = self.trusted_root().display().to_string();
        let manifest_key = self.manifest_key().display().to_string();
        let public_key = self.state.join(MANIFEST_PUBLIC_KEY).display().to_string();
        [
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_DEFAULT_REGION", REGION),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_ENDPOINT_URL", self.endpoint_url()),
            ("AWS_ENDPOINT_URL_EC2", self.ec2.url()),
            ("AWS_REGION", REGION),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("BAILEY_EIF_BUCKET", &names.eif_bucket),
            ("BAILEY_ENCLAVES_TABLE", &names.enclaves_table),
            ("BAILEY_HOSTS_TABLE", &names.hosts_table),
            ("BAILEY_LEDGER_TABLE", &names.ledger_table),
            ("BAILEY_MANIFEST_KEY", &manifest_key),
            ("BAILEY_MANIFEST_PUBLIC_KEY", &public_key),
            ("BAILEY_REPORTS_BUCKET", &names.reports_bucket),
            ("BAILEY_ROLE_ARN", &role_arn()),
            ("BAILEY_TRUSTED_ROOT", &root),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    /// From its next start on the coordinator trusts AWS's root alone, as in production.
    pub fn trust_aws_only(&mut self) {
        self.trusts_local_root = false;
    }

    /// From its next start on the coordinator reaches AWS and EC2 by these addresses, which must lead
    /// there; directly when there are none.
    pub fn route_coordinator(&mut self, through: Option<(&str, &str)>) {
        self.coordinator_route = through.map(|(aws, ec2)| (aws.to_owned(), ec2.to_owned()));
    }

    /// Gives the coordinator another setting, from its next start on.
    pub fn configure_coordinator(&mut self, key: &str, value: impl Into<toml::Value>) {
        self.options.coordinator_settings.insert(key.to_owned(), value.into());
    }

    /// Starts the coordinator, unless it runs.
    pub fn start_coordinator(&mut self) -> Result<(), CloudError> {
        if self.coordinator_pid().is_some() {
            return Ok(());
        }
        let program = self.coordinator_program("run")?;
        self.coordinator = Some(programs::start(&program)?);
        Ok(())
    }

    /// Starts one more coordinator, with the same configuration. Dropping it kills it.
    pub fn another_coordinator(&self) -> Result<Child, CloudError> {
        programs::start(&Program {
            log: self.log("another-coordinator.log"),
            ..self.coordinator_program("run")?
        })
    }

    /// The coordinator's process, while it runs.
    pub fn coordinator_pid(&mut self) -> Option<u32> {
        let child = self.coordinator.as_mut()?;
        match child.try_wait() {
            Ok(None) => child.id(),
            Ok(Some(_)) | Err(_) => None,
        }
    }

    /// Waits until the coordinator ends by itself; for ever when none runs. Cancel-safe.
    pub async fn coordinator_ended(&mut self) {
        match self.coordinator.as_mut() {
            Some(child) => drop(child.wait().await),
            None => std::future::pending().await,
        }
    }

    /// Kills the coordinator with SIGKILL, wherever it is.
    pub async fn kill_coordinator(&mut self) {
        if let Some(mut child) = self.coordinator.take() {
            let _ = child.kill().await;
        }
    }

    /// Asks the coordinator to end, and waits until it has.
    pub async fn stop_coordinator(&mut self) -> Result<(), CloudError> {
        match self.coordinator.take() {
            Some(child) => programs::terminate("coordinator", child, END_LIMIT).await,
            None => Ok(()),
        }
    }

    /// Kills the coordinator and starts it again.
    pub async fn restart_coordinator(&mut self) -> Result<(), CloudError> {
        self.kill_coordinator().await;
        self.start_coordinator()
    }

    /// Every process of this cloud, its own parts included.
    #[must_use]
    pub fn processes(&self) -> Vec<LiveProcess> {
        processes::of(&self.state)
    }

    /// Every process of one instance: its agent, and what that started.
    #[must_use]
    pub fn processes_of(&self, instance_id: &str) -> Vec<LiveProcess> {
        processes::of(&self.state.join("hosts").join(instance_id))
    }

    /// The responder of every enclave that runs, with the id of its instance.
    #[must_use]
    pub fn enclaves(&self) -> Vec<(String, LiveProcess)> {
        let hosts = self.state.join("hosts");
        let running = processes::of(&hosts).into_iter().filter(LiveProcess::is_responder);
        running.filter_map(|process| Some((process.first_below(&hosts)?, process))).collect()
    }

    /// The directory of a host, by its instance's id: what its image and its agent wrote.
    #[must_use]
    pub fn host_dir(&self, instance_id: &str) -> PathBuf {
        self.state.join("hosts").join(instance_id)
    }

    /// The command line, which shows and checks what an enclave's owner sees.
    #[must_use]
    pub fn cli(&self) -> &Path {
        &self.options.binaries.cli
    }

    /// The simulation's state.
    pub async fn simulation(&self) -> Result<SimulationView, CloudError> {
        self.ec2.state().await.map_err(|source| CloudError::Ec2 { source })
    }

    /// Ends everything in order, and fails when a process is left that should have ended by
    /// itself. What is left is killed.
    pub async fn shutdown(mut self) -> Result<(), CloudError> {
        self.stop_coordinator().await?;
        if let Some(child) = self.ec2_process.take() {
            programs::terminate("ec2-sim", child, END_LIMIT).await?;
        }
        if let Some(emulator) = self.emulator.take() {
            emulator.end().await;
        }
        match self.processes() {
            left if left.is_empty() => Ok(()),
            left => Err(CloudError::LeftRunning { left }),
        }
    }

    /// The coordinator in one of its shapes, `run` or `lambda`.
    pub(crate) fn coordinator_program(&self, shape: &str) -> Result<Program, CloudError> {
        let config = self.state.join("coordinator.toml");
        let text = self.coordinator_config().to_string();
        fs::write(&config, text).map_err(CloudError::io("write", &config))?;
        let mut environment: BTreeMap<String, OsString> =
            self.env().into_iter().map(|(name, value)| (name, value.into())).collect();
        environment.insert(processes::ENVIRONMENT.to_owned(), self.state.clone().into());
        if let Some(wire) = &self.wire {
            environment.insert("AWS_ENDPOINT_URL".to_owned(), wire.coordinators_url().into());
            environment.insert("AWS_ENDPOINT_URL_EC2".to_owned(), wire.ec2_url().into());
        }
        if let Some((aws, ec2)) = &self.coordinator_route {
            environment.insert("AWS_ENDPOINT_URL".to_owned(), aws.into());
            environment.insert("AWS_ENDPOINT_URL_EC2".to_owned(), ec2.into());
        }
        Ok(Program {
            path: self.options.binaries.coordinator.clone(),
            arguments: vec![shape.into(), "--config".into(), config.into()],
            environment,
            log: self.log("coordinator.log"),
            when_orphaned: Signal::SIGKILL,
        })
    }

    fn coordinator_config(&self) -> toml::Table {
        let names = &self.options.names;
        let root = self.trusted_root().display().to_string();
        let mut config: toml::Table = [
            ("deployment", "local"),
            ("enclaves_table", &names.enclaves_table),
            ("ledger_table", &names.ledger_table),
            ("hosts_table", &names.hosts_table),
            ("reports_bucket", &names.reports_bucket),
            ("launch_template", &names.launch_template),
            ("role_arn", &role_arn()),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect();
        if self.trusts_local_root {
            config.insert("trusted_root".to_owned(), root.into());
        }
        let manifest_keys = vec![self.state.join(MANIFEST_PUBLIC_KEY).display().to_string()];
        config.insert("manifest_keys".to_owned(), manifest_keys.into());
        let subnets = self.options.subnets().iter().map(|subnet| {
            let pairs = [
                ("availability_zone", &subnet.availability_zone),
                ("subnet_id", &subnet.subnet_id),
            ];
            let pairs = pairs.map(|(key, value)| (key.to_owned(), value.clone().into()));
            toml::Value::Table(pairs.into_iter().collect())
        });
        config.insert("subnets".to_owned(), toml::Value::Array(subnets.collect()));
        config.extend(self.options.coordinator_settings.clone());
        config
    }

    /// A log file of this cloud.
    #[must_use]
    pub fn log(&self, name: &str) -> PathBuf {
        self.state.join("logs").join(name)
    }
}

impl Drop for LocalCloud {
    fn drop(&mut self) {
        drop((self.coordinator.take(), self.ec2_process.take(), self.emulator.take()));
        // Again until none is left, for one that was being started may have been missed.
        while !processes::kill_all_of(&self.state).is_empty() {
            std::thread::yield_now();
        }
    }
}

/// The ARN of the parents' role.
fn role_arn() -> String {
    format!("arn:aws:iam::{ACCOUNT}:role/{ROLE}")
}

/// The certificate alone, for those who verify.
const TRUSTED_ROOT: &str = "root.pem";
/// Certificate and key, for the simulated security modules.
const AUTHORITY: &str = "authority.pem";

/// With what manifests are signed, and what the coordinator knows of it.
const MANIFEST_KEY: &str = "images.key";
const MANIFEST_PUBLIC_KEY: &str = "images.pub";

/// Makes a key pair for the manifests of images.
fn write_manifest_key(state: &Path) -> Result<(), CloudError> {
    let failed = |source| CloudError::ManifestKey { source };
    let private = SigningKey::generate_pem().map_err(failed)?;
    let key = SigningKey::from_pem(&private).map_err(failed)?;
    let public = key.public_key_pem().map_err(failed)?;
    for (name, text) in [(MANIFEST_KEY, &private), (MANIFEST_PUBLIC_KEY, &public)] {
        let path = state.join(name);
        fs::write(&path, text).map_err(CloudError::io("write", &path))?;
    }
    Ok(())
}

/// Makes a root of trust for this cloud.
fn write_authority(state: &Path) -> Result<(), CloudError> {
    let authority = Authority::generate().map_err(|source| CloudError::Authority { source })?;
    let pem = authority.to_pem();
    let both = format!("{}{}", pem.certificate, pem.key);
    for (name, text) in [(TRUSTED_ROOT, &pem.certificate), (AUTHORITY, &both)] {
        let path = state.join(name);
        fs::write(&path, text).map_err(CloudError::io("write", &path))?;
    }
    Ok(())
}
