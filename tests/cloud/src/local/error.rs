//! Why the local cloud cannot do what it was asked for.

use super::InstallationError;
use crate::{ec2::ControlError, emulator::EmulatorError, processes::LiveProcess};
use bailey_manifest::KeyError;
use bailey_runtime::items::ItemError;
use bailey_simulated_nsm::IssueError;
use std::{error::Error, io, path::Path, path::PathBuf, time::Duration};

/// Why the local cloud cannot do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum CloudError {
    /// The local root could not be made.
    #[error("the local root cannot be made")]
    Authority {
        /// Why.
        source: IssueError,
    },
    /// The runtime API of the local Lambda cannot be served.
    #[error("Lambda's runtime API cannot be served")]
    Lambda {
        /// The system's reason.
        source: io::Error,
    },
    /// The key pair for manifests could not be made.
    #[error("the key for the manifests of images cannot be made")]
    ManifestKey {
        /// Why.
        source: KeyError,
    },
    /// The emulator refused a call.
    #[error("cannot {action}")]
    Aws {
        /// What was being done.
        action: String,
        /// The SDK's reason.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The EC2 simulator cannot be used.
    #[error("the EC2 simulator cannot be used")]
    Ec2 {
        /// Why.
        source: ControlError,
    },
    /// The EC2 simulator refused a call.
    #[error("the EC2 simulator refused {action}: {answer}")]
    Ec2Refused {
        /// The call.
        action: &'static str,
        /// The answer's XML.
        answer: String,
    },
    /// What Bailey is to be installed on is not known.
    #[error("it is not known what to install on")]
    Installation {
        /// Why.
        source: InstallationError,
    },
    /// The emulator does not run.
    #[error("the emulator does not run")]
    Emulator {
        /// Why.
        source: EmulatorError,
    },
    /// A program ended that should run, or runs that should have ended.
    #[error("{program} {what}, see the logs")]
    Program {
        /// The program.
        program: String,
        /// What it did.
        what: &'static str,
    },
    /// An item could not be read or written.
    #[error("an item of `{table}` is not what it should be")]
    Item {
        /// The table.
        table: String,
        /// Why.
        source: ItemError,
    },
    /// A file could not be used.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The wire between our programs and AWS cannot be laid.
    #[error("cannot listen for the calls of our own programs")]
    Wire {
        /// The system's reason.
        source: io::Error,
    },
    /// The subnets have no JSON form.
    #[error("the subnets cannot be passed on")]
    Subnets {
        /// Why.
        source: serde_json::Error,
    },
    /// What images on light hosts measure to has no JSON form.
    #[error("the measurements of light hosts cannot be passed on")]
    Measurements {
        /// Why.
        source: serde_json::Error,
    },
    /// Processes are left that should have ended.
    #[error("still running: {}", list(left))]
    LeftRunning {
        /// The processes.
        left: Vec<LiveProcess>,
    },
    /// The directory's path leaves no room for the names of Unix sockets below it.
    #[error("`{}` is too long: Unix sockets below it allow {limit} characters", path.display())]
    PathTooLong {
        /// The directory.
        path: PathBuf,
        /// How long it may be.
        limit: usize,
    },
    /// What was waited for did not happen.
    #[error("`{id}` is not {wanted} after {} ms; it is {found}", waited.as_millis())]
    WaitedInVain {
        /// Whose record.
        id: String,
        /// What was waited for.
        wanted: String,
        /// The record as it is.
        found: String,
        /// How long.
        waited: Duration,
    },
}

impl CloudError {
    /// What `map_err` needs for a file.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// What `map_err` needs for a call of an AWS client.
    pub(crate) fn aws<E: Error + Send + Sync + 'static>(
        action: impl Into<String>,
    ) -> impl FnOnce(E) -> Self {
        let action = action.into();
        move |source| Self::Aws { action, source: Box::new(source) }
    }
}

fn list(processes: &[LiveProcess]) -> String {
    processes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
