//! `bailey-local up`.

use crate::state::StateDir;
use bailey_local_cloud::{
    CloudError, LocalCloud, Options,
    local::{Installation, light_measurements},
};
use bailey_runtime::Shutdown;
use std::{
    env,
    error::Error,
    fs::OpenOptions,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

/// How long after its end the coordinator is started again, as a service manager would.
const RESTART_AFTER: Duration = Duration::from_secs(1);
const LOOK_PERIOD: Duration = Duration::from_millis(20);

/// What the cloud is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct What {
    /// It has no coordinator.
    pub(crate) without_coordinator: bool,
    /// How its hosts are.
    pub(crate) hosts: Hosts,
}

/// How hosts run enclaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Hosts {
    /// As virtual machines, which boot the whole image.
    Booted,
    /// Not at all; hosts have no agents either.
    Light,
    /// As processes.
    Whole,
}

/// Runs the cloud until a signal asks for its end.
pub(crate) async fn attached(
    state: &StateDir,
    what: What,
    installation: Option<&Path>,
) -> Result<(), Box<dyn Error>> {
    refuse_second(state)?;
    let mut shutdown = Shutdown::listen()?;
    state.write_pid()?;
    let options = Options {
        state: Some(state.path().to_owned()),
        light_hosts: (what.hosts == Hosts::Light).then(light_measurements),
        ..Options::find()?
    };
    let options = match what.hosts {
        Hosts::Booted => options.booted(state.path(), &qemu()?)?,
        Hosts::Light | Hosts::Whole => options,
    };
    let options = match installation {
        Some(path) => options.installed(Installation::read(path)?),
        None => options,
    };
    let binaries = options.binaries.clone();
    let started = tokio::select! {
        started = LocalCloud::start(options) => started,
        () = shutdown.requested() => {
            state.forget();
            return Ok(());
        }
    };
    let mut cloud = started.inspect_err(|_| state.forget())?;
    if !what.without_coordinator {
        cloud.start_coordinator().inspect_err(|_| state.forget())?;
    }
    let mut variables = cloud.env();
    variables.insert("BAILEY_LOCAL_STATE".to_owned(), cloud.state_dir().display().to_string());
    state.write_env(&variables)?;
    print_what_to_try(state, binaries.cli.parent().unwrap_or_else(|| Path::new(".")));
    serve(&mut cloud, &mut shutdown).await?;
    let ended = cloud.shutdown().await;
    state.forget();
    Ok(ended?)
}

/// Starts the cloud in the background and returns when it is ready.
pub(crate) async fn detached(
    state: &StateDir,
    what: What,
    installation: Option<&Path>,
) -> Result<(), Box<dyn Error>> {
    refuse_second(state)?;
    state.forget();
    std::fs::create_dir_all(state.path())?;
    let log_path = state.path().join("bailey-local.log");
    let log = OpenOptions::new().create(true).append(true).open(&log_path)?;
    let mut command = Command::new(env::current_exe()?);
    command.arg("up").arg("--state").arg(state.path());
    if what.without_coordinator {
        command.arg("--without-coordinator");
    }
    match what.hosts {
        Hosts::Booted => drop(command.arg("--booted")),
        Hosts::Light => drop(command.arg("--light-hosts")),
        Hosts::Whole => {}
    }
    if let Some(path) = installation {
        command.arg("--installation").arg(path);
    }
    // A group of its own: the interrupt of a terminal is not meant for it.
    command.process_group(0).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let mut child = command.spawn()?;
    while !state.env_file().exists() {
        if let Some(status) = child.try_wait()? {
            let log = log_path.display();
            return Err(format!("the local cloud did not start ({status}), see {log}").into());
        }
        tokio::time::sleep(LOOK_PERIOD).await;
    }
    println!("the local cloud is up: source {}", state.env_file().display());
    Ok(())
}

/// Where scripts say that the QEMU is that was built for this.
fn qemu() -> Result<PathBuf, String> {
    let qemu = env::var_os("BAILEY_QEMU").map(PathBuf::from).filter(|path| path.is_dir());
    qemu.ok_or_else(|| "BAILEY_QEMU names no directory; run scripts/setup-boot".to_owned())
}

fn refuse_second(state: &StateDir) -> Result<(), String> {
    match state.running() {
        Some(pid) => Err(format!(
            "a local cloud runs in `{}` already, as process {pid}",
            state.path().display()
        )),
        None => Ok(()),
    }
}

/// Keeps the coordinator running until a signal comes.
async fn serve(cloud: &mut LocalCloud, shutdown: &mut Shutdown) -> Result<(), CloudError> {
    loop {
        tokio::select! {
            () = shutdown.requested() => return Ok(()),
            () = cloud.coordinator_ended() => {}
        }
        log::warn!("coordinator ended, and is started again");
        tokio::select! {
            () = shutdown.requested() => return Ok(()),
            () = tokio::time::sleep(RESTART_AFTER) => cloud.restart_coordinator().await?,
        }
    }
}

fn print_what_to_try(state: &StateDir, programs: &Path) {
    println!(
        "the local cloud is up; in another shell:\n\
         \n\
         \x20 source {env}\n\
         \x20 export PATH={programs}:$PATH\n\
         \x20 bailey-local upload IMAGE.eif s3://your-bucket/test.eif\n\
         \x20 bailey deploy my-enclave --eif s3://your-bucket/test.eif --debug\n\
         \x20 bailey watch my-enclave\n\
         \x20 bailey report my-enclave\n\
         \x20 bailey destroy my-enclave --wait\n\
         \x20 bailey-local status\n\
         \n\
         logs: {logs}\n\
         end it with Ctrl-C here, or with `bailey-local down`",
        env = state.env_file().display(),
        programs = programs.display(),
        logs = state.path().join("logs").display(),
    );
}
