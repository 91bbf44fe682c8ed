//! The helper itself: one request on standard input, one answer on standard output.

use super::{Answer, Checked, NitroCliRefusal, Request};
use crate::{
    POWEROFF_DEADLINE,
    command::{self, CommandError, Output},
    config::Config,
    name::EnclaveName,
    nitro_cli::{NitroCli, NitroCliError},
    parent::{Parent, ParentError},
    ports::{Cause, Enclaves, Image, StartOrder},
    state::{cache_below, start_lock_below},
};
use bailey_model::{PcrSet, failure::FailureCode};
use std::{
    io::{self, BufRead as _, Read as _, Write as _},
    time::Duration,
};
use tokio::{task::spawn_blocking, time::timeout};

/// A request is a line, and it is there when the helper is started.
const MOST_ASKED: u64 = 64 * 1_024;
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);

/// Serves the one request that comes on standard input.
pub async fn serve(config: &Config) -> Result<(), ServeError> {
    // The thread that waits for a silent client ends with this process.
    let line = timeout(REQUEST_DEADLINE, spawn_blocking(request)).await;
    let line = line.map_err(|_| ServeError::Silent)?;
    let line = line.map_err(io::Error::other).flatten().map_err(ServeError::Read)?;
    let answer = answer(config, &line).await;
    if let Answer::Refused { why } = &answer {
        log::warn!(error = why.as_str(); "request refused");
    }
    let mut line = serde_json::to_vec(&answer).map_err(ServeError::Encode)?;
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line).and_then(|()| out.flush()).map_err(ServeError::Write)
}

/// Reads up to the first line feed; the other side goes on listening on the same socket.
fn request() -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    io::stdin().lock().take(MOST_ASKED).read_until(b'\n', &mut line)?;
    Ok(line)
}

async fn answer(config: &Config, line: &[u8]) -> Answer {
    let request: Request = match serde_json::from_slice(line) {
        Ok(request) => request,
        Err(error) => return Answer::Refused { why: format!("not a request: {error}") },
    };
    match request.checked(&cache_below(&config.state_dir)) {
        Err(refusal) => Answer::Refused { why: refusal.to_string() },
        Ok(Checked::PowerOff) => {
            let ran = command::run(&config.poweroff_command, POWEROFF_DEADLINE, None).await;
            ran_or_failed(ran)
        }
        Ok(Checked::ApplyPlan { allocator_yaml }) => apply(config, &allocator_yaml).await,
        Ok(Checked::RunEnclave { name, image, size_bytes, size, debug }) => {
            let image = Image { path: image, size_bytes, measurements: PcrSet::new() };
            start(config, StartOrder { name, image, size, debug }).await
        }
    }
}

async fn apply(config: &Config, allocator_yaml: &str) -> Answer {
    match parent(config, None).list().await {
        Ok(running) if running.is_empty() => {}
        Ok(running) => {
            let message = format!("{} enclaves run, and the pool cannot change", running.len());
            let code = FailureCode::InsufficientHostResources;
            return Answer::Failed { code, message, nitro_cli: None };
        }
        Err(error) => return parent_failed(&error),
    }
    match config.pool(None).applier.apply(allocator_yaml).await {
        Ok((success, said)) => Answer::Ran { success, said },
        Err(error) => failed(&error, None),
    }
}

async fn start(config: &Config, order: StartOrder) -> Answer {
    match parent(config, Some(&order.name)).start(order).await {
        Ok(enclave) => Answer::Started { enclave },
        Err(error) => parent_failed(&error),
    }
}

/// The parent's enclaves, with nitro-cli run as the agent's user; what starts one is put in a scope of
/// its own, where the end of no service reaches it.
fn parent(config: &Config, name: Option<&EnclaveName>) -> Parent {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let user = format!("--reuid={}", config.user);
    let as_agent = words(&["setpriv", &user, "--regid=ne", "--clear-groups", "--"]);
    let scope = name.map(|name| {
        let unit = format!("--unit=bailey-enclave-{name}-{}.scope", bailey_runtime::now().0);
        let mut scope = words(&[
            "systemd-run",
            "--quiet",
            "--collect",
            "--scope",
            "--slice=bailey-enclaves.slice",
            &unit,
            "--",
        ]);
        scope.extend(as_agent.clone());
        scope
    });
    let cli = NitroCli {
        program: config.nitro_cli.clone(),
        started_by: scope.unwrap_or_else(|| as_agent.clone()),
        run_by: as_agent,
        deadline: config.nitro_cli_deadline(),
        reads_logs: false,
    };
    Parent::new(cli, config.pool(None), start_lock_below(&config.state_dir), None)
}

fn ran_or_failed(ran: Result<Output, CommandError>) -> Answer {
    match ran {
        Ok(output) => Answer::Ran { success: output.success, said: output.last_words() },
        Err(error) => Answer::Failed {
            code: FailureCode::EnclaveStartFailed,
            message: bailey_runtime::chain(&error),
            nitro_cli: None,
        },
    }
}

fn failed(error: &impl Cause, nitro_cli: Option<NitroCliRefusal>) -> Answer {
    Answer::Failed { code: error.code(), message: bailey_runtime::chain(error), nitro_cli }
}

fn parent_failed(error: &ParentError) -> Answer {
    let nitro_cli = match error {
        ParentError::NitroCli(NitroCliError::Refused { code, log, .. }) => {
            Some(NitroCliRefusal { code: *code, log: log.clone() })
        }
        _ => None,
    };
    failed(error, nitro_cli)
}

/// Why a request was not answered.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The answer has no JSON form.
    #[error("cannot encode the answer")]
    Encode(#[source] serde_json::Error),
    /// The request cannot be read.
    #[error("cannot read the request")]
    Read(#[source] io::Error),
    /// Nobody asked for anything.
    #[error("no request came")]
    Silent,
    /// The answer cannot be written.
    #[error("cannot write the answer")]
    Write(#[source] io::Error),
}
