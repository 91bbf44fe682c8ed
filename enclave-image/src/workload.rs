//! What an image says of its workload: the file [`MANIFEST_PATH`] in the measured second ramdisk.
//!
//! The builder writes it, `keep` obeys it and `bailey image inspect` shows it. Nothing in it comes
//! from the parent, so whoever trusts the measurements knows what was started and how.

mod health;
mod network;
mod registers;
mod restart;

pub use health::{Health, Probe};
pub use network::Network;
pub use registers::{FIRST_FREE_PCR, LAST_PCR, Registers};
pub use restart::{Restart, RestartPolicy};

use bailey_model::network::MAX_INGRESS;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where the manifest is in the enclave.
pub const MANIFEST_PATH: &str = "/etc/bailey/workload.json";

/// The version of the manifest that this code writes and reads.
pub const MANIFEST_VERSION: u32 = 1;

/// The longest manifest read, in bytes: environments of containers are a few kB.
pub const MAX_MANIFEST_BYTES: u64 = 256 * 1024;

/// A workload: what to start, how, and what to do when it ends.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// [`MANIFEST_VERSION`].
    pub version: u32,
    /// The program and its arguments. The program is a path in the enclave; a name without a slash
    /// is looked up in the `PATH` of `env`.
    pub argv: Vec<String>,
    /// The whole environment of the workload.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Where it starts, a path in the enclave.
    #[serde(default = "root")]
    pub working_directory: String,
    /// As whom it runs: `user` or `user:group`, each a number or a name of the image's own
    /// `/etc/passwd` and `/etc/group`.
    #[serde(default = "root_user")]
    pub user: String,
    /// What happens when it ends.
    #[serde(default)]
    pub restart: Restart,
    /// What happens when it has ended for good.
    #[serde(default)]
    pub at_end: AtEnd,
    /// How it is found out whether it is healthy, if the image says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// What becomes of its output.
    #[serde(default)]
    pub log: Log,
    /// The enclave's host name; the kernel's own when it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The ways between it and its parent.
    #[serde(default, skip_serializing_if = "Network::is_default")]
    pub network: Network,
    /// The registers that `keep` extends and locks before the workload starts.
    #[serde(default)]
    pub registers: Registers,
}

/// What happens when the workload has ended for good.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AtEnd {
    /// The enclave ends, so that its parent sees it.
    #[default]
    End,
    /// The enclave goes on, and still attests.
    Stay,
}

/// What becomes of the workload's output.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Whether it also goes to the console, which a parent can read in debug mode. Lines that the
    /// console is too slow for are left out there.
    #[serde(default = "yes")]
    pub console: bool,
    /// How much of it is held for readers, in KiB: 16 to 16,384.
    #[serde(default = "ring_kib")]
    pub ring_kib: u32,
}

impl Default for Log {
    fn default() -> Self {
        Self { console: true, ring_kib: ring_kib() }
    }
}

fn root() -> String {
    "/".to_owned()
}

fn root_user() -> String {
    "0:0".to_owned()
}

fn yes() -> bool {
    true
}

fn ring_kib() -> u32 {
    256
}

impl Workload {
    /// A workload of this program and its arguments, with everything else by default.
    #[must_use]
    pub fn new(argv: Vec<String>) -> Self {
        Self {
            version: MANIFEST_VERSION,
            argv,
            env: BTreeMap::new(),
            working_directory: root(),
            user: root_user(),
            restart: Restart::default(),
            at_end: AtEnd::default(),
            health: None,
            log: Log::default(),
            hostname: None,
            network: Network::default(),
            registers: Registers::default(),
        }
    }

    /// Reads the manifest's text, and checks it.
    pub fn parse(text: &[u8]) -> Result<Self, WorkloadError> {
        let workload: Self = serde_json::from_slice(text).map_err(WorkloadError::Json)?;
        workload.check()?;
        Ok(workload)
    }

    /// The manifest's text; the same for the same workload.
    pub fn to_json(&self) -> Result<Vec<u8>, WorkloadError> {
        let mut json = serde_json::to_vec_pretty(self).map_err(WorkloadError::Json)?;
        json.push(b'\n');
        Ok(json)
    }

    /// What a manifest's shape alone does not ensure.
    pub fn check(&self) -> Result<(), WorkloadError> {
        let Self { version, argv, env, working_directory, hostname, .. } = self;
        if *version != MANIFEST_VERSION {
            return Err(WorkloadError::Version { found: *version });
        }
        if argv.first().is_none_or(String::is_empty) {
            return Err(WorkloadError::NoProgram);
        }
        let hostname_text = hostname.as_deref().unwrap_or("x");
        let names = env.keys().any(|name| name.is_empty() || name.contains('='));
        let texts = argv.iter().chain(env.keys()).chain(env.values()).chain([working_directory]);
        if names || texts.into_iter().any(|text| text.contains('\0')) {
            return Err(WorkloadError::Text);
        }
        if !working_directory.starts_with('/') {
            return Err(WorkloadError::WorkingDirectory { found: working_directory.clone() });
        }
        if hostname_text.is_empty() || hostname_text.len() > 64 {
            return Err(WorkloadError::Hostname { found: hostname_text.to_owned() });
        }
        if !(16..=16 * 1024).contains(&self.log.ring_kib) {
            return Err(WorkloadError::Ring { found: self.log.ring_kib });
        }
        self.health.as_ref().map_or(Ok(()), Health::check)?;
        self.restart.check()?;
        self.network.check()?;
        self.registers.check()
    }
}

