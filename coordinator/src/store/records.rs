//! The web app's table. Bailey reads whole records and writes its own attributes only.

use super::{StoreError, Written, condition};
use aws_sdk_dynamodb::{
    Client,
    types::{AttributeValue, Get, ReturnValue, TransactWriteItem},
};
use bailey_lifecycle::{Projected, RecordState};
use bailey_model::{
    EnclaveId, Status, UnixMillis,
    failure::Failure,
    projection::{ErrorView, Projection},
    record::{RecordError, Request},
};
use bailey_runtime::items::{Item, to_attribute, to_item, to_json};
use std::collections::HashMap;

/// The index by status that the incumbent's table has.
const STATUS_INDEX: &str = "status-index";

/// The statuses with which a record waits for the coordinator.
const UNSETTLED: [Status; 6] = [
    Status::PendingDeploy,
    Status::PendingDestroy,
    Status::Pausing,
    Status::Resuming,
    Status::Deploying,
    Status::Destroying,
];

/// The web app's table. Key: `id`.
#[derive(Clone, Debug)]
pub struct Records {
    client: Client,
    table: String,
    has_status_index: bool,
}

/// A record as it was read.
#[derive(Debug)]
pub enum ReadRecord {
    /// There is none under that id.
    Absent,
    /// A record that can be served.
    Usable(Box<RecordState>),
    /// A record whose id cannot be used.
    Unusable {
        /// Why.
        error: RecordError,
        /// Its status; empty when it has none.
        status: String,
    },
}

impl ReadRecord {
    pub(super) fn parse(item: Item) -> Self {
        let attributes = to_json(item);
        match Request::parse(&attributes) {
            Ok(request) => Self::Usable(Box::new(RecordState { request, attributes })),
            Err(error) => {
                let status = attributes.get("status").and_then(|status| status.as_str());
                Self::Unusable { error, status: status.unwrap_or_default().to_owned() }
            }
        }
    }
}

impl Records {
    /// The records in `table`; looks once whether the table has the index by status.
    pub async fn open(client: Client, table: String) -> Result<Self, StoreError> {
        let output = client
            .describe_table()
            .table_name(&table)
            .send()
            .await
            .map_err(StoreError::call("describe table", &table))?;
        let indexes = output.table.and_then(|table| table.global_secondary_indexes);
        let has_status_index = indexes
            .unwrap_or_default()
            .iter()
            .any(|index| index.index_name.as_deref() == Some(STATUS_INDEX));
        Ok(Self { client, table, has_status_index })
    }

    /// Reads a record, with every write before this call.
    pub async fn read(&self, id: &str) -> Result<ReadRecord, StoreError> {
        let place = format!("{}/{id}", self.table);
        let output = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("id", text(id))
            .consistent_read(true)
            .send()
            .await
            .map_err(StoreError::call("read", &place))?;
        Ok(output.item.map_or(ReadRecord::Absent, ReadRecord::parse))
    }

    /// What reads a record as part of a transaction.
    pub(super) fn get(&self, id: &str) -> Result<Get, StoreError> {
        let get = Get::builder().table_name(&self.table).key("id", text(id));
        get.build().map_err(StoreError::call("read", format!("{}/{id}", self.table)))
    }

    /// Writes the projection on condition that the status is the one that was read, and gives the
    /// record as it is now.
    pub async fn project(
        &self,
        id: &EnclaveId,
        projected: &Projected,
        now: UnixMillis,
    ) -> Result<Written<ReadRecord>, StoreError> {
        let place = format!("{}/{id}", self.table);
        let update = projection(projected, now, &place)?;
        Ok(match self.update(id.as_str(), update, &place).await? {
            Written::Outdated => Written::Outdated,
            Written::Done(item) => Written::Done(ReadRecord::parse(item)),
        })
    }

    /// What writes, as part of a transaction, what [`Self::project`] writes.
    pub fn projection_in_transaction(
        &self,
        id: &EnclaveId,
        projected: &Projected,
        now: UnixMillis,
    ) -> Result<TransactWriteItem, StoreError> {
        let place = format!("{}/{id}", self.table);
        let Expressions { condition, update, names, values } =
            projection(projected, now, &place)?.expressions();
        let update = aws_sdk_dynamodb::types::Update::builder()
            .table_name(&self.table)
            .key("id", text(id.as_str()))
            .condition_expression(condition)
            .update_expression(update)
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(values))
            .build()
            .map_err(StoreError::call("write", place))?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    /// Marks a record that cannot be served, on condition that its status is still the one read.
    pub async fn refuse(
        &self,
        id: &str,
        read_status: &str,
        status: Status,
        failure: &Failure,
        now: UnixMillis,
    ) -> Result<Written<()>, StoreError> {
        let place = format!("{}/{id}", self.table);
        let error = to_attribute(&ErrorView::from(failure)).map_err(StoreError::item(&place))?;
        let attributes = Item::from([
            ("status".to_owned(), text(status.as_str())),
            ("phase".to_owned(), text(status.as_str())),
            ("error".to_owned(), error),
            ("error_message".to_owned(), text(&failure.message)),
            ("error_type".to_owned(), text(failure.code.as_str())),
        ]);
        let read_status = Some(text(read_status));
        let update = Update { attributes, removed: Vec::new(), read_status, now };
        Ok(match self.update(id, update, &place).await? {
            Written::Done(_) => Written::Done(()),
            Written::Outdated => Written::Outdated,
        })
    }

