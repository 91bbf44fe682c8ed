//! Starting and ending the programs of the local cloud.

use super::{ACCOUNT, AUTHORITY, CloudError, Options, REGION, TRUSTED_ROOT};
use crate::{
    ec2::Control,
    processes::{self, Program},
};
use nix::sys::signal::Signal;
use std::{collections::BTreeMap, ffi::OsString, fs, path::Path, time::Duration};
use tokio::process::Child;

/// How long the EC2 simulator may take to say where it listens.
const START_LIMIT: Duration = Duration::from_secs(20);
const LOOK_PERIOD: Duration = Duration::from_millis(5);

/// Starts a program of the local cloud.
pub(super) fn start(program: &Program) -> Result<Child, CloudError> {
    program.start().map_err(CloudError::io("start", &program.path))
}

/// Asks a program to end and waits until it has.
pub(super) async fn terminate(
    program: &str,
    mut child: Child,
    limit: Duration,
) -> Result<(), CloudError> {
    let failed = |what| CloudError::Program { program: program.to_owned(), what };
    if let Some(pid) = child.id() {
        let _ = processes::signal(pid, Signal::SIGTERM);
    }
    match tokio::time::timeout(limit, child.wait()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(_) => Err(failed("ended with a failure")),
        Err(_) => {
            let _ = child.kill().await;
            Err(failed("did not end in time"))
        }
    }
}

/// Starts the EC2 simulator and waits until it listens.
pub(super) async fn start_ec2(
    options: &Options,
    state: &Path,
    endpoint_url: &str,
) -> Result<(Child, Control), CloudError> {
    let url_file = state.join("ec2-sim.url");
    let _ = fs::remove_file(&url_file);
    let program = ec2_program(options, state, endpoint_url, &url_file)?;
    let mut child = start(&program)?;
    let failed = |what| CloudError::Program { program: "ec2-sim".to_owned(), what };
    tokio::select! {
        url = appears(&url_file) => Ok((child, Control::new(&url))),
        _ = child.wait() => Err(failed("ended at its start")),
        () = tokio::time::sleep(START_LIMIT) => Err(failed("does not listen")),
    }
}

/// The simulator ends its instances when it is asked to end, so its parent's death does that.
fn ec2_program(
    options: &Options,
    state: &Path,
    endpoint_url: &str,
    url_file: &Path,
) -> Result<Program, CloudError> {
    let settings = state.join("agent-settings.toml");
    fs::write(&settings, options.agent_settings.to_string())
        .map_err(CloudError::io("write", &settings))?;
    let (authority, root) = (state.join(AUTHORITY), state.join(TRUSTED_ROOT));
    let subnets = options.subnets().iter();
    let subnets: BTreeMap<_, _> =
        subnets.map(|it| (&it.subnet_id, &it.availability_zone)).collect();
    let subnets =
        serde_json::to_string(&subnets).map_err(|source| CloudError::Subnets { source })?;
    let (pending, lag) = (options.pending.as_millis(), options.describe_lag.as_millis());
    let binaries = &options.binaries;
    let arguments: [(&str, OsString); 14] = [
        ("--state", state.into()),
        ("--url-file", url_file.into()),
        ("--endpoint-url", endpoint_url.into()),
        ("--authority", authority.into()),
        ("--trusted-root", root.into()),
        ("--agent", binaries.agent.clone().into()),
        ("--nitro-cli", binaries.nitro_cli.clone().into()),
        ("--allocator", binaries.allocator.clone().into()),
        ("--agent-settings", settings.into()),
        ("--region", REGION.into()),
        ("--account", ACCOUNT.into()),
        ("--subnets", subnets.into()),
        ("--pending-ms", pending.to_string().into()),
        ("--describe-lag-ms", lag.to_string().into()),
    ];
    let light = options.light_hosts.as_ref().map(serde_json::to_string).transpose();
    let light = light.map_err(|source| CloudError::Measurements { source })?;
    let light = light.map(|measurements| ("--light-hosts", OsString::from(measurements)));
    Ok(Program {
        path: binaries.ec2_sim.clone(),
        arguments: arguments
            .into_iter()
            .chain(light)
            .flat_map(|(name, value)| [name.into(), value])
            .collect(),
        environment: BTreeMap::from([(processes::ENVIRONMENT.to_owned(), state.into())]),
        log: state.join("logs/ec2-sim.log"),
        when_orphaned: Signal::SIGTERM,
    })
}

/// The text of a file that another program puts in place when it is ready.
async fn appears(path: &Path) -> String {
    loop {
        match fs::read_to_string(path) {
            Ok(text) => return text.trim().to_owned(),
            Err(_) => tokio::time::sleep(LOOK_PERIOD).await,
        }
    }
}
