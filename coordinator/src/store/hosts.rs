//! The hosts table, from the coordinator's side.

use super::{StoreError, Written, condition};
use aws_sdk_dynamodb::{
    Client,
    types::{AttributeValue, DeleteRequest, KeysAndAttributes, WriteRequest},
};
use bailey_model::hosts::{Beat, Desired, Observed, beat_key, desired_key, observed_key};
use bailey_runtime::{
    chain,
    items::{Item, from_item, to_item},
};
use std::collections::HashMap;

/// The table's key.
const KEY: &str = "pk";

/// The hosts table. Key: `pk`.
#[derive(Clone, Debug)]
pub struct Hosts {
    client: Client,
    table: String,
}

/// What a host says of itself. Claims, not facts.
#[derive(Clone, Debug, Default)]
pub struct HostView {
    /// Its report, when it has written one that can be read.
    pub observed: Option<Observed>,
    /// Its heartbeat, when asked for.
    pub beat: Option<Beat>,
}

impl Hosts {
    /// The hosts in `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Reads what a host reported. A report that cannot be read counts as none: a parent must not
    /// be able to stop the coordinator by writing nonsense.
    pub async fn read(&self, instance_arn: &str) -> Result<HostView, StoreError> {
        let place = || format!("{}/*{instance_arn}", self.table);
        let (observed, beat) = (observed_key(instance_arn), beat_key(instance_arn));
        let key =
            |name: &str| HashMap::from([(KEY.to_owned(), AttributeValue::S(name.to_owned()))]);
        let both = KeysAndAttributes::builder()
            .keys(key(&observed))
            .keys(key(&beat))
            .consistent_read(true)
            .build()
            .map_err(StoreError::call("read", place()))?;
        let output = self.client.batch_get_item().request_items(&self.table, both).send().await;
        let output = output.map_err(StoreError::call("read", place()))?;
        // Half of what a host says could show a report without the heartbeat after it.
        if output.unprocessed_keys.is_some_and(|left| !left.is_empty()) {
            return Err(StoreError::Throttled { place: place() });
        }
        let mut items: HashMap<String, Item> = output
            .responses
            .unwrap_or_default()
            .remove(&self.table)
            .unwrap_or_default()
            .into_iter()
            .filter_map(|item| Some((item.get(KEY)?.as_s().ok()?.clone(), item)))
            .collect();
        Ok(HostView {
            observed: read_item(&mut items, &observed).map(Observed::bounded),
            beat: read_item(&mut items, &beat),
        })
    }

    /// Writes what a host should run, unless a version as new is there.
    pub async fn write_desired(
        &self,
        instance_arn: &str,
        desired: &Desired,
    ) -> Result<(), StoreError> {
        let key = desired_key(instance_arn);
        let place = format!("{}/{key}", self.table);
        let mut item = to_item(desired).map_err(StoreError::item(&place))?;
        item.insert(KEY.to_owned(), AttributeValue::S(key));
        let result = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk) OR #version < :version")
            .expression_attribute_names("#version", "version")
            .expression_attribute_values(":version", AttributeValue::N(desired.version.to_string()))
            .send()
            .await;
        // Another coordinator wrote it already: that is as good.
        match condition(result, "write", &place)? {
            Written::Done(_) | Written::Outdated => Ok(()),
        }
    }

    /// Removes everything about a host that is gone.
    pub async fn forget(&self, instance_arn: &str) -> Result<(), StoreError> {
        let keys = [desired_key(instance_arn), observed_key(instance_arn), beat_key(instance_arn)];
        let mut deletes = Vec::new();
        for key in keys {
            let delete = DeleteRequest::builder()
                .key(KEY, AttributeValue::S(key))
                .build()
                .map_err(StoreError::call("delete", &self.table))?;
            deletes.push(WriteRequest::builder().delete_request(delete).build());
        }
        // What DynamoDB leaves unprocessed is small, harmless and never read again.
        self.client
            .batch_write_item()
            .request_items(&self.table, deletes)
            .send()
            .await
            .map_err(StoreError::call("delete", format!("{}/*{instance_arn}", self.table)))?;
        Ok(())
    }
}

fn read_item<T: serde::de::DeserializeOwned>(
    items: &mut HashMap<String, Item>,
    key: &str,
) -> Option<T> {
    match from_item(items.remove(key)?) {
        Ok(value) => Some(value),
        Err(error) => {
            log::warn!(key = key, error = chain(&error); "a host's item cannot be read");
            None
        }
    }
}
