//! What a local cloud is made of.

use super::{CloudError, Installation, Subnet};
use crate::emulator::VENV;
use bailey_model::{Pcr, PcrSet};
use serde::Deserialize;
use std::{
    env,
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::TempDir;

/// The environment variable that names the file of an [`Installation`], for tests on what Terraform defines.
const INSTALLATION: &str = "BAILEY_INSTALLATION";

/// How a local cloud is to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory below which everything is; a temporary one when absent.
    pub state: Option<PathBuf>,
    /// The Python environment of the emulator.
    pub venv: PathBuf,
    /// The programs.
    pub binaries: Binaries,
    /// Names of tables, buckets and the launch template.
    pub names: Names,
    /// How long an instance is `pending`.
    pub pending: Duration,
    /// By how much `DescribeInstances` lags behind.
    pub describe_lag: Duration,
    /// Whether coordinators and agents call AWS over a wire that can go wrong.
    pub with_wire: bool,
    /// More keys of the coordinator's configuration.
    pub coordinator_settings: toml::Table,
    /// More keys of the agents' configuration.
    pub agent_settings: toml::Table,
    /// Tables, launch template and their names, where they are not the usual ones under [`Self::names`].
    pub installation: Option<Installation>,
    /// Hosts are [light](crate::host::light), and every image measures to this.
    pub light_hosts: Option<PcrSet>,
}

impl Options {
    /// Everything where it lies in a checkout that was built, with quick polling; on the installation that the
    /// file in `BAILEY_INSTALLATION` describes, when there is one.
    pub fn find() -> Result<Self, CloudError> {
        let usual = Self {
            state: None,
            venv: find_venv()?,
            binaries: Binaries::find()?,
            names: Names::with_prefix(""),
            pending: Duration::from_millis(300),
            describe_lag: Duration::ZERO,
            with_wire: false,
            coordinator_settings: settings([("ec2_interval_s", 2)]),
            agent_settings: on_loopback(settings([
                ("poll_converging_ms", 200),
                ("poll_idle_ms", 500),
            ])),
            installation: None,
            light_hosts: None,
        };
        match env::var_os(INSTALLATION) {
            None => Ok(usual),
            Some(path) => Installation::read(path.as_ref())
                .map(|installation| usual.installed(installation))
                .map_err(|source| CloudError::Installation { source }),
        }
    }

    /// These options for what is described elsewhere.
    #[must_use]
    pub fn installed(self, on: Installation) -> Self {
        Self { names: on.names.clone(), installation: Some(on), ..self }
    }

    /// These options with enclaves that are virtual machines: each boots the whole image, in the QEMU of that
    /// directory. A script for that is put into `dir`.
    pub fn booted(mut self, dir: &Path, qemu: &Path) -> Result<Self, CloudError> {
        let script = dir.join("nitro-cli-booted");
        let standin = &self.binaries.nitro_cli;
        let machine = standin.with_file_name("enclave-vm");
        let text = format!(
            "#!/bin/sh\nexport BAILEY_SIM_VM='{}' BAILEY_QEMU='{}'\nexec '{}' \"$@\"\n",
            machine.display(),
            qemu.display(),
            standin.display(),
        );
        let written = fs::create_dir_all(dir)
            .and_then(|()| fs::write(&script, text))
            .and_then(|()| fs::set_permissions(&script, Permissions::from_mode(0o755)));
        written.map_err(CloudError::io("write", &script))?;
        self.binaries.nitro_cli = script;
        Ok(self)
    }

    /// The subnets of the installation; none when its launch template names one, or the default one does.
    #[must_use]
    pub fn subnets(&self) -> &[Subnet] {
        self.installation.as_ref().map_or(&[], |installation| &installation.subnets)
    }

    /// The directory, made; with the handle that removes it when it is a temporary one.
    pub(super) fn make_state_dir(&self) -> Result<(PathBuf, Option<TempDir>), CloudError> {
        let (path, temporary) = if let Some(path) = &self.state {
            (path.clone(), None)
        } else {
            let temporary = tempfile::Builder::new().prefix("bailey-").tempdir();
            let dir = temporary.map_err(CloudError::io("make below", &env::temp_dir()))?;
            (dir.path().to_owned(), Some(dir))
        };
        for name in ["emulator/s3", "emulator/state", "hosts", "logs"] {
            let dir = path.join(name);
            fs::create_dir_all(&dir).map_err(CloudError::io("make", &dir))?;
        }
        // Processes are found by this path, so there must be one way only to write it.
        let path = fs::canonicalize(&path).map_err(CloudError::io("resolve", &path))?;
        if path.as_os_str().len() > LONGEST_PATH {
            return Err(CloudError::PathTooLong { path, limit: LONGEST_PATH });
        }
        Ok((path, temporary))
    }
}

