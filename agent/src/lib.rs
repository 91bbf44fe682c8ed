//! The agent on a parent instance: it runs, attests and supervises the instance's enclaves.
//!
//! It reads what it should run (`desired#<arn>` of the hosts table), makes it so, and reports
//! (`observed#<arn>`, `beat#<arn>`). Level-triggered: killed at any instant, the next start finishes
//! the work and adopts the enclaves that run.
//!
//! | module | holds |
//! | --- | --- |
//! | [`assignment`], [`host`] | the decisions: pure state machines without clock or I/O (changes of one assignment: `transition`) |
//! | [`admission`], [`restart`] | rules: may an image be launched, is an enclave started again |
//! | [`supervisor`], [`upkeep`] | the loop that carries decisions out, and what goes on beside it |
//! | [`mod@ports`] | what the loop needs of the world, as traits |
//! | [`hosts_table`], [`image`], [`parent`], [`attest`] | the adapters behind them |
//! | [`nitro_cli`], [`pool`], [`vsock`], [`command`] | what those are made of |
//! | [`workload`] | what workloads print, and how they are |
//! | [`network`] | what enclaves may reach, and where they are reached |
//! | [`herald`], [`mod@helper`] | the service manager, and what only root may do |
//! | `clock`, `announcements` | what has to be right before anything begins, and what EC2 says of the instance |
//! | [`check`], [`status`], [`mod@parent_image`] | what an operator asks, and what the parent's image says |
//! | [`config`], [`identity`], [`state`] | who and where this agent is, and what it remembers |

pub mod admission;
mod announcements;
pub mod assignment;
pub mod attest;
pub mod check;
mod clock;
pub mod command;
pub mod config;
mod files;
pub mod helper;
pub mod herald;
pub mod host;
pub mod hosts_table;
pub mod identity;
pub mod image;
pub mod logging;
pub mod name;
pub mod network;
pub mod nitro_cli;
pub mod parent;
pub mod parent_image;
pub mod pool;
pub mod ports;
pub mod restart;
pub mod state;
pub mod status;
pub mod supervisor;
#[cfg(test)]
mod testing;
mod transition;
pub mod upkeep;
pub mod vsock;
pub mod workload;

use attest::VsockResponders;
use aws_config::SdkConfig;
use bailey_attestation::{ChainCache, FingerprintError, RootFingerprint, TrustedRoots};
use bailey_runtime::{Shutdown, aws, calls::Calls, logs::Logs, signed::ClientError, skew::Skew};
use command::CommandError;
use config::{Config, ConfigError, ConfigFile};
use helper::HelperError;
use herald::Herald;
use hosts_table::{DynamoHostsTable, Made};
use identity::{Identity, Metadata, MetadataError};
use image::{Cache, CacheError, ProgressBoard, S3Images};
use network::{FiguresBoard, SystemResolver};
use nitro_cli::NitroCli;
use parent::Parent;
use state::{StateDir, StateError};
use std::{fs, io, path::PathBuf, sync::Arc, time::Duration};
use supervisor::{About, Ending, Ports, supervise};
use tokio::{
    sync::watch,
    task::{JoinError, JoinSet},
};
use workload::Workloads;

/// Powering off only asks the system to.
pub(crate) const POWEROFF_DEADLINE: Duration = Duration::from_mins(1);

/// Runs the agent until `shutdown` is requested, or until it powered off an instance that nobody
/// wanted.
pub async fn run(file: ConfigFile, mut shutdown: Shutdown) -> Result<(), RunError> {
    let metadata = Metadata::at(&file.imds_endpoint()?)?;
    let identity = tokio::select! {
        identity = metadata.identity() => identity,
        () = shutdown.requested() => return Ok(()),
    };
    let config = file.with_user_data(metadata.user_data().await?.as_deref())?;
    log::info!(
        instance = identity.instance_arn.as_str(), hosts_table = config.hosts_table.as_str(),
        version = env!("CARGO_PKG_VERSION"); "agent started"
    );
    let state = StateDir::open(config.state_dir.clone())?;
    let progress = ProgressBoard::default();
    let (announce, announced) = watch::channel(None);
    let (skew, calls) = (Skew::default(), Calls::default());
    let sdk = aws::load(Some(&identity.region)).await;
    let ports = ports(&config, &identity, &state, progress.clone(), &sdk, &skew, &calls)?;
    let ports = Ports { announced, ..ports };
    tokio::select! {
        () = clock::wait_until_right(&*ports.table, &skew, ports.herald) => {}
        () = shutdown.requested() => return Ok(()),
    }
    let mut beside = JoinSet::new();
    beside.spawn(announcements::watch(metadata, announce));
    let workloads = listen_to_workloads(&config, &sdk, &calls, &mut beside)?;
    let figures = FiguresBoard::default();
    beside.spawn(network::serve(
        config.network()?,
        SystemResolver::default,
        workloads.running.subscribe(),
        workloads.findings.clone(),
        figures.clone(),
    ));
    let ports = Ports { workloads, ..ports };
    let about = About {
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        parent_image: parent_image(&config),
        boot_id: boot_id(&config)?,
    };
    let host = state.host()?;
    let asked = shutdown.requested();
    let shown = (progress, figures);
    let ending = supervise(ports, host, state, about, config.pace(), shown, asked).await?;
    match ending {
        Ending::Asked => log::info!("agent ends, its enclaves go on"),
        Ending::Unassigned => power_off(&config).await?,
    }
    Ok(())
}

type RealPorts = Ports<DynamoHostsTable, S3Images, Parent, VsockResponders>;

