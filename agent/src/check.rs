//! `bailey-agent check`: whether this parent has what enclaves need, and what to do about what it lacks.

use crate::{command, config::Config, identity::Metadata, parent_image, pool::facts::HostFacts};
use nix::{
    sys::statvfs::statvfs,
    unistd::{AccessFlags, access},
};
use std::{fmt, path::Path, time::Duration};
use tokio::time::timeout;

/// How long the metadata service may take; it answers within milliseconds where there is one.
const METADATA_DEADLINE: Duration = Duration::from_secs(5);
/// timedatectl asks a service, which may have to start.
const CLOCK_DEADLINE: Duration = Duration::from_secs(10);
/// What the parent needs beside its enclaves, in MiB: see [`crate::pool::plan`].
const LEAST_FREE_DISK_MIB: u64 = 1_024;

/// One prerequisite.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// What was looked at.
    pub what: &'static str,
    /// What was found, or what is wrong.
    pub found: Result<String, Lack>,
}

/// Something that is missing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lack {
    /// What is wrong.
    pub why: String,
    /// What to do.
    pub advice: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.found {
            Ok(found) => write!(f, "ok    {}: {found}", self.what),
            Err(Lack { why, advice }) => {
                write!(f, "FAIL  {}: {why}\n      {advice}", self.what)
            }
        }
    }
}

/// Looks at everything that an enclave needs of this parent.
pub async fn check(config: &Config) -> Vec<Finding> {
    let root = &config.facts_root;
    let mut findings = vec![
        finding(
            "enclave driver",
            device(&root.join("dev/nitro_enclaves")),
            "launch the instance with EnclaveOptions, and see that the agent's user is in group ne",
        ),
        finding("nitro-cli", nitro_cli(config).await, "install nitro-cli; see ami/"),
        finding(
            "enclaves can be listed",
            listed(config).await,
            "see that /run/nitro_enclaves exists and belongs to group ne",
        ),
        finding(
            "CPUs and memory",
            resources(root),
            "restart nitro-enclaves-allocator.service and read its log",
        ),
        finding(
            "state directory",
            directory(&config.state_dir),
            "make it writable for the agent's user, on a disk with room for images",
        ),
        finding(
            "metadata service",
            metadata(config).await,
            "IMDSv2 must be enabled, with a hop limit of at least 1",
        ),
        finding(
            "parent image",
            image(&config.image_manifest),
            "replace the instance by one of its image; a parent is not changed in place",
        ),
        finding("clock", clock(root).await, "enable chronyd or systemd-timesyncd"),
    ];
    if let Some(socket) = &config.helper {
        let found = writable(socket).map(|()| socket.display().to_string());
        let advice = "enable bailey-helper.socket, and see that the agent's user is in its group";
        findings.push(finding("helper", found, advice));
    }
    findings
}

fn finding(what: &'static str, found: Result<String, String>, advice: &'static str) -> Finding {
    Finding { what, found: found.map_err(|why| Lack { why, advice }) }
}

fn device(path: &Path) -> Result<String, String> {
    writable(path).map(|()| path.display().to_string())
}

fn writable(path: &Path) -> Result<(), String> {
    access(path, AccessFlags::R_OK | AccessFlags::W_OK)
        .map_err(|errno| format!("`{}`: {}", path.display(), errno.desc()))
}

async fn nitro_cli(config: &Config) -> Result<String, String> {
    let version = config.nitro_cli().version().await;
    version.map_err(|error| bailey_runtime::chain(&error))
}

async fn listed(config: &Config) -> Result<String, String> {
    let listed = config.nitro_cli().describe().await;
    listed
        .map(|enclaves| format!("{} run", enclaves.len()))
        .map_err(|error| bailey_runtime::chain(&error))
}

fn resources(root: &Path) -> Result<String, String> {
    let facts = HostFacts::read(root).map_err(|error| bailey_runtime::chain(&error))?;
    let (reserved_mib, free_mib) =
        facts.pool_node().map_or((0, 0), |(_, node)| (node.reserved.mib(), node.free.mib()));
    Ok(format!(
        "{} vCPUs online, {} in the pool; {reserved_mib} MiB reserved for enclaves, {free_mib} MiB of it free",
        facts.online.count(),
        facts.pool.count(),
    ))
}

fn directory(path: &Path) -> Result<String, String> {
    writable(path)?;
    let stat = statvfs(path).map_err(|errno| format!("`{}`: {}", path.display(), errno.desc()))?;
    let free_mib = stat.fragment_size().saturating_mul(stat.blocks_available()) >> 20;
    if free_mib < LEAST_FREE_DISK_MIB {
        return Err(format!("`{}` has {free_mib} MiB left", path.display()));
    }
    Ok(format!("`{}`, {free_mib} MiB free", path.display()))
}

async fn metadata(config: &Config) -> Result<String, String> {
    let metadata =
        Metadata::at(&config.imds_endpoint).map_err(|error| bailey_runtime::chain(&error))?;
    match timeout(METADATA_DEADLINE, metadata.identity()).await {
        Ok(identity) => Ok(identity.instance_arn),
        Err(_) => Err(format!("no answer from {}", config.imds_endpoint)),
    }
}

/// A parent need not be made from an image of ours; one that was is as that image says.
fn image(manifest: &Path) -> Result<String, String> {
    let unusable = |error| bailey_runtime::chain(&error);
    match (
        parent_image::identity(manifest).map_err(unusable)?,
        parent_image::differences(manifest).map_err(unusable)?,
    ) {
        (Some(identity), Some(differences)) if differences.is_empty() => Ok(identity),
        (Some(_), Some(differences)) => Err(differences.join(", ")),
        _ => Ok("not made by ami/provision".to_owned()),
    }
}

/// Attestation depends on the time. Either service leaves a mark when the clock is set.
async fn clock(root: &Path) -> Result<String, String> {
    if root.join("run/systemd/timesync/synchronized").exists() {
        return Ok("set by systemd-timesyncd".to_owned());
    }
    let command = ["chronyc", "-c", "tracking"].map(str::to_owned);
    let ran = command::run(&command, CLOCK_DEADLINE, None).await;
    match ran {
        Ok(output) if output.success && !output.stdout.contains("Not synchronised") => {
            Ok("set by chronyd".to_owned())
        }
        _ => Err("nothing says that the clock is set".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_missing_is_named_with_what_to_do_about_it() {
        let empty = tempfile::tempdir().unwrap();
        let config = Config {
            facts_root: empty.path().to_owned(),
            nitro_cli: empty.path().join("nitro-cli"),
            state_dir: empty.path().join("none"),
            imds_endpoint: "not a url".to_owned(),
            helper: Some(empty.path().join("helper.sock")),
            ..Config::default()
        };
        let findings = check(&config).await;
        let lacking: Vec<_> =
            findings.iter().filter(|it| it.found.is_err()).map(|it| it.what).collect();
        for what in [
            "enclave driver",
            "nitro-cli",
            "CPUs and memory",
            "state directory",
            "metadata service",
        ] {
            assert!(lacking.contains(&what), "{what}: {findings:?}");
        }
        let driver = findings.iter().find(|it| it.what == "enclave driver").unwrap().to_string();
        assert!(driver.starts_with("FAIL  enclave driver: `"), "{driver}");
        assert!(driver.contains("EnclaveOptions"), "{driver}");
    }

    #[tokio::test]
    async fn what_is_there_is_shown() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { state_dir: dir.path().to_owned(), ..Config::default() };
        let found = directory(&config.state_dir).unwrap();
        assert!(found.ends_with("MiB free"), "{found}");
    }
}
