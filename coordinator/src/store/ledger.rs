//! The ledger: the truth about every enclave id, written by coordinators only.

use super::{StoreError, Written, WrittenTogether, condition, transaction};
use crate::notices;
use aws_sdk_dynamodb::{
    Client,
    types::{AttributeValue, Get, Put, TransactWriteItem},
};
use bailey_lifecycle::{
    ledger::Entry,
    spare::{Slot, SlotId},
};
use bailey_model::EnclaveId;
use bailey_runtime::items::{Item, from_item, to_item};
use std::collections::HashMap;

/// Sort key of an enclave's entry.
const ENTRY: &str = "entry";
/// Partition key of all slots for spare and shared hosts.
const SLOTS: &str = "spares";
/// The sparse index of entries that are not ended; its name and its keys.
const ACTIVE_INDEX: &str = "active-index";
/// The one value of the index's partition key.
const ACTIVE: &str = "active";

/// The ledger's table. Keys: `pk` = `enclave#<id>`, `sk` = `entry`; notes for the sweep are under
/// `again#<id>`, `note`, slots for spare and shared hosts under `spares`, their name.
#[derive(Clone, Debug)]
pub struct Ledger {
    client: Client,
    table: String,
    /// Whether entries stay in the index until people were told what happened.
    awaits_notices: bool,
}

impl Ledger {
    /// The ledger in `table`. When people are told what happens, an entry counts as active until
    /// they were.
    #[must_use]
    pub fn new(client: Client, table: String, awaits_notices: bool) -> Self {
        Self { client, table, awaits_notices }
    }

    /// Reads an entry, with every write before this call.
    pub async fn read(&self, id: &EnclaveId) -> Result<Option<Entry>, StoreError> {
        let output = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key(id)))
            .consistent_read(true)
            .send()
            .await
            .map_err(StoreError::call("read", self.place(id)))?;
        output.item.map(|item| self.parse(id, item)).transpose()
    }

    /// Writes an entry whose version is the one that was read, and gives it as it is now.
    pub async fn save(&self, entry: &Entry) -> Result<Written<Entry>, StoreError> {
        let place = self.place(&entry.id);
        let Write { next, item, condition: wanted } = self.write(entry)?;
        self.put(item, wanted, next, &place).await
    }

    /// Writes an entry as [`Self::save`] does, and other items with it, or nothing at all.
    pub async fn save_with(
        &self,
        entry: &Entry,
        others: Vec<TransactWriteItem>,
    ) -> Result<WrittenTogether<Entry>, StoreError> {
        let place = self.place(&entry.id);
        let Write { next, item, condition } = self.write(entry)?;
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression(condition.expression)
            .set_expression_attribute_names(condition.names)
            .set_expression_attribute_values(condition.values)
            .build()
            .map_err(StoreError::call("write", &place))?;
        let mut items = vec![TransactWriteItem::builder().put(put).build()];
        items.extend(others);
        Ok(match transaction::write(&self.client, items, &place).await? {
            WrittenTogether::Done(()) => WrittenTogether::Done(next),
            WrittenTogether::Outdated => WrittenTogether::Outdated,
            WrittenTogether::OthersOutdated => WrittenTogether::OthersOutdated,
        })
    }

    fn write(&self, entry: &Entry) -> Result<Write, StoreError> {
        let next = Entry { version: entry.version.saturating_add(1), ..entry.clone() };
        let mut item = to_item(&next).map_err(StoreError::item(self.place(&entry.id)))?;
        item.extend(key(&entry.id));
        if next.is_active() || (self.awaits_notices && notices::is_pending(&next)) {
            item.insert("active".to_owned(), AttributeValue::S(ACTIVE.to_owned()));
        }
        let condition = unchanged_since(entry.version);
        Ok(Write { next, item, condition })
    }

    /// Writes an item if what is wanted of the present one holds, and gives what it is then.
    async fn put<T>(
        &self,
        item: Item,
        wanted: Condition,
        next: T,
        place: &str,
    ) -> Result<Written<T>, StoreError> {
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression(wanted.expression)
            .set_expression_attribute_names(wanted.names)
            .set_expression_attribute_values(wanted.values);
        Ok(match condition(put.send().await, "write", place)? {
            Written::Done(_) => Written::Done(next),
            Written::Outdated => Written::Outdated,
        })
    }

    /// What reads an entry as part of a transaction.
    pub(super) fn get(&self, id: &EnclaveId) -> Result<Get, StoreError> {
        let get = Get::builder().table_name(&self.table).set_key(Some(key(id)));
        get.build().map_err(StoreError::call("read", self.place(id)))
    }

    pub(super) fn parse(&self, id: &EnclaveId, item: Item) -> Result<Entry, StoreError> {
        from_item(item).map_err(StoreError::item(self.place(id)))
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    fn place(&self, id: &EnclaveId) -> String {
        format!("{}/{id}", self.table)
    }

    /// A slot, with every write before this call.
    pub async fn slot(&self, id: &SlotId) -> Result<Option<Slot>, StoreError> {
        let place = || format!("{}/{SLOTS}/{id}", self.table);
        let get = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(slot_key(id)))
            .consistent_read(true);
        let output = get.send().await.map_err(StoreError::call("read", place()))?;
        output.item.map(|item| from_item(item).map_err(StoreError::item(place()))).transpose()
    }

    /// Every slot for a spare host, and for one that is shared.
    pub async fn slots(&self) -> Result<Vec<Slot>, StoreError> {
        let place = || format!("{}/{SLOTS}", self.table);
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("pk = :slots")
            .expression_attribute_values(":slots", AttributeValue::S(SLOTS.to_owned()))
            .into_paginator()
            .items()
            .send();
        let mut slots = Vec::new();
        while let Some(item) = pages.next().await {
            let item = item.map_err(StoreError::call("query", place()))?;
            slots.push(from_item(item).map_err(StoreError::item(place()))?);
        }
        Ok(slots)
    }

    /// Writes a slot whose version is the one that was read, and gives it as it is now.
    pub async fn save_slot(&self, slot: &Slot) -> Result<Written<Slot>, StoreError> {
        let place = format!("{}/{SLOTS}/{}", self.table, slot.id);
        let next = Slot { version: slot.version.saturating_add(1), ..slot.clone() };
        let wanted = unchanged_since(slot.version);
        self.put(slot_item(&next, &place)?, wanted, next, &place).await
    }

    /// Writes a slot as [`Self::save_slot`] does, and other items with it, or nothing at all.
    pub async fn save_slot_with(
        &self,
        slot: &Slot,
        others: Vec<TransactWriteItem>,
    ) -> Result<WrittenTogether<Slot>, StoreError> {
        let place = format!("{}/{SLOTS}/{}", self.table, slot.id);
        let (next, put) = self.slot_in_transaction(slot)?;
        let items = std::iter::once(put).chain(others).collect();
        Ok(match transaction::write(&self.client, items, &place).await? {
            WrittenTogether::Done(()) => WrittenTogether::Done(next),
            WrittenTogether::Outdated => WrittenTogether::Outdated,
            WrittenTogether::OthersOutdated => WrittenTogether::OthersOutdated,
        })
    }

    /// What writes a slot, as [`Self::save_slot`] does, as part of a transaction; and the slot as it
    /// will be.
    pub fn slot_in_transaction(
        &self,
        slot: &Slot,
    ) -> Result<(Slot, TransactWriteItem), StoreError> {
        let place = format!("{}/{SLOTS}/{}", self.table, slot.id);
        let next = Slot { version: slot.version.saturating_add(1), ..slot.clone() };
        let wanted = unchanged_since(slot.version);
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(slot_item(&next, &place)?))
            .condition_expression(wanted.expression)
            .set_expression_attribute_names(wanted.names)
            .set_expression_attribute_values(wanted.values)
            .build()
            .map_err(StoreError::call("write", place))?;
        Ok((next, TransactWriteItem::builder().put(put).build()))
    }

    /// Notes that `id` has to be looked at by the next sweep, whatever its entry says.
    pub async fn remember(&self, id: &str) -> Result<(), StoreError> {
        let mut item = note_key(id);
        item.insert("active".to_owned(), AttributeValue::S(ACTIVE.to_owned()));
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        put.send().await.map_err(StoreError::call("write", format!("{}/{id}", self.table)))?;
        Ok(())
    }

    /// Takes a note back.
    pub async fn forget(&self, id: &str) -> Result<(), StoreError> {
        let delete = self.client.delete_item().table_name(&self.table).set_key(Some(note_key(id)));
        delete.send().await.map_err(StoreError::call("delete", format!("{}/{id}", self.table)))?;
        Ok(())
    }

    /// The ids of all entries that are not ended, and of all that were noted.
    pub async fn active(&self) -> Result<Active, StoreError> {
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(ACTIVE_INDEX)
            .key_condition_expression("active = :active")
            .expression_attribute_values(":active", AttributeValue::S(ACTIVE.to_owned()))
            .into_paginator()
            .items()
            .send();
        let mut active = Active::default();
        while let Some(item) = pages.next().await {
            let item = item.map_err(StoreError::call("query", &self.table))?;
            let Some(key) = item.get("pk").and_then(|pk| pk.as_s().ok()) else { continue };
            match key.split_once('#') {
                Some(("enclave", id)) => active.enclaves.push(id.to_owned()),
                Some(("again", id)) => active.noted.push(id.to_owned()),
                _ => {}
            }
        }
        Ok(active)
    }
}