    /// The ids of all records that wait for the coordinator.
    ///
    /// Reads the index by status where the table has one; the whole table otherwise.
    pub async fn unsettled(&self) -> Result<Vec<String>, StoreError> {
        let mut ids = Vec::new();
        if self.has_status_index {
            for status in UNSETTLED {
                self.query_status(status, &mut ids).await?;
            }
        } else {
            self.scan(&mut ids).await?;
        }
        Ok(ids)
    }

    async fn query_status(&self, status: Status, ids: &mut Vec<String>) -> Result<(), StoreError> {
        let mut items = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(STATUS_INDEX)
            .key_condition_expression("#status = :status")
            .projection_expression("id")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":status", text(status.as_str()))
            .into_paginator()
            .items()
            .send();
        while let Some(item) = items.next().await {
            let item = item.map_err(StoreError::call("query", &self.table))?;
            ids.extend(item.get("id").and_then(|id| id.as_s().ok()).cloned());
        }
        Ok(())
    }

    async fn scan(&self, ids: &mut Vec<String>) -> Result<(), StoreError> {
        let names: Vec<_> = (0..UNSETTLED.len()).map(|n| format!(":s{n}")).collect();
        let mut scan = self
            .client
            .scan()
            .table_name(&self.table)
            .filter_expression(format!("#status IN ({})", names.join(", ")))
            .projection_expression("id")
            .expression_attribute_names("#status", "status");
        for (name, status) in names.into_iter().zip(UNSETTLED) {
            scan = scan.expression_attribute_values(name, text(status.as_str()));
        }
        let mut items = scan.into_paginator().items().send();
        while let Some(item) = items.next().await {
            let item = item.map_err(StoreError::call("scan", &self.table))?;
            ids.extend(item.get("id").and_then(|id| id.as_s().ok()).cloned());
        }
        Ok(())
    }

    async fn update(
        &self,
        id: &str,
        update: Update,
        place: &str,
    ) -> Result<Written<Item>, StoreError> {
        let Expressions { condition: wanted, update, names, values } = update.expressions();
        let result = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("id", text(id))
            .return_values(ReturnValue::AllNew)
            .condition_expression(wanted)
            .update_expression(update)
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(values))
            .send()
            .await;
        Ok(match condition(result, "write", place)? {
            Written::Done(output) => Written::Done(output.attributes.unwrap_or_default()),
            Written::Outdated => Written::Outdated,
        })
    }
}

/// The update that a projection asks for.
fn projection(projected: &Projected, now: UnixMillis, place: &str) -> Result<Update, StoreError> {
    let mut attributes = to_item(&*projected.projection).map_err(StoreError::item(place))?;
    if let Some(status) = projected.status {
        attributes.insert("status".to_owned(), text(status.as_str()));
    }
    let removed =
        Projection::OPTIONAL.into_iter().filter(|name| !attributes.contains_key(*name)).collect();
    let read_status = projected.read_status.as_ref().map(to_attribute).transpose();
    let read_status = read_status.map_err(StoreError::item(place))?;
    Ok(Update { attributes, removed, read_status, now })
}

/// An update of some attributes, conditional on the status.
struct Update {
    attributes: Item,
    removed: Vec<&'static str>,
    read_status: Option<AttributeValue>,
    now: UnixMillis,
}

/// An update as DynamoDB wants it.
struct Expressions {
    condition: &'static str,
    update: String,
    names: HashMap<String, String>,
    values: Item,
}

impl Update {
    fn expressions(self) -> Expressions {
        let mut names = HashMap::from([("#read".to_owned(), "status".to_owned())]);
        let mut values = Item::new();
        let condition = match self.read_status {
            Some(read) => {
                values.insert(":read".to_owned(), read);
                "attribute_exists(id) AND #read = :read"
            }
            None => "attribute_exists(id) AND attribute_not_exists(#read)",
        };
        let now = text(&self.now.to_string());
        let times = ["updated_at", "updatedAt"].map(|name| (name.to_owned(), now.clone()));
        let mut sets = Vec::new();
        for (number, (name, value)) in self.attributes.into_iter().chain(times).enumerate() {
            sets.push(format!("#n{number} = :v{number}"));
            names.insert(format!("#n{number}"), name);
            values.insert(format!(":v{number}"), value);
        }
        let mut update = format!("SET {}", sets.join(", "));
        for (number, name) in self.removed.into_iter().enumerate() {
            let name_key = format!("#r{number}");
            update.push_str(if number == 0 { " REMOVE " } else { ", " });
            update.push_str(&name_key);
            names.insert(name_key, name.to_owned());
        }
        Expressions { condition, update, names, values }
    }
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}
