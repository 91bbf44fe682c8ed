//! A light host: a task of this process in the place of a whole parent, for scale and nothing else.
//!
//! # What is real
//! The agent's own loop ([`supervise`]) decides what to do about the host's `desired` item and what to
//! report, and the agent's own adapter reads and writes the hosts table. Documents are signed under the
//! local root by a simulated Nitro Secure Module, with the host's own PCR3, PCR4 and module id, so that
//! the coordinator has to verify them like all others.
//!
//! # What is not there
//! No agent process, no metadata service, no nitro-cli, no responder. No image is read: each is said to
//! fit and to measure to what was configured. A test of any of these needs a whole host.

mod machine;
mod table;

use super::{HostOptions, InstanceFacts};
use bailey_agent::{
    config::Config,
    herald::Herald,
    image::ProgressBoard,
    state::{StateDir, StateError},
    supervisor::{About, Ending, Ports, nothing_announced, supervise},
    workload::Workloads,
};
use bailey_model::PcrSet;
use bailey_runtime::{chain, now};
use bailey_simulated_nsm::{Authority, AuthorityPem, IssueError};
use machine::Machine;
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};
use table::LightTable;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinHandle,
};
use toml::{Table, Value};

/// Calls that all light hosts together may have under way. Real ones are as many machines, with a
/// database that does not notice them; here they share one process and one emulator.
const CALLS_AT_ONCE: usize = 32;

/// What all light hosts have in common.
#[derive(Clone, Debug)]
pub struct LightHosts {
    authority: Authority,
    measurements: PcrSet,
    client: aws_sdk_dynamodb::Client,
    calls: Arc<Semaphore>,
}

impl LightHosts {
    /// Hosts on which every image measures to `measurements`, with documents under the root in the PEM
    /// file `authority` (certificate and key), and with the hosts table behind `client`.
    pub fn new(
        authority: &Path,
        measurements: PcrSet,
        client: aws_sdk_dynamodb::Client,
    ) -> Result<Self, LightError> {
        let path = || authority.to_owned();
        let text = fs::read_to_string(authority)
            .map_err(|source| LightError::Read { path: path(), source })?;
        let authority = Authority::from_pem(&parts(&text))
            .map_err(|source| LightError::Authority { path: path(), source })?;
        let calls = Arc::new(Semaphore::new(CALLS_AT_ONCE));
        Ok(Self { authority, measurements, client, calls })
    }
}

/// A light host that runs.
#[derive(Debug)]
pub(super) struct LightHost {
    power: watch::Sender<bool>,
    powered_off: watch::Receiver<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl LightHost {
    /// Boots the host. One that was halted before keeps what its agent's loop wrote.
    pub(super) fn boot(
        light: &LightHosts,
        options: &HostOptions,
        facts: &InstanceFacts,
    ) -> Result<Self, LightError> {
        let config = config(options, facts)?;
        let state = options.dir(&facts.id).join("state");
        let state = StateDir::open(state).map_err(LightError::State)?;
        let host = state.host().map_err(LightError::State)?;
        let (power, powered) = watch::channel(true);
        let machine = Machine::new(light, facts, options.log(&facts.id, "nitro-cli.log"));
        let machine = Arc::new(machine);
        let ports = Ports {
            herald: Herald::default(),
            announced: nothing_announced(),
            workloads: Workloads::unwatched(),
            table: Arc::new(LightTable::new(light, &config, facts, powered.clone())),
            images: Arc::clone(&machine),
            enclaves: Arc::clone(&machine),
            responders: machine,
        };
        let about = About {
            agent_version: concat!(env!("CARGO_PKG_VERSION"), "+light").to_owned(),
            parent_image: None,
            // Another one with each boot: whatever ran before is gone.
            boot_id: format!("{}-{}", facts.id, now().0),
        };
        let running = supervise(
            ports,
            host,
            state,
            about,
            config.pace(),
            ProgressBoard::default(),
            table::power_is_cut(powered),
        );
        let (off, powered_off) = watch::channel(false);
        let id = facts.id.clone();
        let task = tokio::spawn(async move {
            match running.await {
                // The sender goes with the task, which tells the two ends apart.
                Ok(Ending::Asked) => return,
                Ok(Ending::Unassigned) => {}
                Err(error) => {
                    log::error!(instance_id = id, error = chain(&error); "light host broke");
                }
            }
            off.send_replace(true);
        });
        Ok(Self { power, powered_off, task: Mutex::new(Some(task)) })
    }

    /// Waits until the host ends by itself. Cancel-safe.
    pub(super) async fn powered_off(&self) {
        let mut powered_off = self.powered_off.clone();
        if powered_off.wait_for(|off| *off).await.is_err() {
            // Halted from outside: it was not powered off, and never will be.
            std::future::pending::<()>().await;
        }
    }

    /// Cuts the power. What was not reported by now never will be.
    pub(super) async fn halt(&self) {
        self.power.send_replace(false);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            // It logs its own failures.
            let _ = task.await;
        }
    }
}

/// The agents' settings, with the instance's user data over them, as an agent reads them.
fn config(options: &HostOptions, facts: &InstanceFacts) -> Result<Config, LightError> {
    let user_data = String::from_utf8_lossy(&facts.user_data).parse::<Table>();
    let mut table = options.agent_settings.clone();
    table.extend(user_data.map_err(LightError::Config)?);
    Value::Table(table).try_into().map_err(LightError::Config)
}

/// Certificate and key, which lie one after the other in one file.
fn parts(text: &str) -> AuthorityPem {
    const END: &str = "-----END CERTIFICATE-----\n";
    let (certificate, key) = text.split_once(END).unwrap_or((text, ""));
    AuthorityPem { certificate: format!("{certificate}{END}"), key: key.to_owned() }
}

/// Why a light host does not boot.
#[derive(Debug, thiserror::Error)]
pub enum LightError {
    /// The local root cannot be used.
    #[error("`{}` holds no root of trust", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why.
        source: IssueError,
    },
    /// The agents' settings or the instance's user data are not for an agent.
    #[error("the agent's settings cannot be used")]
    Config(#[source] toml::de::Error),
    /// The local root cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// There is no place for what the agent's loop remembers.
    #[error("cannot open the agent's state")]
    State(#[source] StateError),
}
