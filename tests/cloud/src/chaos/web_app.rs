//! A web app, and what it remembers of its writes.

use crate::local::{CloudError, LocalCloud, Record};
use bailey_model::Status;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A web app with its records. It writes straight to the table, never over the wire.
#[derive(Clone, Debug, Default)]
pub struct WebApp {
    pub(super) written: BTreeMap<String, Written>,
}

/// What the web app wrote to one of its records.
#[derive(Clone, Debug, Default)]
pub(super) struct Written {
    /// Everything that is its own: all but the status. None when the record was removed.
    pub(super) attributes: Option<Record>,
    /// The status that it wrote last.
    pub(super) asked: Option<Status>,
    edits: u64,
}

impl WebApp {
    /// Writes a whole record that asks for an enclave, over whatever is there.
    pub async fn deploy(&mut self, cloud: &LocalCloud, id: &str) -> Result<(), CloudError> {
        let written = self.written.entry(id.to_owned()).or_default();
        written.edits += 1;
        // Every other one leaves an instance that is lost, or about to be.
        let restart = if id.ends_with(['0', '2', '4', '6', '8']) { "always" } else { "on-failure" };
        let mut record = json!({
            "id": id, "note": written.edits,
            // Of the web app's own, and in a form that means nothing to Bailey.
            "billing": { "plan": "gold", "seats": [1, "two", null, { "three": true }] },
            "configuration": { "instance_type": "m5.xlarge", "cpu_count": 2, "memory_mib": 1024, "restart": restart,
                               "eif_path": format!("s3://{}/test.eif", cloud.names().eif_bucket) },
        });
        written.attributes = record.as_object().cloned();
        written.asked = Some(Status::PendingDeploy);
        if let Some(record) = record.as_object_mut() {
            record.insert("status".to_owned(), Status::PendingDeploy.as_str().into());
        }
        cloud.put_record(&record).await
    }

    /// Writes an attribute of its own, when the record is there.
    pub async fn annotate(&mut self, cloud: &LocalCloud, id: &str) -> Result<(), CloudError> {
        let Some(written) = self.written.get_mut(id) else { return Ok(()) };
        let Some(attributes) = &mut written.attributes else { return Ok(()) };
        written.edits += 1;
        let note = Value::from(written.edits);
        attributes.insert("note".to_owned(), note.clone());
        cloud.set_attribute(id, "note", &note).await
    }

    /// Writes a status, when the record is there.
    pub async fn ask(
        &mut self,
        cloud: &LocalCloud,
        id: &str,
        status: Status,
    ) -> Result<(), CloudError> {
        let Some(written) = self.written.get_mut(id) else { return Ok(()) };
        if written.attributes.is_none() {
            return Ok(());
        }
        written.asked = Some(status);
        cloud.set_status(id, status.as_str()).await
    }

    /// Removes a record.
    pub async fn remove(&mut self, cloud: &LocalCloud, id: &str) -> Result<(), CloudError> {
        if let Some(written) = self.written.get_mut(id) {
            written.attributes = None;
            written.asked = None;
        }
        cloud.delete_record(id).await
    }

    /// The ids of all records that it ever wrote.
    #[must_use]
    pub fn ids(&self) -> Vec<String> {
        self.written.keys().cloned().collect()
    }
}
