//! What was measured, as an older web app looks for it: lines `[PCR] PCR0: <hex>` in the enclave's log group.
//!
//! They are written after a document was accepted, to a stream that no parent may write; agents take such
//! words out of what workloads print.
//!
//! The groups are made here, before there is a parent that writes to them, so that parents need no right to
//! make any, nor to say for how long they are kept.

use bailey_lifecycle::ledger::Attested;
use bailey_model::{EnclaveId, UnixMillis};
use bailey_runtime::logs::{LogEvent, Logs, LogsError, group};
use std::time::Duration;
use tokio::time::timeout;

/// The stream; the others of a group are the agents'.
const STREAM: &str = "attestation";

/// How long a host waits for its enclave's group; who writes the first measurements makes it, too.
const PATIENCE: Duration = Duration::from_secs(3);

/// CloudWatch Logs, as far as the coordinator writes there.
#[derive(Debug)]
pub struct PcrLog {
    /// The service.
    pub logs: Logs,
    /// What groups are called before the enclave's id.
    pub prefix: String,
    /// For how many days groups keep what is written; for ever without a number.
    pub retention_days: Option<u32>,
}

impl PcrLog {
    /// Makes the enclave's group, for it is about to have a host. What cannot be made is logged; the host goes on
    /// without.
    pub async fn prepare(&self, id: &EnclaveId) {
        let error = match timeout(PATIENCE, self.make_group(id)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => bailey_runtime::chain(&error),
            Err(_) => format!("no answer in {} s", PATIENCE.as_secs()),
        };
        log::warn!(enclave_id = id.as_str(), error = error.as_str(); "log group not made");
    }

    /// Writes what a document proved. It is for readers only: what cannot be written is logged.
    pub async fn write(&self, id: &EnclaveId, attested: &Attested, now: UnixMillis) {
        if let Err(error) = self.append(id, &lines(attested, now)).await {
            let error = bailey_runtime::chain(&error);
            log::warn!(enclave_id = id.as_str(), error = error.as_str(); "PCR lines not written");
        }
    }

    async fn append(&self, id: &EnclaveId, lines: &[LogEvent]) -> Result<(), LogsError> {
        let group = group(&self.prefix, id.as_str());
        match self.logs.append(&group, STREAM, lines).await {
            // Whoever should have made it was killed before, or somebody took it away.
            Err(error) if error.is_not_found() => {
                self.make_group(id).await?;
                self.logs.append(&group, STREAM, lines).await
            }
            done => done,
        }
    }

    async fn make_group(&self, id: &EnclaveId) -> Result<(), LogsError> {
        self.logs.make_group(&group(&self.prefix, id.as_str()), self.retention_days).await
    }
}

fn lines(attested: &Attested, now: UnixMillis) -> Vec<LogEvent> {
    let line = |(index, value)| LogEvent {
        timestamp: now.0,
        message: format!("[PCR] PCR{index}: {value}"),
    };
    attested.pcrs.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bailey_model::{
        Pcr,
        report::{PcrSource, Verdict},
    };
    use std::collections::BTreeMap;

    #[test]
    fn each_register_has_a_line_of_the_form_that_is_looked_for() {
        let attested = Attested {
            verdict: Verdict::Verified,
            pcrs: BTreeMap::from([(0, Pcr([0xab; 48])), (8, Pcr([1; 48]))]),
            pcr_source: PcrSource::Record,
            verified_at: UnixMillis(5),
            module_id: "i-1-enc1".to_owned(),
            report: "s3://reports/1".to_owned(),
        };
        let messages: Vec<String> =
            lines(&attested, UnixMillis(9)).into_iter().map(|line| line.message).collect();
        let expected = [
            format!("[PCR] PCR0: {}", "ab".repeat(48)),
            format!("[PCR] PCR8: {}", "01".repeat(48)),
        ];
        assert_eq!(messages, expected);
    }
}
