//! What nitro-cli prints, as values. Pure.
//!
//! The JSON is that of nitro-cli's `json_output.rs`; fields that are not needed are not looked at,
//! so that newer versions may add some. Errors are blocks on standard error: `[ Exx ] text`, a
//! line with a link, and the path of a log file. One failed command can print several, of which
//! the first is the cause and the last gives the exit code.

use crate::ports::EnclaveInfo;
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

/// The error blocks in nitro-cli's standard error, in the order in which they were printed.
#[must_use]
pub fn error_blocks(stderr: &str) -> Vec<ErrorBlock> {
    stderr
        .lines()
        .filter_map(|line| {
            let (code, text) = line.trim().strip_prefix("[ E")?.split_once(" ]")?;
            let number = code.parse().ok().filter(|_| code.len() == 2)?;
            Some(ErrorBlock { code: number, text: text.trim().to_owned() })
        })
        .collect()
}

/// One error as nitro-cli prints it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ErrorBlock {
    /// The number after `E`, 0 to 99.
    pub code: u8,
    /// The text after it.
    pub text: String,
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
    fn every_error_block_is_read_and_the_cause_comes_first() {
        let stderr = "Start allocating memory...\n\
            [ E27 ] Insufficient memory available. User provided `memory` is 4096 MB\n\n\
            For more details, please visit https://docs.aws.amazon.com/…/cli-errors.html#E27\n\n\
            If you open a support ticket, please provide the error log found at \"/var/log/x.log\"\n\
            Failed connections: 1\n\
            [ E39 ] Enclave process connection failure. Such error appears when…\n";
        let blocks = error_blocks(stderr);
        assert_eq!(blocks.iter().map(|block| block.code).collect::<Vec<_>>(), [27, 39]);
        assert_eq!(
            blocks[0].text,
            "Insufficient memory available. User provided `memory` is 4096 MB"
        );
    }

    proptest! {
        #[test]
        fn no_output_makes_the_parsers_panic(text in "(\\[ E[0-9]{0,3} \\]|[\\[\\]{}:,\"a-z0-9\n ]){0,40}") {
            let _ = (enclaves(&text), started(&text), error_blocks(&text));
        }
    }
}
