//! A stream of DynamoDB.

use super::{Batch, From, Numbered, Stream, StreamError};
use crate::wake::{Attribute, Image};
use aws_sdk_dynamodbstreams::{
    Client,
    error::{DisplayErrorContext, ProvideErrorMetadata},
    types::{AttributeValue, Record, ShardIteratorType},
};
use bailey_model::UnixMillis;
use std::{collections::HashMap, fmt};

/// A stream of a table.
pub struct DynamoStream {
    /// The client.
    pub client: Client,
    /// The stream's ARN.
    pub arn: String,
}

impl fmt::Debug for DynamoStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.arn)
    }
}

impl DynamoStream {
    fn call<E>(&self, doing: &'static str) -> impl FnOnce(E) -> StreamError
    where
        E: std::error::Error + Send + Sync + ProvideErrorMetadata + 'static,
    {
        move |source| {
            if source.code() == Some("TrimmedDataAccessException") {
                return StreamError::Trimmed { shard: String::new() };
            }
            log::debug!(error = DisplayErrorContext(&source).to_string(); "stream call failed");
            StreamError::Call { doing, stream_arn: self.arn.clone(), source: Box::new(source) }
        }
    }
}

impl Stream for DynamoStream {
    type Record = Record;

    async fn shards(&self) -> Result<Vec<String>, StreamError> {
        let mut ids = Vec::new();
        let mut after = None;
        loop {
            let output = self
                .client
                .describe_stream()
                .stream_arn(&self.arn)
                .set_exclusive_start_shard_id(after.take())
                .send()
                .await
                .map_err(self.call("list the shards"))?;
            let Some(description) = output.stream_description else { return Ok(ids) };
            let shards = description.shards.unwrap_or_default();
            ids.extend(shards.into_iter().filter_map(|shard| shard.shard_id));
            match description.last_evaluated_shard_id {
                Some(last) => after = Some(last),
                None => return Ok(ids),
            }
        }
    }

    async fn iterator(&self, shard: &str, from: From<'_>) -> Result<String, StreamError> {
        let (kind, number) = match from {
            From::After(number) => (ShardIteratorType::AfterSequenceNumber, Some(number)),
            From::Oldest => (ShardIteratorType::TrimHorizon, None),
            From::Newest => (ShardIteratorType::Latest, None),
        };
        let output = self
            .client
            .get_shard_iterator()
            .stream_arn(&self.arn)
            .shard_id(shard)
            .shard_iterator_type(kind)
            .set_sequence_number(number.map(str::to_owned))
            .send()
            .await
            .map_err(self.call("place an iterator in a shard"))?;
        // It is always there; without one nothing can be read, which says so.
        Ok(output.shard_iterator.unwrap_or_default())
    }

    async fn read(&self, iterator: &str) -> Result<Batch<Record>, StreamError> {
        let output = self
            .client
            .get_records()
            .shard_iterator(iterator)
            .send()
            .await
            .map_err(self.call("read the records"))?;
        let numbered = |record: Record| {
            let change = record.dynamodb();
            let number = change.and_then(|change| change.sequence_number()).unwrap_or_default();
            let made_at = change.and_then(|change| change.approximate_creation_date_time());
            let made_at = made_at.and_then(|at| at.to_millis().ok()?.try_into().ok());
            Numbered { number: number.to_owned(), made_at: made_at.map(UnixMillis), record }
        };
        Ok(Batch {
            records: output.records.unwrap_or_default().into_iter().map(numbered).collect(),
            next: output.next_shard_iterator,
        })
    }
}

impl Attribute for AttributeValue {
    fn text(&self) -> Option<&str> {
        self.as_s().or_else(|_| self.as_n()).ok().map(String::as_str)
    }

    fn list(&self) -> Option<Vec<&Self>> {
        self.as_l().ok().map(|values| values.iter().collect())
    }

    fn field(&self, name: &str) -> Option<&Self> {
        self.as_m().ok()?.get(name)
    }
}

/// The attributes of an image; none when the stream sends none.
#[must_use]
pub(crate) fn image(item: Option<&HashMap<String, AttributeValue>>) -> Image<'_, AttributeValue> {
    item.into_iter().flatten().map(|(name, value)| (name.as_str(), value)).collect()
}