/// What a sweep has to look at.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Active {
    /// The ids of entries that are not ended.
    pub enclaves: Vec<String>,
    /// The ids that were noted because something failed.
    pub noted: Vec<String>,
}

/// A write of an entry.
struct Write {
    /// The entry as it will be.
    next: Entry,
    item: Item,
    condition: Condition,
}

/// That an item's version is the one that was read; 0 when there was none.
fn unchanged_since(version: u64) -> Condition {
    if version == 0 {
        return Condition { expression: "attribute_not_exists(pk)", names: None, values: None };
    }
    Condition {
        expression: "#version = :read",
        // `version` is no reserved word, but a placeholder costs nothing and stays right.
        names: Some(HashMap::from([("#version".to_owned(), "version".to_owned())])),
        values: Some(HashMap::from([(":read".to_owned(), AttributeValue::N(version.to_string()))])),
    }
}

fn slot_item(slot: &Slot, place: &str) -> Result<Item, StoreError> {
    let mut item = to_item(slot).map_err(StoreError::item(place))?;
    item.extend(slot_key(&slot.id));
    Ok(item)
}

fn slot_key(id: &SlotId) -> Item {
    Item::from([
        ("pk".to_owned(), AttributeValue::S(SLOTS.to_owned())),
        ("sk".to_owned(), AttributeValue::S(id.to_string())),
    ])
}

struct Condition {
    expression: &'static str,
    names: Option<HashMap<String, String>>,
    values: Option<Item>,
}

fn key(id: &EnclaveId) -> Item {
    Item::from([
        ("pk".to_owned(), AttributeValue::S(format!("enclave#{id}"))),
        ("sk".to_owned(), AttributeValue::S(ENTRY.to_owned())),
    ])
}

/// The key of a note.
fn note_key(id: &str) -> Item {
    Item::from([
        ("pk".to_owned(), AttributeValue::S(format!("again#{id}"))),
        ("sk".to_owned(), AttributeValue::S("note".to_owned())),
    ])
}
