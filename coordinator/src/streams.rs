//! Following a table's stream.
//!
//! A stream event only says *look again*: its ids are woken, and whoever is woken reads the tables.
//! What a stream loses or repeats therefore changes nothing; the sweep finds what it lost.

use crate::wake::{Attribute, Image};
use aws_sdk_dynamodbstreams::{
    Client,
    error::{DisplayErrorContext, ProvideErrorMetadata},
    types::{AttributeValue, Record, Shard, ShardIteratorType},
};
use bailey_runtime::chain;
use std::{collections::HashMap, time::Duration};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often the list of shards is read again, besides when a shard ends.
const RELIST_INTERVAL: Duration = Duration::from_secs(30);
/// The pause after a failed read.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Follows one stream.
#[derive(Debug)]
pub struct Follower {
    client: Client,
    stream_arn: String,
    shards: HashMap<String, ShardState>,
}

#[derive(Debug)]
enum ShardState {
    /// To be read on from here.
    Open(String),
    /// Read to its end.
    Ended,
}

/// Why a stream cannot be followed at the moment.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The service answered with an error, or not at all.
    #[error("cannot {doing} of stream {stream_arn}")]
    Call {
        /// What was being read.
        doing: &'static str,
        /// The stream.
        stream_arn: String,
        /// The SDK's reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Follower {
    /// Starts at the stream's present end: what came before is for the first sweep, which must
    /// begin after this call.
    pub async fn at_end(client: Client, stream_arn: String) -> Result<Self, StreamError> {
        let mut follower = Self { client, stream_arn, shards: HashMap::new() };
        follower.list(&ShardIteratorType::Latest).await?;
        Ok(follower)
    }

    /// Reads on for ever, giving each record to `each`.
    ///
    /// Never returns; failures are logged and tried again. After a loss of position, `lost` is
    /// called, since records may have been missed.
    pub async fn follow(mut self, poll: Duration, each: impl Fn(&Record), lost: impl Fn()) {
        let mut ticks = interval(poll);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut listed = Instant::now();
        loop {
            ticks.tick().await;
            let outcome = self.poll_all(&each).await;
            let relist = match outcome {
                Ok(ended) => ended || listed.elapsed() >= RELIST_INTERVAL,
                Err(error) => {
                    log::warn!(stream = self.stream_arn.as_str(), error = chain(&error); "stream cannot be read");
                    self.start_over().await;
                    lost();
                    false
                }
            };
            if relist {
                listed = Instant::now();
                // Shards that were not there before are read from their start.
                if let Err(error) = self.list(&ShardIteratorType::TrimHorizon).await {
                    log::warn!(stream = self.stream_arn.as_str(), error = chain(&error); "shards cannot be listed");
                }
            }
        }
    }

    /// Takes up the stream at its present end, however long it takes until that works.
    async fn start_over(&mut self) {
        self.shards.retain(|_, state| matches!(state, ShardState::Ended));
        let mut shown = String::new();
        loop {
            tokio::time::sleep(RETRY_PAUSE).await;
            match self.list(&ShardIteratorType::Latest).await {
                Ok(()) => break,
                Err(error) if error.to_string() == shown => {}
                Err(error) => {
                    log::warn!(stream = self.stream_arn.as_str(), error = chain(&error); "stream cannot be taken up again");
                    shown = error.to_string();
                }
            }
        }
        log::info!(stream = self.stream_arn.as_str(); "stream is read again");
    }

    /// Reads every open shard once; tells whether one of them ended.
    async fn poll_all(&mut self, each: &impl Fn(&Record)) -> Result<bool, StreamError> {
        let mut any_ended = false;
        for state in self.shards.values_mut() {
            let ShardState::Open(iterator) = state else { continue };
            let output = self
                .client
                .get_records()
                .shard_iterator(iterator.as_str())
                .send()
                .await
                .map_err(call("read the records", &self.stream_arn))?;
            output.records().iter().for_each(each);
            any_ended |= output.next_shard_iterator.is_none();
            *state = output.next_shard_iterator.map_or(ShardState::Ended, ShardState::Open);
        }
        Ok(any_ended)
    }

    /// Takes up the shards that are not known yet, at the given end.
    async fn list(&mut self, start: &ShardIteratorType) -> Result<(), StreamError> {
        let shards = self.all_shards().await?;
        self.shards.retain(|id, _| shards.iter().any(|shard| shard.shard_id() == Some(id)));
        for shard in shards {
            let Some(id) = shard.shard_id else { continue };
            if self.shards.contains_key(&id) {
                continue;
            }
            let output = self
                .client
                .get_shard_iterator()
                .stream_arn(&self.stream_arn)
                .shard_id(&id)
                .shard_iterator_type(start.clone())
                .send()
                .await
                .map_err(call("place an iterator in a shard", &self.stream_arn))?;
            if let Some(iterator) = output.shard_iterator {
                self.shards.insert(id, ShardState::Open(iterator));
            }
        }
        Ok(())
    }

    async fn all_shards(&self) -> Result<Vec<Shard>, StreamError> {
        let mut shards = Vec::new();
        let mut after = None;
        loop {
            let output = self
                .client
                .describe_stream()
                .stream_arn(&self.stream_arn)
                .set_exclusive_start_shard_id(after.take())
                .send()
                .await
                .map_err(call("list the shards", &self.stream_arn))?;
            let Some(description) = output.stream_description else { return Ok(shards) };
            shards.extend(description.shards.unwrap_or_default());
            match description.last_evaluated_shard_id {
                Some(last) => after = Some(last),
                None => return Ok(shards),
            }
        }
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

fn call<E>(doing: &'static str, stream_arn: &str) -> impl FnOnce(E) -> StreamError
where
    E: std::error::Error + Send + Sync + ProvideErrorMetadata + 'static,
{
    let stream_arn = stream_arn.to_owned();
    move |source| {
        log::debug!(error = DisplayErrorContext(&source).to_string(); "stream call failed");
        StreamError::Call { doing, stream_arn, source: Box::new(source) }
    }
}