/// Why a manifest cannot be obeyed.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// The host name is no host name.
    #[error("hostname `{found}` has not 1 to 64 bytes")]
    Hostname {
        /// The name.
        found: String,
    },
    /// The text is not the JSON of a manifest.
    #[error("it is not the JSON of a workload")]
    Json(#[source] serde_json::Error),
    /// There is no program to start.
    #[error("argv names no program")]
    NoProgram,
    /// A port is out of range, or `keep`'s own.
    #[error("network.ports holds {found}, it can hold 1 to 65535, and not 5005 or 5006")]
    Port {
        /// The port.
        found: u16,
    },
    /// There are too many ports.
    #[error("network.ports holds {found} ports, it can hold {MAX_INGRESS}")]
    Ports {
        /// How many.
        found: usize,
    },
    /// The probe's path is none of HTTP.
    #[error(
        "the probe's path `{found}` does not start with a slash, or holds space or control characters"
    )]
    ProbePath {
        /// The path.
        found: String,
    },
    /// The probe's port or deadline is out of range.
    #[error("a probe has a port above 0 and a deadline of 1 to {} ms", health::MAX_TIMEOUT_MS)]
    ProbeRange,
    /// A register cannot be extended or locked by an enclave.
    #[error(
        "register {index} is not one of {FIRST_FREE_PCR} to {LAST_PCR}, which are an enclave's own"
    )]
    Register {
        /// Its index.
        index: u8,
    },
    /// The pauses between restarts are out of range.
    #[error("restart pauses are 1 ms to 1 hour, and the first is not longer than the longest")]
    RestartPause,
    /// The output's memory is out of range.
    #[error("log.ring_kib is {found}, it can be 16 to 16384")]
    Ring {
        /// The number found.
        found: u32,
    },
    /// A text holds a zero byte, or a variable's name an equals sign or nothing.
    #[error("a text holds a zero byte, or a variable's name an equals sign or nothing")]
    Text,
    /// The manifest has another version.
    #[error("version {found} is not supported, {MANIFEST_VERSION} is")]
    Version {
        /// The version found.
        found: u32,
    },
    /// The working directory is not absolute.
    #[error("working_directory `{found}` is not absolute")]
    WorkingDirectory {
        /// The path.
        found: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn problem(text: &str) -> String {
        Workload::parse(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_program_alone_is_a_workload() {
        let workload = Workload::parse(br#"{"version":1,"argv":["/app"]}"#).unwrap();
        assert_eq!(workload, Workload::new(vec!["/app".into()]));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut workload = Workload::new(vec!["/app".into(), "x".into()]);
        workload.env.insert("A".into(), "1".into());
        workload.hostname = Some("demo".into());
        workload.at_end = AtEnd::Stay;
        workload.network.ports = vec![443];
        workload.registers.lock = vec![16, 17];
        workload.registers.extend.insert(16, "text".into());
        workload.health = Some(Health {
            probe: Probe::Http { port: 80, path: "/healthz".into() },
            timeout_ms: 500,
        });
        let json = workload.to_json().unwrap();
        assert_eq!(Workload::parse(&json).unwrap(), workload);
    }

    #[test]
    fn what_cannot_be_obeyed_is_refused_with_its_reason() {
        let with = |rest: &str| problem(&format!(r#"{{"version":1,"argv":["/a"],{rest}}}"#));
        assert_eq!(problem(r#"{"version":2,"argv":["/a"]}"#), "version 2 is not supported, 1 is");
        assert_eq!(problem(r#"{"version":1,"argv":[]}"#), "argv names no program");
        assert!(with(r#""env":{"A=":"1"}"#).contains("equals sign"));
        assert!(with(r#""env":{"A":"\u0000"}"#).contains("zero byte"));
        assert!(with(r#""working_directory":"app""#).contains("not absolute"));
        assert!(with(r#""log":{"ring_kib":1}"#).contains("16 to 16384"));
        assert!(with(r#""hostname":"""#).contains("1 to 64 bytes"));
        assert!(with(r#""registers":{"lock":[15]}"#).contains("register 15"));
        assert!(with(r#""registers":{"extend":{"32":""}}"#).contains("register 32"));
        assert!(with(r#""health":{"tcp":{"port":0}}"#).contains("port above 0"));
        assert!(with(r#""health":{"http":{"port":1,"path":"a b"}}"#).contains("slash"));
        assert!(with(r#""restart":{"pause_ms":5,"max_pause_ms":4}"#).contains("pauses"));
        assert!(with(r#""network":{"ports":[5005]}"#).contains("holds 5005"));
        assert!(with(r#""unknown":1"#).contains("not the JSON"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(text in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Workload::parse(&text);
        }
    }
}
