//! The command line: a machine, its devices, and its end.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::{fs, io};

use clap::{Parser, Subcommand};

use crate::device::DeviceError;
use crate::image::{ImageError, take_apart};
use crate::machine::{self, Common, Identity, NSM_SOCKET, VSOCK_SOCKET};
use crate::{nsm, vsock};

/// Boots an enclave image on a virtual machine, and ends with it; for tests only.
///
/// The machine is QEMU, emulating every instruction. Works in the current directory, which has to be new
/// and short enough for Unix sockets.
#[derive(Debug, Parser)]
#[command(name = "enclave-vm", version)]
struct Arguments {
    #[command(flatten)]
    machine: MachineArguments,
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, clap::Args)]
struct MachineArguments {
    /// The directory that build-qemu filled
    #[arg(long, env = "BAILEY_QEMU")]
    qemu: PathBuf,
    /// The image
    #[arg(long)]
    image: PathBuf,
    /// The guest's memory, in MiB
    #[arg(long)]
    memory_mib: u64,
    /// The guest's CID
    #[arg(long, default_value_t = 16)]
    cid: u32,
    /// The Unix socket at which the host reaches the guest's ports
    #[arg(long)]
    vsock: PathBuf,
    /// A port of CID 3 and the Unix socket that answers it: 9000=heartbeat.sock
    #[arg(long = "parent-port", value_name = "PORT=SOCKET", value_parser = parent_port)]
    parent_ports: Vec<(u32, PathBuf)>,
    /// Where the guest's console goes
    #[arg(long, default_value = "console.log")]
    console: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// QEMU's own machine of that name, which measures the image and signs nothing
    NitroEnclave(Identity),
    /// A small machine with a module of ours behind a Unix socket
    Microvm {
        /// The module's socket
        #[arg(long)]
        nsm: PathBuf,
    },
}

/// Does what the command line says.
#[must_use]
pub fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(status) => {
            eprintln!("enclave-vm: QEMU ended with {status}");
            ExitCode::FAILURE
        }
        Err(err) => {
            eprintln!("enclave-vm: {}", with_sources(&err));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitStatus, VmError> {
    let machine = &arguments.machine;
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").map_err(VmError::Clock)?;
    let common = Common {
        qemu: &machine.qemu,
        memory_mib: machine.memory_mib,
        console: &machine.console,
        tsc_khz: machine::tsc_khz(&cpuinfo)
            .ok_or_else(|| VmError::Clock(io::ErrorKind::InvalidData.into()))?,
    };
    let options = vsock::VsockOptions {
        cid: machine.cid,
        listen: machine.vsock.clone(),
        parent_ports: machine.parent_ports.iter().cloned().collect::<BTreeMap<_, _>>(),
    };
    vsock::start(Path::new(VSOCK_SOCKET), options).map_err(VmError::Device)?;
    let words = match &arguments.kind {
        Kind::NitroEnclave(identity) => machine::nitro_enclave(&common, &machine.image, identity),
        Kind::Microvm { nsm } => {
            nsm::start(Path::new(NSM_SOCKET), nsm.clone()).map_err(VmError::Device)?;
            let parts = take_apart(&machine.image, Path::new(".")).map_err(VmError::Image)?;
            machine::microvm(&common, &parts)
        }
    };
    qemu(&machine::program(&machine.qemu), words)
}

/// Runs QEMU, which the kernel kills when this process ends: `setpriv` asks it to.
///
/// To be called by the main thread: the signal comes when the thread that started the child ends.
fn qemu(program: &Path, arguments: Vec<OsString>) -> Result<ExitStatus, VmError> {
    let failed = |source| VmError::Start { program: program.to_owned(), source };
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(arguments);
    command.stdin(Stdio::null()).status().map_err(failed)
}

fn parent_port(text: &str) -> Result<(u32, PathBuf), &'static str> {
    let (port, socket) = text.split_once('=').ok_or("PORT=SOCKET is expected")?;
    Ok((port.parse().map_err(|_| "the port is not a number")?, socket.into()))
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Why there is no machine.
#[derive(Debug, thiserror::Error)]
enum VmError {
    #[error("cannot find out how fast this processor's counter is")]
    Clock(#[source] io::Error),
    #[error("a device cannot be had")]
    Device(#[source] DeviceError),
    #[error("the image cannot be booted")]
    Image(#[source] ImageError),
    #[error("cannot start {} by setpriv", program.display())]
    Start { program: PathBuf, source: io::Error },
}
