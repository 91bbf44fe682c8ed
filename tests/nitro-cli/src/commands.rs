//! The commands that people and the agent give.

mod console;
mod run;

use std::env;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser as _;

use crate::arguments::{Arguments, Command, TerminateArguments};
use crate::enclave_process;
use crate::enclaves::{Enclave, Enclaves, terminate};
use crate::failure::{Failure, Reason};
use crate::host::Host;
use crate::image;
use crate::output::{TerminateInfo, pretty};

/// The environment variable that says where error logs go, as for nitro-cli.
const LOGS: &str = "NITRO_CLI_LOGS_PATH";

/// Does what the command line says.
///
/// The exit code is 0, the number of the failure's code, 2 for a wrong command line, or 1 when
/// there is no simulated host.
#[must_use]
pub fn main() -> ExitCode {
    let command = match Arguments::parse().command {
        // Its environment is that of the enclave: there is no host to speak of.
        Command::EnclaveInit { parent, program, arguments } => {
            return enclave_process::become_program(parent, &program, &arguments);
        }
        command => command,
    };
    let host = match Host::from_environment() {
        Ok(host) => host,
        Err(err) => {
            eprintln!("nitro-cli-standin: {}", image::with_sources(&err));
            return ExitCode::FAILURE;
        }
    };
    if matches!(command, Command::EnclaveProcess) {
        return enclave_process::main(&host);
    }
    let action = action(&command);
    match execute(&host, command) {
        Ok(text) => {
            if !text.is_empty() {
                // Whoever went away does not need the answer any more.
                let _ = writeln!(std::io::stdout(), "{text}");
            }
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("{}", failure.block(action, &logs(&host)));
            ExitCode::from(failure.reason.number())
        }
    }
}

/// Where error logs go.
pub(crate) fn logs(host: &Host) -> PathBuf {
    env::var_os(LOGS).map_or_else(|| host.run("logs"), PathBuf::from)
}

fn action(command: &Command) -> &'static str {
    match command {
        Command::RunEnclave(_) | Command::EnclaveProcess | Command::EnclaveInit { .. } => {
            "Run Enclave"
        }
        Command::DescribeEnclaves { .. } => "Describe Enclave",
        Command::TerminateEnclave(TerminateArguments { all: true, .. }) => "Terminate All Enclaves",
        Command::TerminateEnclave(_) => "Terminate Enclave",
        Command::DescribeEif { .. } => "Describe EIF",
        Command::Console { .. } => "Enclave Console",
    }
}

/// Carries a command out; the text is for standard output.
fn execute(host: &Host, command: Command) -> Result<String, Failure> {
    match command {
        Command::RunEnclave(arguments) => run::run_enclave(host, arguments.parse()?),
        Command::DescribeEnclaves { metadata } => {
            let enclaves = Enclaves::lock(host)?;
            let infos = enclaves.running().map(|enclave| enclave.describe_info(metadata));
            Ok(pretty(&infos.collect::<Vec<_>>()))
        }
        Command::TerminateEnclave(arguments) => terminate_enclave(host, &arguments),
        Command::DescribeEif { eif_path } => image::describe(&eif_path).map(|info| pretty(&info)),
        Command::Console { enclave_id } => {
            console::console(host, &enclave_id).map(|()| String::new())
        }
        // Both were handled where nothing can be printed for people.
        Command::EnclaveProcess | Command::EnclaveInit { .. } => Ok(String::new()),
    }
}

fn terminate_enclave(host: &Host, arguments: &TerminateArguments) -> Result<String, Failure> {
    if arguments.all {
        let running: Vec<_> = Enclaves::lock(host)?.running().cloned().collect();
        let ended = running.iter().map(|enclave| end(host, enclave));
        return Ok(pretty(&ended.collect::<Result<Vec<_>, _>>()?));
    }
    let enclave = find(host, arguments)?;
    end(host, &enclave).map(|info| pretty(&info))
}

fn find(host: &Host, arguments: &TerminateArguments) -> Result<Enclave, Failure> {
    let enclaves = Enclaves::lock(host)?;
    if let Some(name) = &arguments.enclave_name {
        let found = enclaves.running().find(|enclave| enclave.name == *name).cloned();
        return found.ok_or_else(|| Reason::Naming.because("No enclave matched the given name."));
    }
    let id = arguments.enclave_id.as_deref().unwrap_or_default();
    enclaves.with_id(id).cloned().ok_or_else(|| {
        Reason::Socket.because(format!(
            "Failed to connect to specific enclave process: no enclave has the id {id}"
        ))
    })
}

fn end(host: &Host, enclave: &Enclave) -> Result<TerminateInfo, Failure> {
    let terminated = terminate(host, enclave);
    // What a process that was killed left is removed here; it gave back nothing itself.
    Enclaves::lock(host)?;
    if terminated {
        eprintln!("Successfully terminated enclave {}.", enclave.id);
    } else {
        eprintln!("Warning: Failed to stop enclave {}", enclave.id);
    }
    Ok(TerminateInfo {
        enclave_name: enclave.name.clone(),
        enclave_id: enclave.id.clone(),
        terminated,
    })
}
