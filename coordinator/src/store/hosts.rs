//! The hosts table, from the coordinator's side.

use super::{StoreError, Written, condition, transaction};
use aws_sdk_dynamodb::{
    Client,
    types::{AttributeValue, Delete, Get, Put, TransactWriteItem},
};
use bailey_model::hosts::{Beat, Desired, Observed, beat_key, desired_key, observed_key};
use bailey_runtime::{
    chain,
    items::{Item, from_item, to_item},
};

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

    /// Reads what a host reported.
    pub async fn read(&self, instance_arn: &str) -> Result<HostView, StoreError> {
        let place = format!("{}/*{instance_arn}", self.table);
        let items =
            transaction::read(&self.client, self.gets(instance_arn)?.into(), &place).await?;
        let mut items = items.into_iter();
        Ok(HostView::parse(items.next().flatten(), items.next().flatten()))
    }

    /// What reads a host's words as part of a transaction: its report, then its heartbeat.
    pub(super) fn gets(&self, instance_arn: &str) -> Result<[Get; 2], StoreError> {
        let get = |key: String| {
            let get = Get::builder().table_name(&self.table).key(KEY, AttributeValue::S(key));
            get.build().map_err(StoreError::call("read", format!("{}/*{instance_arn}", self.table)))
        };
        Ok([get(observed_key(instance_arn))?, get(beat_key(instance_arn))?])
    }

    /// Writes what a host should run, unless a version as new is there.
    pub async fn write_desired(
        &self,
        instance_arn: &str,
        desired: &Desired,
    ) -> Result<(), StoreError> {
        let place = format!("{}/{}", self.table, desired_key(instance_arn));
        let result = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(desired_item(instance_arn, desired, &place)?))
            .condition_expression(UNLESS_NEWER)
            .expression_attribute_names("#version", "version")
            .expression_attribute_values(":version", AttributeValue::N(desired.version.to_string()))
            .send()
            .await;
        // Another coordinator wrote it already: that is as good.
        match condition(result, "write", &place)? {
            Written::Done(_) | Written::Outdated => Ok(()),
        }
    }

    /// What writes, as part of a transaction, what [`Self::write_desired`] writes.
    pub fn desired_in_transaction(
        &self,
        instance_arn: &str,
        desired: &Desired,
    ) -> Result<TransactWriteItem, StoreError> {
        let place = format!("{}/{}", self.table, desired_key(instance_arn));
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(desired_item(instance_arn, desired, &place)?))
            .condition_expression(UNLESS_NEWER)
            .expression_attribute_names("#version", "version")
            .expression_attribute_values(":version", AttributeValue::N(desired.version.to_string()))
            .build()
            .map_err(StoreError::call("write", place))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// What removes, as part of a transaction, everything about a host that is gone.
    pub fn removal_in_transaction(
        &self,
        instance_arn: &str,
    ) -> Result<Vec<TransactWriteItem>, StoreError> {
        let keys = [desired_key(instance_arn), observed_key(instance_arn), beat_key(instance_arn)];
        let delete = |key: String| {
            let delete = Delete::builder().table_name(&self.table).key(KEY, AttributeValue::S(key));
            let delete = delete.build().map_err(StoreError::call("delete", &self.table))?;
            Ok(TransactWriteItem::builder().delete(delete).build())
        };
        keys.into_iter().map(delete).collect()
    }
}

/// A host is never told again what it was told before something newer.
const UNLESS_NEWER: &str = "attribute_not_exists(pk) OR #version < :version";

fn desired_item(instance_arn: &str, desired: &Desired, place: &str) -> Result<Item, StoreError> {
    let mut item = to_item(desired).map_err(StoreError::item(place))?;
    item.insert(KEY.to_owned(), AttributeValue::S(desired_key(instance_arn)));
    Ok(item)
}

impl HostView {
    /// A report that cannot be read counts as none: a parent must not be able to stop the coordinator
    /// by writing nonsense.
    pub(super) fn parse(observed: Option<Item>, beat: Option<Item>) -> Self {
        Self {
            observed: observed.and_then(read_item).map(Observed::bounded),
            beat: beat.and_then(read_item),
        }
    }
}

fn read_item<T: serde::de::DeserializeOwned>(item: Item) -> Option<T> {
    match from_item(item) {
        Ok(value) => Some(value),
        Err(error) => {
            log::warn!(error = chain(&error); "a host's item cannot be read");
            None
        }
    }
}
