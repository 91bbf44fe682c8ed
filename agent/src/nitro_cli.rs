//! The driver of nitro-cli: arguments in, values or typed errors out.
//!
//! # Assumptions
//! The caller makes one call at a time; see [`crate::parent`].

use crate::{
    command::{self, CommandError, Output},
    ports::{Cause, EnclaveInfo, StartOrder},
};
use bailey_model::{failure::FailureCode, hosts::RunningEnclave};
use bailey_nitro_cli::{
    answers::{self, OutputError},
    codes,
    refusal::{self, MOST_LOG_BYTES},
};
use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::process::{Child, Command};

/// nitro-cli's own boot timeout counts in these units of image and of memory.
const BOOT_UNIT: Duration = Duration::from_secs(90);
const IMAGE_UNIT_BYTES: u64 = 6 * 1_024 * 1_024 * 1_024;
const MEMORY_UNIT_MIB: u64 = 100 * 1_024;

/// An installed nitro-cli.
#[derive(Clone, Debug)]
pub struct NitroCli {
    /// The program.
    pub program: PathBuf,
    /// What `run-enclave` is run by, a program and its arguments; empty for nothing.
    pub started_by: Vec<String>,
    /// What everything else is run by.
    pub run_by: Vec<String>,
    /// How long describing and terminating may take: a few messages between local processes.
    pub deadline: Duration,
    /// Whether the error logs that it names are read here; not by root, for they are nitro-cli's word.
    pub reads_logs: bool,
}

impl NitroCli {
    /// The program, run by nothing else.
    #[must_use]
    pub fn plain(program: PathBuf, deadline: Duration) -> Self {
        Self { program, started_by: Vec::new(), run_by: Vec::new(), deadline, reads_logs: true }
    }

    /// Every enclave of this parent.
    pub async fn describe(&self) -> Result<Vec<EnclaveInfo>, NitroCliError> {
        let output =
            self.run(&self.run_by, "describe-enclaves", vec![], self.deadline, None).await?;
        answers::enclaves(&output.stdout)
            .map_err(|source| NitroCliError::Output { verb: "describe-enclaves", source })
    }

    /// Starts an enclave and waits for its heartbeat; `stdin` is held by nitro-cli while it runs.
    pub async fn start(
        &self,
        order: &StartOrder,
        stdin: File,
    ) -> Result<RunningEnclave, NitroCliError> {
        let deadline = start_deadline(order);
        let verb = "run-enclave";
        let arguments = start_arguments(order);
        let output = self.run(&self.started_by, verb, arguments, deadline, Some(stdin)).await?;
        answers::started(&output.stdout).map_err(|source| NitroCliError::Output { verb, source })
    }

    /// Which version it is, as it says.
    pub async fn version(&self) -> Result<String, NitroCliError> {
        let output = self.run(&self.run_by, "--version", vec![], self.deadline, None).await?;
        let known = answers::version(&output.stdout);
        known
            .map(|(major, minor, patch)| format!("{major}.{minor}.{patch}"))
            .ok_or(NitroCliError::Output { verb: "--version", source: OutputError::Version })
    }

    /// Ends the enclave with this `EnclaveID`.
    pub async fn terminate(&self, nitro_id: &str) -> Result<(), NitroCliError> {
        let arguments = vec!["--enclave-id".to_owned(), nitro_id.to_owned()];
        let verb = "terminate-enclave";
        self.run(&self.run_by, verb, arguments, self.deadline, None).await.map(drop)
    }