/// Begins to listen to whatever the supervisor will say that it runs.
fn listen_to_workloads(
    config: &Config,
    sdk: &SdkConfig,
    calls: &Calls,
    beside: &mut JoinSet<()>,
) -> Result<Workloads, RunError> {
    let (workloads, running, found) = Workloads::channel();
    let shipper = match &config.log_group_prefix {
        None => None,
        Some(prefix) => {
            let logs = Logs::new(sdk, calls.clone())?;
            let (shipper, work) = workload::ship(logs, prefix.clone());
            beside.spawn(work);
            Some(shipper)
        }
    };
    let (vsock, state_dir) = (config.vsock()?, config.state_dir.clone());
    let nitro_cli = config.nitro_cli();
    let period = Duration::from_secs(config.health_period_s.max(1));
    beside.spawn(async move {
        workload::listen(vsock, nitro_cli, &state_dir, period, shipper, running, found).await;
    });
    Ok(workloads)
}

fn ports(
    config: &Config,
    identity: &Identity,
    state: &StateDir,
    progress: ProgressBoard,
    sdk: &SdkConfig,
    skew: &Skew,
    calls: &Calls,
) -> Result<RealPorts, RunError> {
    let cache = Cache::open(state.cache(), config.cache_limit_bytes())?;
    let helper = config.helper();
    let pool = config.pool(helper.clone());
    let cli = config.nitro_cli();
    note_version(&cli);
    Ok(Ports {
        herald: Herald::of_service_manager(),
        announced: supervisor::nothing_announced(),
        workloads: Workloads::unwatched(),
        table: Arc::new(DynamoHostsTable {
            client: aws::timed_dynamodb(sdk, calls, skew),
            table: config.hosts_table.clone(),
            instance_arn: identity.instance_arn.clone(),
            calls: calls.clone(),
            made: Made::default(),
        }),
        images: Arc::new(S3Images::new(aws::counted_s3(sdk, calls), cache, progress)),
        enclaves: Arc::new(Parent::new(cli, pool, state.start_lock(), helper)),
        responders: Arc::new(VsockResponders {
            vsock: config.vsock()?,
            roots: roots(config)?,
            // One parent has few chains: its own, renewed every few hours.
            chains: Arc::new(ChainCache::new(8)),
            instance_id: identity.instance_id.clone(),
            timeout: Duration::from_secs(config.attest_timeout_s),
        }),
    })
}

/// Tells the log which nitro-cli there is, beside the work: nothing waits for it.
fn note_version(cli: &NitroCli) {
    let cli = cli.clone();
    tokio::spawn(async move {
        match cli.version().await {
            Ok(version) => log::info!(version = version.as_str(); "nitro-cli found"),
            Err(error) => log::warn!(error = bailey_runtime::chain(&error); "nitro-cli not found"),
        }
    });
}

/// AWS's root, or the one in the configured file and no other.
fn roots(config: &Config) -> Result<TrustedRoots, RunError> {
    let Some(path) = &config.trusted_root else { return Ok(TrustedRoots::aws()) };
    let pem =
        fs::read_to_string(path).map_err(|source| RunError::Read { path: path.clone(), source })?;
    let root = RootFingerprint::of_pem(&pem)
        .map_err(|source| RunError::TrustedRoot { path: path.clone(), source })?;
    log::warn!(root = root.to_string().as_str(); "documents are accepted under a configured root");
    Ok(TrustedRoots::only(vec![root]))
}

fn boot_id(config: &Config) -> Result<String, RunError> {
    let path = config.facts_root.join("proc/sys/kernel/random/boot_id");
    let text = fs::read_to_string(&path).map_err(|source| RunError::Read { path, source })?;
    Ok(text.trim().to_owned())
}

/// The identity of the image that this parent was made from. What says nothing is no reason not to run.
fn parent_image(config: &Config) -> Option<String> {
    parent_image::identity(&config.image_manifest).unwrap_or_else(|err| {
        log::warn!(error = bailey_runtime::chain(&err); "the parent image's manifest says nothing");
        None
    })
}

async fn power_off(config: &Config) -> Result<(), RunError> {
    log::warn!("nobody wants this host, powering off");
    let (success, said) = if let Some(helper) = config.helper() {
        helper.power_off().await?
    } else {
        let output = command::run(&config.poweroff_command, POWEROFF_DEADLINE, None).await?;
        (output.success, output.last_words())
    };
    if success { Ok(()) } else { Err(RunError::Poweroff { said }) }
}

/// Why the agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The cache cannot be used.
    #[error("cannot open the image cache")]
    Cache(#[from] CacheError),
    /// The configuration is not usable.
    #[error("cannot use the configuration")]
    Config(#[from] ConfigError),
    /// The helper did not power the instance off.
    #[error("cannot power off")]
    Helper(#[from] HelperError),
    /// CloudWatch Logs cannot be used.
    #[error("cannot send output to CloudWatch Logs")]
    Logs(#[from] ClientError),
    /// The metadata service does not serve.
    #[error("cannot learn about this instance")]
    Metadata(#[from] MetadataError),
    /// The instance could not be powered off.
    #[error("cannot power off: {said}")]
    Poweroff {
        /// The end of what the command said.
        said: String,
    },
    /// The command that powers off cannot be run.
    #[error("cannot power off")]
    PoweroffCommand(#[from] CommandError),
    /// A file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The state directory cannot be used.
    #[error("cannot open the agent's state")]
    State(#[from] StateError),
    /// The configured root is none.
    #[error("`{}` holds no certificate", path.display())]
    TrustedRoot {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: FingerprintError,
    },
    /// A part of the agent broke.
    #[error("a part of the agent broke")]
    Work(#[from] JoinError),
}
