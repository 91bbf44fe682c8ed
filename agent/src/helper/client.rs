//! Asking the helper.

use super::{Answer, Request};
use crate::{
    nitro_cli::{root_cause, start_deadline},
    ports::{Cause, StartOrder},
};
use bailey_model::{failure::FailureCode, hosts::RunningEnclave};
use bailey_nitro_cli::codes;
use std::{io, path::PathBuf, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};

/// The helper may wait for a start that an earlier agent asked for, and for the allocator.
const PATIENCE: Duration = Duration::from_mins(6);
/// Its answer is a line.
const MOST_ANSWERED: u64 = 1_024 * 1_024;

/// The helper behind a socket.
#[derive(Clone, Debug)]
pub struct Helper {
    /// The socket.
    pub socket: PathBuf,
}

impl Helper {
    /// Writes the allocator's file and runs the allocator; whether it ended well, and what it said.
    pub async fn apply_plan(&self, allocator_yaml: String) -> Result<(bool, String), HelperError> {
        self.ran(Request::ApplyPlan { allocator_yaml }).await
    }

    /// Powers the instance off.
    pub async fn power_off(&self) -> Result<(bool, String), HelperError> {
        self.ran(Request::PowerOff).await
    }

    /// Starts an enclave, or finds the one that has the name.
    pub async fn start(&self, order: &StartOrder) -> Result<RunningEnclave, HelperError> {
        let request = Request::RunEnclave {
            name: order.name.as_str().to_owned(),
            image: order.image.path.clone(),
            size_bytes: order.image.size_bytes,
            cpu_count: order.size.cpu_count,
            memory_mib: order.size.memory_mib,
            debug: order.debug,
        };
        match self.ask(&request, PATIENCE + start_deadline(order)).await? {
            Answer::Started { enclave } => Ok(enclave),
            other => Err(unexpected(other)),
        }
    }

    async fn ran(&self, request: Request) -> Result<(bool, String), HelperError> {
        match self.ask(&request, PATIENCE).await? {
            Answer::Ran { success, said } => Ok((success, said)),
            other => Err(unexpected(other)),
        }
    }

    async fn ask(&self, request: &Request, within: Duration) -> Result<Answer, HelperError> {
        let unreachable = |source| HelperError::Socket { path: self.socket.clone(), source };
        let mut line = serde_json::to_vec(request).map_err(HelperError::Form)?;
        line.push(b'\n');
        let asking = async {
            let mut stream = UnixStream::connect(&self.socket).await?;
            stream.write_all(&line).await?;
            let mut answer = Vec::new();
            stream.take(MOST_ANSWERED).read_to_end(&mut answer).await?;
            Ok(answer)
        };
        let answer = timeout(within, asking).await.unwrap_or_else(|_| {
            Err(io::Error::new(io::ErrorKind::TimedOut, "the helper did not answer"))
        });
        serde_json::from_slice(&answer.map_err(unreachable)?).map_err(HelperError::Form)
    }
}

fn unexpected(answer: Answer) -> HelperError {
    match answer {
        Answer::Failed { code, mut message, nitro_cli } => {
            // Read here, with this process's rights: the helper is root, and the path nitro-cli's word.
            if let Some(log) = nitro_cli.as_ref().and_then(|refusal| refusal.log.as_deref()) {
                message.push_str(&root_cause(log));
            }
            HelperError::Failed { code, message, nitro_cli: nitro_cli.map(|refusal| refusal.code) }
        }
        Answer::Refused { why } => HelperError::Refused { why },
        Answer::Ran { said, .. } => HelperError::Refused { why: said },
        Answer::Started { .. } => HelperError::Refused { why: "another answer".to_owned() },
    }
}

/// Why the helper did not do it.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// It tried, and failed.
    #[error("{message}")]
    Failed {
        /// As what.
        code: FailureCode,
        /// Why.
        message: String,
        /// The number of nitro-cli's error, when it was one.
        nitro_cli: Option<u8>,
    },
    /// It answered something that is not understood.
    #[error("the helper's answer is not understood")]
    Form(#[source] serde_json::Error),
    /// It does not do such a thing.
    #[error("the helper refuses: {why}")]
    Refused {
        /// Why.
        why: String,
    },
    /// It cannot be reached.
    #[error("the helper does not serve on `{}`", path.display())]
    Socket {
        /// Its socket.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl Cause for HelperError {
    fn code(&self) -> FailureCode {
        match self {
            Self::Failed { code, .. } => *code,
            Self::Form(_) | Self::Refused { .. } | Self::Socket { .. } => {
                FailureCode::EnclaveStartFailed
            }
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Failed { nitro_cli, .. } => nitro_cli.and_then(codes::hint),
            Self::Form(_) | Self::Refused { .. } => {
                Some("agent and helper are of different versions; restart bailey-agent")
            }
            Self::Socket { .. } => {
                Some("see `systemctl status bailey-helper.socket` on the parent")
            }
        }
    }
}
