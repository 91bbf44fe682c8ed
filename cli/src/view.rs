//! A record as its readers see it.

use crate::{exit::Advise, table::Record};
use bailey_model::{EnclaveId, EnclaveIdError, Status, projection::Projection};
use serde_json::Value;

/// A record as its readers see it: the request, and what came of it.
#[derive(Clone, Debug)]
pub(crate) struct RecordView {
    /// The record's id.
    pub(crate) id: EnclaveId,
    /// The status, as text: a reader survives one that it does not know.
    pub(crate) status: String,
    /// Bailey's attributes, once it has written them.
    pub(crate) projection: Option<Projection>,
    /// When Bailey wrote last, in RFC 3339.
    pub(crate) updated_at: Option<String>,
}

impl RecordView {
    /// The status, when it is one that this version knows.
    pub(crate) fn known_status(&self) -> Option<Status> {
        self.status.parse().ok()
    }
}

/// Takes out of a record what Bailey writes on it.
///
/// Part by part rather than as a whole: the registers' indexes are text in the record, and become
/// numbers only where nothing stands between them and the JSON.
pub(crate) fn view(record: &Record) -> Result<RecordView, ViewError> {
    let text = |name: &str| record.get(name).and_then(Value::as_str).map(str::to_owned);
    let id = text("id").ok_or(ViewError::NoId)?;
    let id: EnclaveId = id.parse().map_err(|source| ViewError::Id { id, source })?;
    let projection = serde_json::from_value::<Projection>(Value::Object(record.clone())).ok();
    let status = status(record).to_owned();
    Ok(RecordView { id, status, projection, updated_at: text("updated_at") })
}

/// The record's status as text; empty when it has none.
pub(crate) fn status(record: &Record) -> &str {
    record.get("status").and_then(Value::as_str).unwrap_or_default()
}

/// Why a record is nobody's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ViewError {
    /// Its id cannot be used.
    #[error("the record's id `{id}` cannot be used")]
    Id { id: String, source: EnclaveIdError },
    /// It has none.
    #[error("the record has no id")]
    NoId,
}

impl Advise for ViewError {}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_registers_of_a_deployed_enclave_are_read() {
        let record = json!({
            "id": "demo", "status": "DEPLOYED", "phase": "RUNNING", "generation": 1,
            "deployment": {}, "walletAddress": "0xabc",
            "attestation": {"verdict": "verified", "pcrs": {"0": "ab".repeat(48)},
                "pcr_source": "record", "verified_at": "2025-01-01T12:00:05Z",
                "report": "s3://reports/1.json"},
        });
        let view = view(record.as_object().unwrap()).unwrap();
        let proof = view.projection.unwrap().attestation.unwrap();
        assert_eq!(proof.pcrs[&0].to_string(), "ab".repeat(48));
    }

    #[test]
    fn a_record_that_bailey_has_not_touched_has_a_status_and_no_more() {
        let record = json!({"id": "demo", "status": "PENDING_DEPLOY"});
        let view = view(record.as_object().unwrap()).unwrap();
        assert_eq!((view.status.as_str(), view.projection), ("PENDING_DEPLOY", None));
    }
}
