//! Failures as nitro-cli tells them: a code, a text, a link and the path of an error log.
//!
//! Codes and texts are those of nitro-cli 1.5.2. The code's number is the exit code.

use std::fs;
use std::path::Path;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The version of nitro-cli that this one stands for.
pub const VERSION: &str = "1.5.2";

/// The environment variable that asks for the root cause on standard error, as `1`.
const BACKTRACE: &str = "BACKTRACE";

/// Why a command failed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{reason}")]
pub struct Failure {
    /// What nitro-cli says about it.
    pub reason: Reason,
    /// The root cause, which nitro-cli writes to its error log only.
    pub cause: String,
}

/// The kinds of failure, with the text that nitro-cli has for each.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Reason {
    /// E03: an argument is no number, or one that has another meaning.
    #[error(
        "Invalid argument provided. The parameter `{parameter}` is not a valid integer (`{value}`)"
    )]
    InvalidArgument {
        /// The argument's name, or `MISSING_INFO`.
        parameter: String,
        /// The argument's value, or `MISSING_INFO`.
        value: String,
    },
    /// E05: the enclave process could not be started.
    #[error(
        "Process spawn failure. Such error appears when the main Nitro CLI process fails to spawn the enclave process, in order to complete a `run-enclave` command."
    )]
    ProcessSpawn,
    /// E11: no enclave process answers for the id.
    #[error(
        "Socket error. This is used as an error for catching any other socket operation errors not covered by previous custom errors."
    )]
    Socket,
    /// E19: a file could not be used.
    #[error(
        "File operation failure. Such error appears when the system fails to perform the requested file operations, such as opening the EIF file when launching an enclave, or seeking to a specific offset in the EIF file, or writing to the log file.\nFile: '{file}', failing operation: '{operation}'."
    )]
    File {
        /// The file.
        file: String,
        /// What was being done: `Open`, `Read`, `Write`.
        operation: String,
    },
    /// E20: a CPU was named twice.
    #[error(
        "Invalid CPU configuration. User provided `cpu-ids` contains same CPU(s) (CPU(s) {cpus}) multiple times."
    )]
    DuplicateCpus {
        /// The ids named twice, without anything between them.
        cpus: String,
    },
    /// E21: a CPU is not in the pool.
    #[error(
        "No such CPU available in the pool. User provided `cpu-ids` contains CPU {cpu}, which is not available in the pool.\nYou can add a specific CPU to the CPU pool by editing the `cpu_pool` value from '/etc/nitro_enclaves/allocator.yaml' and then enable the nitro-enclaves-allocator.service."
    )]
    NoSuchCpu {
        /// The first such CPU.
        cpu: u32,
    },
    /// E22: the pool is smaller than what was asked for.
    #[error(
        "Insufficient CPUs available in the pool. User provided `cpu-count` is {wanted}, which is more than the configured CPU pool size.\nYou can increase the CPU pool size by editing the `cpu_count` value from '/etc/nitro_enclaves/allocator.yaml' and then enable the nitro-enclaves-allocator.service."
    )]
    InsufficientCpus {
        /// How many were asked for.
        wanted: u32,
    },
    /// E26: the image needs more memory.
    #[error(
        "Insufficient memory requested. User provided `memory` is {wanted_mib} MB, but based on the EIF file size, the minimum memory should be {minimum_mib} MB"
    )]
    InsufficientMemoryRequested {
        /// What was asked for, in MiB.
        wanted_mib: u64,
        /// 4 times the image's size, in MiB.
        minimum_mib: u64,
    },
    /// E27: too few hugepages are free.
    #[error(
        "Insufficient memory available. User provided `memory` is {wanted_mib} MB, which is more than the available hugepage memory.\nYou can increase the available memory by editing the `memory_mib` value from '/etc/nitro_enclaves/allocator.yaml' and then enable the nitro-enclaves-allocator.service."
    )]
    InsufficientMemoryAvailable {
        /// What was asked for, in MiB.
        wanted_mib: u64,
    },
    /// E29: the driver refused; which of its reasons it was is in the cause alone.
    #[error(
        "Ioctl failure. Such error is used as a general ioctl error and appears whenever an ioctl fails. In this case, the error backtrace provides detailed information on what specifically failed during the ioctl."
    )]
    Ioctl,
    /// E35: `describe-eif` could not read the image.
    #[error(
        "EIF file parsing error. Such errors appear when attempting to fill a memory region with a section of the EIF file, but reading the entire section fails. This might indicate that the required hugepages are not available."
    )]
    EifParsing,
    /// E36: the enclave gave no sign of life.
    #[error(
        "Enclave boot failure. Such error appears when attempting to receive the `ready` signal from a freshly booted enclave. It arises in several contexts, for instance, when the enclave is booted from an invalid EIF file and the enclave process immediately exits, failing to submit the `ready` signal. In this case, the error backtrace provides detailed information on what specifically failed during the enclave boot process."
    )]
    Boot,
    /// E39: the enclave process failed; its own failure was told before.
    #[error(
        "Enclave process connection failure. Such error appears when the enclave manager fails to connect to at least one enclave process for retrieving the description information."
    )]
    ProcessConnection,
    /// E44: the enclave's console cannot be reached.
    #[error(
        "Enclave console connection failure. Such error appears when the Nitro CLI process fails to establish a connection to a running enclave's console."
    )]
    ConsoleConnection,
    /// E45: the enclave's console cannot be read.
    #[error(
        "Enclave console read error. Such error appears when reading from a running enclave's console fails."
    )]
    ConsoleRead,
    /// E58: no enclave, or more than one, has the name.
    #[error(
        "Naming error. Such error appears when trying to perform an enclave operation using the enclave name and the name is invalid."
    )]
    Naming,
    /// E59: the sections of the image could not be walked in search of a signature.
    #[error(
        "EIF signature checker error. Such error appears when validation of the signing certificate fails."
    )]
    SignatureChecker,
}

