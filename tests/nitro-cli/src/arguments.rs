//! The command line: that of nitro-cli 1.5.2, as far as the agent uses it.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Reason, VERSION};

/// Stands for nitro-cli where there is no Nitro hardware; for development and tests only.
///
/// The simulated parent's directory comes from the environment variable `BAILEY_SIM_HOST`.
#[derive(Debug, Parser)]
#[command(name = "Nitro CLI", version = VERSION, arg_required_else_help = true)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What nitro-cli can be asked to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Starts a new enclave.
    RunEnclave(RunArguments),
    /// Returns a list of the running enclaves.
    DescribeEnclaves {
        /// Adds EIF metadata of the current enclaves to the command output.
        #[arg(long)]
        metadata: bool,
    },
    /// Terminates an enclave.
    TerminateEnclave(TerminateArguments),
    /// Connect to the console of an enclave.
    Console {
        /// Enclave ID, used to uniquely identify an enclave.
        #[arg(long)]
        enclave_id: String,
    },
    /// Returns information about the EIF found at a given path.
    DescribeEif {
        /// Path to the EIF to describe.
        #[arg(long)]
        eif_path: PathBuf,
    },
    /// The process of one enclave; started by `run-enclave`, not by people.
    #[command(hide = true)]
    EnclaveProcess,
    /// Becomes what an enclave runs as, and ends with the enclave's process.
    #[command(hide = true)]
    EnclaveInit {
        /// The process id of the enclave's process.
        parent: i32,
        /// The program.
        program: PathBuf,
        /// Its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

/// The arguments of `run-enclave`, unparsed: nitro-cli has error codes of its own for bad numbers.
#[derive(Args, Debug)]
pub struct RunArguments {
    /// List of cpu-ids that will be provided to the enclave.
    #[arg(long, num_args = 1.., required_unless_present = "cpu_count", conflicts_with = "cpu_count")]
    cpu_ids: Option<Vec<String>>,
    /// Number of cpus.
    #[arg(long)]
    cpu_count: Option<String>,
    /// Memory to allocate for the enclave in MB. Depending on the available pages, more might be
    /// allocated.
    #[arg(long)]
    memory: String,
    /// Path pointing to a prebuilt Eif image.
    #[arg(long)]
    eif_path: PathBuf,
    /// CID to be used for the newly started enclave.
    #[arg(long)]
    enclave_cid: Option<String>,
    /// Starts enclave in debug-mode.
    #[arg(long)]
    debug_mode: bool,
    /// Custom name assigned to the enclave by the user.
    #[arg(long)]
    enclave_name: Option<String>,
}

/// The arguments of `terminate-enclave`.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub struct TerminateArguments {
    /// Enclave ID, used to uniquely identify an enclave.
    #[arg(long)]
    pub enclave_id: Option<String>,
    /// Terminate all running enclave instances belonging to the current user.
    #[arg(long)]
    pub all: bool,
    /// Enclave name, used to uniquely identify an enclave.
    #[arg(long)]
    pub enclave_name: Option<String>,
}

/// What `run-enclave` is to start.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RunRequest {
    /// The CPUs.
    pub cpus: CpuRequest,
    /// The memory, in MiB.
    pub memory_mib: u64,
    /// The image.
    pub eif_path: PathBuf,
    /// The CID; `None` for any.
    pub cid: Option<u32>,
    /// Whether the image's registers are to read as zeros.
    pub debug_mode: bool,
    /// The enclave's name before a number is added to make it unique.
    pub name: String,
}

/// Which CPUs an enclave is to have.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum CpuRequest {
    /// So many.
    Count(u32),
    /// These.
    Ids(Vec<u32>),
}

impl RunArguments {
    /// Gives the numbers their meaning, in the order in which nitro-cli does.
    pub fn parse(self) -> Result<RunRequest, Failure> {
        let count = self.cpu_count.map(|text| number("cpu-count", &text)).transpose()?;
        let cid = self.enclave_cid.as_deref().map(enclave_cid).transpose()?;
        let memory_mib = memory_mib(&self.memory)?;
        let ids: Result<Vec<u32>, _> =
            self.cpu_ids.unwrap_or_default().iter().map(|text| number("cpu-id", text)).collect();
        // nitro-cli names an enclave after its image: the file's name without `.eif`.
        let file = self.eif_path.file_name().unwrap_or_default().to_string_lossy();
        let name = self.enclave_name.unwrap_or_else(|| file.trim_end_matches(".eif").to_owned());
        let ids = ids?;
        Ok(RunRequest {
            cpus: count.map_or(CpuRequest::Ids(ids), CpuRequest::Count),
            memory_mib,
            eif_path: self.eif_path,
            cid: cid.flatten(),
            debug_mode: self.debug_mode,
            name,
        })
    }
}

fn number(parameter: &str, text: &str) -> Result<u32, Failure> {
    text.parse()
        .map_err(|_| invalid(parameter, text).because(format!("`{parameter}` is not a number")))
}

