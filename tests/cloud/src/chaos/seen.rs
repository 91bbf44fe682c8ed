//! Everything that can be seen of a cloud from outside.

use super::ChaosError;
use crate::{
    ec2::SimulationView,
    local::{LocalCloud, Record},
};
use bailey_lifecycle::ledger::Entry;
use serde_json::Value;
use std::collections::BTreeMap;

/// What can be seen, one after the other: what moves meanwhile may not fit together.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// The web app's table, by id.
    pub(super) records: BTreeMap<String, Record>,
    /// The ledger, by id.
    pub(super) entries: BTreeMap<String, Entry>,
    /// What EC2 knows.
    pub(super) simulation: SimulationView,
    /// How many enclaves run on each instance, among those with any.
    pub(super) enclaves: BTreeMap<String, usize>,
}

impl Seen {
    pub(super) async fn look(cloud: &LocalCloud) -> Result<Self, ChaosError> {
        let mut seen = Self::default();
        for record in cloud.records().await.map_err(ChaosError::Cloud)? {
            let id = record.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
            seen.records.insert(id, record);
        }
        let items = cloud.ledger().await.map_err(ChaosError::Cloud)?;
        // The table also holds how far streams were read.
        let is_entry = |item: &Record| item.get("sk").is_some_and(|sk| sk == "entry");
        for item in items.into_iter().filter(is_entry) {
            let entry: Entry = serde_json::from_value(item.into()).map_err(ChaosError::Entry)?;
            seen.entries.insert(entry.id.to_string(), entry);
        }
        seen.simulation = cloud.simulation().await.map_err(ChaosError::Cloud)?;
        for (instance_id, _) in cloud.enclaves() {
            *seen.enclaves.entry(instance_id).or_default() += 1;
        }
        Ok(seen)
    }
}
