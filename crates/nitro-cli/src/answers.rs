//! The JSON that nitro-cli prints.
//!
//! It is that of nitro-cli's `json_output.rs`; fields that are not needed are not looked at, so that newer
//! versions may add some.

use bailey_model::hosts::RunningEnclave;
use bailey_vsock::{Cid, CidError};
use serde::Deserialize;

/// The answer of `describe-enclaves`.
pub fn enclaves(stdout: &str) -> Result<Vec<EnclaveInfo>, OutputError> {
    let described: Vec<Described> = json(stdout)?;
    described
        .into_iter()
        // A process that has not made its enclave yet has no CID, and nothing to tell.
        .filter(|enclave| enclave.state != "EMPTY")
        .map(|enclave| {
            Ok(EnclaveInfo {
                cid: cid(enclave.cid)?,
                name: enclave.name,
                nitro_id: enclave.id,
                cpu_count: enclave.cpu_count,
                memory_mib: enclave.memory_mib,
                running: enclave.state == "RUNNING",
            })
        })
        .collect()
}

/// The answer of `run-enclave`.
pub fn started(stdout: &str) -> Result<RunningEnclave, OutputError> {
    let started: Started = json(stdout)?;
    Ok(RunningEnclave { nitro_id: started.id, cid: cid(started.cid)? })
}

/// The version in the answer of `--version`, as in `Nitro CLI 1.4.2`; `None` when there is none.
#[must_use]
pub fn version(stdout: &str) -> Option<(u32, u32, u32)> {
    let version =
        stdout.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let mut numbers = version.split(['.', '-', '+']).map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some((next()?, next()?, next().unwrap_or(0)))
}

/// One enclave, as `describe-enclaves` shows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EnclaveInfo {
    /// The name that it was given; not unique.
    pub name: String,
    /// nitro-cli's `EnclaveID`.
    pub nitro_id: String,
    /// The vsock context id.
    pub cid: u32,
    /// vCPUs that it took from the pool.
    pub cpu_count: u32,
    /// Memory that it took from the pool, in MiB; may exceed what was asked.
    pub memory_mib: u32,
    /// Whether it runs, rather than being about to be gone.
    pub running: bool,
}

impl EnclaveInfo {
    /// What reports say of it.
    #[must_use]
    pub fn as_running(&self) -> RunningEnclave {
        RunningEnclave { nitro_id: self.nitro_id.clone(), cid: self.cid }
    }
}

#[derive(Deserialize)]
struct Described {
    #[serde(rename = "EnclaveName", default)]
    name: String,
    #[serde(rename = "EnclaveID")]
    id: String,
    #[serde(rename = "EnclaveCID")]
    cid: u64,
    #[serde(rename = "NumberOfCPUs")]
    cpu_count: u32,
    #[serde(rename = "MemoryMiB")]
    memory_mib: u32,
    #[serde(rename = "State")]
    state: String,
}

#[derive(Deserialize)]
struct Started {
    #[serde(rename = "EnclaveID")]
    id: String,
    #[serde(rename = "EnclaveCID")]
    cid: u64,
}

fn json<'a, T: Deserialize<'a>>(stdout: &'a str) -> Result<T, OutputError> {
    serde_json::from_str(stdout).map_err(|source| OutputError::Json { source })
}

fn cid(cid: u64) -> Result<u32, OutputError> {
    let number = u32::try_from(cid).unwrap_or(u32::MAX);
    Cid::try_from(number).map(Cid::as_u32).map_err(|source| OutputError::Cid { source })
}

/// Why nitro-cli's output is not understood.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// It names a context id that no enclave can have.
    #[error("nitro-cli names an impossible context id")]
    Cid {
        /// The reason.
        source: CidError,
    },
    /// It is not the JSON of a known version.
    #[error("nitro-cli's output is not the expected JSON")]
    Json {
        /// The parser's reason.
        source: serde_json::Error,
    },
    /// It names no version.
    #[error("nitro-cli names no version")]
    Version,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DESCRIBED: &str = r#"[
      {
        "EnclaveName": "bailey-0123456789abcdef01234567",
        "EnclaveID": "i-0abc-enc18f0",
        "ProcessID": 4711,
        "EnclaveCID": 16,
        "NumberOfCPUs": 2,
        "CPUIDs": [1, 3],
        "MemoryMiB": 1024,
        "State": "RUNNING",
        "Flags": "DEBUG_MODE",
        "Measurements": { "HashAlgorithm": "Sha384 { ... }", "PCR0": "00" }
      }
    ]"#;

    #[test]
    fn described_enclaves_are_read() {
        let expected = EnclaveInfo {
            name: "bailey-0123456789abcdef01234567".to_owned(),
            nitro_id: "i-0abc-enc18f0".to_owned(),
            cid: 16,
            cpu_count: 2,
            memory_mib: 1_024,
            running: true,
        };
        assert_eq!(enclaves(DESCRIBED).unwrap(), [expected]);
        assert_eq!(enclaves("[]\n").unwrap(), []);
    }

    #[test]
    fn a_context_id_that_no_enclave_can_have_is_refused() {
        for cid in ["0", "3", "4294967295", "99999999999"] {
            let text = DESCRIBED.replace("\"EnclaveCID\": 16", &format!("\"EnclaveCID\": {cid}"));
            assert!(matches!(enclaves(&text), Err(OutputError::Cid { .. })), "{cid}");
        }
    }

    #[test]
    fn a_process_without_an_enclave_is_left_out() {
        let text = DESCRIBED.replace("RUNNING", "EMPTY").replace(": 16", ": 0");
        assert_eq!(enclaves(&text).unwrap(), []);
    }

    #[test]
    fn the_version_is_read() {
        assert_eq!(version("Nitro CLI 1.4.2\n"), Some((1, 4, 2)));
        assert_eq!(version("nitro-cli 2.0-rc1"), Some((2, 0, 0)));
        assert_eq!(version("nitro-cli"), None);
    }

    proptest! {
        #[test]
        fn no_output_makes_the_parsers_panic(text in "[\\[\\]{}:,.\"a-zA-Z0-9\n ]{0,60}") {
            let _ = (enclaves(&text), started(&text), version(&text));
        }
    }
}