    /// Begins to print the console of the enclave with this `EnclaveID`, which has to be in debug mode;
    /// it is ended by dropping the child.
    pub(crate) fn console(&self, nitro_id: &str) -> io::Result<Child> {
        let program = self.program.display().to_string();
        let own = [program.as_str(), "console", "--enclave-id", nitro_id];
        let mut command = self.run_by.iter().map(String::as_str).chain(own);
        Command::new(command.next().unwrap_or_default())
            .args(command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }

    async fn run(
        &self,
        by: &[String],
        verb: &'static str,
        arguments: Vec<String>,
        deadline: Duration,
        stdin: Option<File>,
    ) -> Result<Output, NitroCliError> {
        let own = [self.program.display().to_string(), verb.to_owned()];
        let command: Vec<String> = by.iter().cloned().chain(own).chain(arguments).collect();
        let output = command::run(&command, deadline, stdin)
            .await
            .map_err(|source| NitroCliError::Command { verb, source })?;
        if output.success {
            return Ok(output);
        }
        let refused = refused(verb, &output);
        Err(if self.reads_logs { refused.explained() } else { refused })
    }
}

fn start_arguments(order: &StartOrder) -> Vec<String> {
    let mut arguments: Vec<String> = [
        ("--cpu-count", order.size.cpu_count.to_string()),
        ("--memory", order.size.memory_mib.to_string()),
        ("--eif-path", order.image.path.display().to_string()),
        ("--enclave-name", order.name.as_str().to_owned()),
    ]
    .into_iter()
    .flat_map(|(name, value)| [name.to_owned(), value])
    .collect();
    if order.debug {
        arguments.push("--debug-mode".to_owned());
    }
    arguments
}

/// nitro-cli's own boot timeout, and a unit more for loading the image.
pub(crate) fn start_deadline(order: &StartOrder) -> Duration {
    let units = order.image.size_bytes.div_ceil(IMAGE_UNIT_BYTES)
        + u64::from(order.size.memory_mib).div_ceil(MEMORY_UNIT_MIB)
        + 1;
    BOOT_UNIT.saturating_mul(u32::try_from(units).unwrap_or(u32::MAX))
}

fn refused(verb: &'static str, output: &Output) -> NitroCliError {
    match refusal::error_blocks(&output.stderr).into_iter().next() {
        Some(cause) => {
            NitroCliError::Refused { verb, code: cause.code, text: cause.text, log: cause.log }
        }
        None => NitroCliError::Unexplained {
            verb,
            status: output.status.clone(),
            said: output.last_words(),
        },
    }
}

/// The root cause in an error log that nitro-cli named, to be put behind its text; empty when the log has
/// none or cannot be read, for the text says something by itself.
///
/// Only for a process that may read no more than nitro-cli may: its words name the file.
pub(crate) fn root_cause(log: &Path) -> String {
    match read_log(log) {
        Ok(text) => {
            refusal::root_cause(&text).map(|cause| format!(": {cause}")).unwrap_or_default()
        }
        Err(error) => {
            log::warn!(log = log.display().to_string(), error = error.to_string(); "error log not read");
            String::new()
        }
    }
}

fn read_log(log: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    let most = u64::try_from(MOST_LOG_BYTES).unwrap_or(u64::MAX);
    File::open(log)?.take(most).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Why nitro-cli did not do it.
#[derive(Debug, thiserror::Error)]
pub enum NitroCliError {
    /// It could not be run to its end.
    #[error("nitro-cli {verb} could not be carried out")]
    Command {
        /// nitro-cli's command.
        verb: &'static str,
        /// The reason.
        source: CommandError,
    },
    /// It succeeded and said something that is not understood.
    #[error("nitro-cli {verb} answered something unexpected")]
    Output {
        /// nitro-cli's command.
        verb: &'static str,
        /// The reason.
        source: OutputError,
    },
    /// It failed with one of its documented errors.
    #[error("nitro-cli {verb} failed with E{code:02}: {text}")]
    Refused {
        /// nitro-cli's command.
        verb: &'static str,
        /// The number of the first error, the cause of the others.
        code: u8,
        /// nitro-cli's words.
        text: String,
        /// The log file with the root cause.
        log: Option<PathBuf>,
    },
    /// It failed without one.
    #[error("nitro-cli {verb} failed ({status}): {said}")]
    Unexplained {
        /// nitro-cli's command.
        verb: &'static str,
        /// How it ended.
        status: String,
        /// The last line that it wrote.
        said: String,
    },
}

impl NitroCliError {
    /// The same, with the root cause from the log that nitro-cli named.
    pub(crate) fn explained(mut self) -> Self {
        if let Self::Refused { text, log: Some(log), .. } = &mut self {
            text.push_str(&root_cause(log));
        }
        self
    }
}

impl Cause for NitroCliError {
    fn code(&self) -> FailureCode {
        match self {
            Self::Refused { code, .. } => codes::failure_code(*code),
            Self::Command { .. } | Self::Output { .. } | Self::Unexplained { .. } => {
                FailureCode::EnclaveStartFailed
            }
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Refused { code, .. } => codes::hint(*code),
            Self::Command { .. } | Self::Output { .. } | Self::Unexplained { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{name::EnclaveName, ports::Size, testing::image};
    use bailey_model::Generation;

    fn order(debug: bool) -> StartOrder {
        StartOrder {
            name: EnclaveName::of(&"enc_1".parse().unwrap(), Generation(3)),
            image: image(),
            size: Size { cpu_count: 2, memory_mib: 1_024 },
            debug,
        }
    }

    #[test]
    fn debug_mode_is_on_only_when_asked_for() {
        let plain = "--cpu-count 2 --memory 1024 --eif-path /cache/test.eif \
            --enclave-name bailey-d8f2ac20b60eeef37c688a0e";
        assert_eq!(start_arguments(&order(false)).join(" "), plain);
        assert_eq!(start_arguments(&order(true)).join(" "), format!("{plain} --debug-mode"));
    }

    #[test]
    fn a_start_has_as_long_as_nitro_cli_gives_itself_and_more() {
        assert_eq!(start_deadline(&order(false)), Duration::from_secs(270));
    }

    #[test]
    fn the_first_error_is_the_reason() {
        let stderr = "[ E27 ] Insufficient memory\n\n[ E39 ] Enclave process connection failure\n";
        let output = Output { stderr: stderr.to_owned(), ..Output::default() };
        let err = refused("run-enclave", &output);
        assert_eq!(err.to_string(), "nitro-cli run-enclave failed with E27: Insufficient memory");
        assert_eq!(err.code(), FailureCode::InsufficientHostResources);
        assert_eq!(err.hint(), codes::hint(27));
    }

    #[test]
    fn a_failure_without_a_code_keeps_the_last_words() {
        let output = Output {
            status: "exit status: 2".to_owned(),
            stderr: "error: unexpected argument\n\n".to_owned(),
            ..Output::default()
        };
        let err = refused("run-enclave", &output);
        assert_eq!(
            err.to_string(),
            "nitro-cli run-enclave failed (exit status: 2): error: unexpected argument"
        );
        assert_eq!(err.code(), FailureCode::EnclaveStartFailed);
    }

    #[test]
    fn the_root_cause_is_taken_from_the_log_that_nitro_cli_names() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("err.log");
        let stderr = |log: &Path| {
            format!("[ E29 ] Ioctl failure\n\nerror log found at \"{}\"\n", log.display())
        };
        std::fs::write(&log, "  Subactions:\n    Failed to run\n    No such region\n").unwrap();
        let said = |log: &Path| {
            let output = Output { stderr: stderr(log), ..Output::default() };
            refused("run-enclave", &output).explained().to_string()
        };
        let short = "nitro-cli run-enclave failed with E29: Ioctl failure";
        assert_eq!(said(&log), format!("{short}: No such region"));
        assert_eq!(said(&dir.path().join("none.log")), short);
    }
}