/// `None` for 0, which asks for any CID.
fn enclave_cid(text: &str) -> Result<Option<u32>, Failure> {
    let cid: u64 = text
        .parse()
        .map_err(|_| invalid("enclave-cid", text).because("`enclave-cid` is not a number"))?;
    // The real one names neither parameter nor value here, and prints its placeholder.
    let refused =
        |why: &str| invalid("MISSING_INFO", "MISSING_INFO").because(format!("CID {cid} is {why}"));
    match u32::try_from(cid) {
        Ok(0) => Ok(None),
        Ok(1 | 2 | u32::MAX) => Err(refused("a well-known CID, not to be used for enclaves")),
        Ok(3) => Err(refused("the CID of the parent VM, not to be used for enclaves")),
        Ok(cid) => Ok(Some(cid)),
        Err(_) => Err(refused("higher than the maximum supported (u32 max) for a vsock device")),
    }
}

/// A number of MiB, or one with `M`, `G` or `T` behind it.
fn memory_mib(text: &str) -> Result<u64, Failure> {
    let refused = |why: &str| {
        invalid("memory", text).because(format!("`memory` argument does not contain a {why}"))
    };
    let end = text.find(|c: char| !c.is_numeric()).unwrap_or(text.len());
    let (count, unit) = text.split_at(end);
    let count: u64 = count.parse().map_err(|_| refused("number"))?;
    let factor: u64 = match unit {
        "" | "M" | "m" => 1,
        "G" | "g" => 1_024,
        "T" | "t" => 1_024 * 1_024,
        _ => return Err(refused("valid size indicator")),
    };
    count.checked_mul(factor).ok_or_else(|| refused("number"))
}

fn invalid(parameter: &str, value: &str) -> Reason {
    Reason::InvalidArgument { parameter: parameter.to_owned(), value: value.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(extra: &[&str]) -> Result<RunRequest, Failure> {
        let base = ["nitro-cli", "run-enclave", "--eif-path", "/images/test.eif"];
        let Command::RunEnclave(arguments) =
            Arguments::try_parse_from(base.iter().chain(extra)).unwrap().command
        else {
            panic!("another command")
        };
        arguments.parse()
    }

    #[test]
    fn the_agents_arguments_are_understood() {
        let request = parse(&["--cpu-count", "2", "--memory", "1024", "--debug-mode"]).unwrap();
        let expected = RunRequest {
            cpus: CpuRequest::Count(2),
            memory_mib: 1_024,
            eif_path: "/images/test.eif".into(),
            cid: None,
            debug_mode: true,
            name: "test".to_owned(),
        };
        assert_eq!(request, expected);
    }

    #[test]
    fn cpu_ids_are_a_list() {
        let request = parse(&["--cpu-ids", "1", "3", "--memory", "2G"]).unwrap();
        assert_eq!((request.cpus, request.memory_mib), (CpuRequest::Ids(vec![1, 3]), 2_048));
    }

    #[test]
    fn reserved_cids_are_refused_with_the_placeholder_of_the_real_one() {
        for cid in ["1", "2", "3", "4294967295", "4294967296"] {
            let refused = parse(&["--cpu-count", "2", "--memory", "64", "--enclave-cid", cid]);
            let failure = refused.unwrap_err();
            assert_eq!(failure.reason.number(), 3);
            assert_eq!(
                failure.reason.to_string(),
                "Invalid argument provided. The parameter `MISSING_INFO` is not a valid integer \
                 (`MISSING_INFO`)"
            );
        }
        let any = parse(&["--cpu-count", "2", "--memory", "64", "--enclave-cid", "0"]);
        assert_eq!(any.unwrap().cid, None);
    }

    #[test]
    fn what_is_no_number_is_named() {
        let refused = parse(&["--cpu-count", "two", "--memory", "64"]).unwrap_err();
        assert_eq!(refused.reason, invalid("cpu-count", "two"));
        let refused = parse(&["--cpu-count", "2", "--memory", "256_mb"]).unwrap_err();
        assert_eq!(refused.reason, invalid("memory", "256_mb"));
    }

    #[test]
    fn count_and_ids_exclude_each_other_and_one_is_needed() {
        let run = ["nitro-cli", "run-enclave", "--eif-path", "x", "--memory", "64"];
        assert_eq!(Arguments::try_parse_from(run).unwrap_err().exit_code(), 2);
        let both = run.iter().chain(&["--cpu-count", "2", "--cpu-ids", "1"]);
        assert_eq!(Arguments::try_parse_from(both).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn terminate_takes_exactly_one_way_to_say_whom() {
        let terminate = ["nitro-cli", "terminate-enclave"];
        assert!(Arguments::try_parse_from(terminate).is_err());
        assert!(Arguments::try_parse_from(terminate.iter().chain(&["--all"])).is_ok());
        let two = terminate.iter().chain(&["--all", "--enclave-id", "x"]);
        assert!(Arguments::try_parse_from(two).is_err());
    }
}
