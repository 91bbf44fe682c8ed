//! The hosts table, from the coordinator's side.

use super::{StoreError, Written, condition};
use aws_sdk_dynamodb::{
    Client,
    types::{AttributeValue, DeleteRequest, WriteRequest},
};
use bailey_model::hosts::{Beat, Desired, Observed, beat_key, desired_key, observed_key};
use bailey_runtime::{
    chain,
    items::{from_item, to_item},
};

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
        let observed = self.item(&observed_key(instance_arn)).await?.map(Observed::bounded);
        let beat = self.item(&beat_key(instance_arn)).await?;
        Ok(HostView { observed, beat })
    }

    async fn item<T: serde::de::DeserializeOwned>(
        &self,
        key: &str,
    ) -> Result<Option<T>, StoreError> {
        let output = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("pk", AttributeValue::S(key.to_owned()))
            .consistent_read(true)
            .send()
            .await
            .map_err(StoreError::call("read", format!("{}/{key}", self.table)))?;
        Ok(output.item.and_then(|item| match from_item(item) {
            Ok(value) => Some(value),
            Err(error) => {
                log::warn!(key = key, error = chain(&error); "a host's item cannot be read");
                None
            }
        }))
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
        item.insert("pk".to_owned(), AttributeValue::S(key));
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
                .key("pk", AttributeValue::S(key))
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