impl Reason {
    /// The number in `Exx`, which is also the exit code.
    #[must_use]
    pub fn number(&self) -> u8 {
        match self {
            Self::InvalidArgument { .. } => 3,
            Self::ProcessSpawn => 5,
            Self::Socket => 11,
            Self::File { .. } => 19,
            Self::DuplicateCpus { .. } => 20,
            Self::NoSuchCpu { .. } => 21,
            Self::InsufficientCpus { .. } => 22,
            Self::InsufficientMemoryRequested { .. } => 26,
            Self::InsufficientMemoryAvailable { .. } => 27,
            Self::Ioctl => 29,
            Self::EifParsing => 35,
            Self::Boot => 36,
            Self::ProcessConnection => 39,
            Self::ConsoleConnection => 44,
            Self::ConsoleRead => 45,
            Self::Naming => 58,
            Self::SignatureChecker => 59,
        }
    }

    /// A failure of this kind.
    #[must_use]
    pub fn because(self, cause: impl Into<String>) -> Failure {
        Failure { reason: self, cause: cause.into() }
    }
}

impl Failure {
    /// A file of the host could not be used.
    pub(crate) fn file(path: &Path, operation: &str, cause: &dyn std::error::Error) -> Self {
        let file = path.display().to_string();
        Reason::File { file, operation: operation.to_owned() }.because(cause.to_string())
    }

    /// The block for standard error, without a newline at its end; the root cause goes to an error
    /// log in `logs`.
    ///
    /// As in nitro-cli, the block names no log when none could be written.
    #[must_use]
    pub fn block(&self, action: &str, logs: &Path) -> String {
        let backtrace = self.backtrace(action);
        let asked = std::env::var(BACKTRACE).is_ok_and(|value| value == "1");
        self.layout(asked.then_some(&backtrace), write_log(logs, &backtrace).as_deref())
    }

    fn layout(&self, backtrace: Option<&String>, log: Option<&str>) -> String {
        let code = format!("E{:02}", self.reason.number());
        let mut text = format!(
            "[ {code} ] {}\n\nFor more details, please visit https://docs.aws.amazon.com/enclaves/latest/user/cli-errors.html#{code}",
            self.reason
        );
        if let Some(backtrace) = backtrace {
            text = format!("{text}\n\nBacktrace:\n{backtrace}");
        }
        if let Some(log) = log {
            text = format!(
                "{text}\n\nIf you open a support ticket, please provide the error log found at \"{log}\""
            );
        }
        text
    }

    fn backtrace(&self, action: &str) -> String {
        format!(
            "  Action: {action}\n  Subactions:\n    {}\n  Root error file: nitro-cli-standin\n  Root error line: 0\n  Version: {VERSION}",
            self.cause
        )
    }
}

fn write_log(logs: &Path, backtrace: &str) -> Option<String> {
    fs::create_dir_all(logs).ok()?;
    let now = OffsetDateTime::now_utc().format(&Rfc3339).ok()?;
    let path = logs.join(format!("err{now}.log"));
    fs::write(&path, backtrace).ok()?;
    Some(path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_has_the_layout_of_the_real_one() {
        let failure = Reason::InsufficientMemoryRequested { wanted_mib: 1, minimum_mib: 48 }
            .because("At least 48 MB must be allocated (which is 4 times the EIF file size)");
        let expected = "\
[ E26 ] Insufficient memory requested. User provided `memory` is 1 MB, but based on the EIF file \
size, the minimum memory should be 48 MB

For more details, please visit https://docs.aws.amazon.com/enclaves/latest/user/cli-errors.html#E26

If you open a support ticket, please provide the error log found at \"/logs/err.log\"";
        assert_eq!(failure.layout(None, Some("/logs/err.log")), expected);
    }

    #[test]
    fn the_root_cause_is_in_the_log_and_in_a_backtrace_that_was_asked_for() {
        let failure = Reason::Ioctl.because("no vCPUs");
        let backtrace = failure.backtrace("Run Enclave");
        let expected = "  Action: Run Enclave\n  Subactions:\n    no vCPUs\n  \
            Root error file: nitro-cli-standin\n  Root error line: 0\n  Version: 1.5.2";
        assert_eq!(backtrace, expected);
        let text = failure.layout(Some(&backtrace), None);
        assert!(text.ends_with(&format!("#E29\n\nBacktrace:\n{expected}")), "{text}");
    }

    #[test]
    fn the_error_log_that_a_block_names_exists() {
        let dir = tempfile::tempdir().unwrap();
        let block = Reason::Boot.because("no heartbeat").block("Run Enclave", dir.path());
        let path = block.rsplit('"').nth(1).unwrap();
        assert!(fs::read_to_string(path).unwrap().contains("no heartbeat"));
    }
}
