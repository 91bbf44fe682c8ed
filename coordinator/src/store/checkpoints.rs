//! How far streams were read, kept in the ledger's table.

use super::StoreError;
use crate::streams::Checkpoint;
use aws_sdk_dynamodb::{Client, types::AttributeValue};
use bailey_runtime::{
    chain,
    items::{Item, from_item, to_item},
};

/// The checkpoint of one stream. Keys: `pk` = `stream#<ARN>`, `sk` = `checkpoint`.
///
/// Whoever reads the stream writes it, whatever is there: each process reads all that a stream says, so
/// an older one only makes the next process read some records again.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    client: Client,
    table: String,
    stream_arn: String,
}

impl Checkpoints {
    /// That of the stream, in the ledger's table.
    #[must_use]
    pub fn of(client: Client, table: String, stream_arn: String) -> Self {
        Self { client, table, stream_arn }
    }

    /// The checkpoint; none when this stream was never followed. One that cannot be read counts as none.
    pub async fn read(&self) -> Result<Option<Checkpoint>, StoreError> {
        let output = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(self.key()))
            .consistent_read(true)
            .send()
            .await
            .map_err(StoreError::call("read", self.place()))?;
        let read = output.item.map(from_item).transpose();
        Ok(read.unwrap_or_else(|error| {
            log::warn!(place = self.place().as_str(), error = chain(&error); "checkpoint is damaged and counts as none");
            None
        }))
    }

    /// Writes the checkpoint.
    pub async fn write(&self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        let mut item = to_item(checkpoint).map_err(StoreError::item(self.place()))?;
        item.extend(self.key());
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        put.send().await.map_err(StoreError::call("write", self.place()))?;
        Ok(())
    }

    fn key(&self) -> Item {
        Item::from([
            ("pk".to_owned(), AttributeValue::S(format!("stream#{}", self.stream_arn))),
            ("sk".to_owned(), AttributeValue::S("checkpoint".to_owned())),
        ])
    }

    fn place(&self) -> String {
        format!("{}/stream#{}", self.table, self.stream_arn)
    }
}