/// A Unix socket's path has at most 107 bytes; the longest that is used below the directory is
/// `/hosts/i-0123456789abcdef0/vsock/4294967294.sock`.
const LONGEST_PATH: usize = 107 - 49;

/// Names of what is in the local cloud.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Names {
    /// The web app's table.
    pub enclaves_table: String,
    /// The coordinator's table.
    pub ledger_table: String,
    /// The table between the coordinator and the agents.
    pub hosts_table: String,
    /// The bucket for images, with versions.
    pub eif_bucket: String,
    /// The bucket for attestation reports.
    pub reports_bucket: String,
    /// The launch template of parents.
    pub launch_template: String,
}

impl Names {
    /// The usual names behind a prefix. The image bucket has the same name always, because
    /// records name it.
    #[must_use]
    pub fn with_prefix(prefix: &str) -> Self {
        let named = |name: &str| format!("{prefix}{name}");
        Self {
            enclaves_table: named("bailey-enclaves"),
            ledger_table: named("bailey-ledger"),
            hosts_table: named("bailey-hosts"),
            eif_bucket: "your-bucket".to_owned(),
            reports_bucket: named("bailey-reports"),
            launch_template: named("bailey-parent"),
        }
    }
}

/// What every image measures to on light hosts, when nobody chose something else: PCR0 is `01` over
/// and over, PCR1 `02`, PCR2 `03`.
#[must_use]
pub fn light_measurements() -> PcrSet {
    (0..=2).map(|index| (index, Pcr([index + 1; 48]))).collect()
}

/// Where the programs are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Binaries {
    /// `bailey-agent`.
    pub agent: PathBuf,
    /// `nitro-enclaves-allocator-standin`.
    pub allocator: PathBuf,
    /// `bailey`.
    pub cli: PathBuf,
    /// `bailey-coordinator`.
    pub coordinator: PathBuf,
    /// `ec2-sim`.
    pub ec2_sim: PathBuf,
    /// `nitro-cli-standin`.
    pub nitro_cli: PathBuf,
}

impl Binaries {
    /// All of them in one directory.
    #[must_use]
    pub fn in_dir(dir: &Path) -> Self {
        Self {
            agent: dir.join("bailey-agent"),
            allocator: dir.join("nitro-enclaves-allocator-standin"),
            cli: dir.join("bailey"),
            coordinator: dir.join("bailey-coordinator"),
            ec2_sim: dir.join("ec2-sim"),
            nitro_cli: dir.join("nitro-cli-standin"),
        }
    }

    /// In the directory of the program that runs, or, for a test, in the one above: cargo puts
    /// tests into `deps`.
    pub fn find() -> Result<Self, CloudError> {
        let program =
            env::current_exe().map_err(CloudError::io("find", Path::new("/proc/self")))?;
        let dir = program.parent().unwrap_or_else(|| Path::new("."));
        let dir = match dir.file_name() {
            Some(name) if name == "deps" => dir.parent().unwrap_or(dir),
            _ => dir,
        };
        Ok(Self::in_dir(dir))
    }
}

/// `BAILEY_VENV`, or `.venv` in this directory or one above it.
fn find_venv() -> Result<PathBuf, CloudError> {
    if let Some(venv) = env::var_os(VENV) {
        return Ok(venv.into());
    }
    let here = env::current_dir().map_err(CloudError::io("find", Path::new(".")))?;
    let mut venvs = here.ancestors().map(|dir| dir.join(".venv"));
    venvs.find(|venv| venv.is_dir()).ok_or_else(|| CloudError::Io {
        action: "find (run scripts/setup, or set BAILEY_VENV)",
        path: here.join(".venv"),
        source: io::ErrorKind::NotFound.into(),
    })
}

/// Nobody else on this machine's network is to reach what runs in a local cloud.
fn on_loopback(mut agent: toml::Table) -> toml::Table {
    agent.insert("ingress_address".to_owned(), "127.0.0.1".into());
    agent
}

/// Numbers as keys of a configuration.
fn settings<const N: usize>(numbers: [(&str, i64); N]) -> toml::Table {
    numbers.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect()
}
