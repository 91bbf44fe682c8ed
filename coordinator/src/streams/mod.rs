//! Following a table's stream.
//!
//! A stream event only says *look again*: its ids are woken, and whoever is woken reads the tables.
//! What a stream repeats therefore changes nothing. What it says is heard at least once: where this
//! process has come to is written down, some time after it has, and the next one goes on from there.

mod dynamo;
mod position;
#[cfg(test)]
mod tests;

pub use dynamo::DynamoStream;
pub(crate) use dynamo::image;
pub use position::{Checkpoint, Position};

use bailey_model::UnixMillis;
use bailey_runtime::{chain, now};
use position::is_before;
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    time::Duration,
};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often the list of shards is read again, besides when a shard ends.
const RELIST_INTERVAL: Duration = Duration::from_secs(30);
/// The pause after a failed read.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How long a position waits until it is written down: by then what was woken has been looked at, or is
/// known to the ledger as unfinished. And how often one is written.
const CHECKPOINT_LAG: Duration = Duration::from_mins(1);

/// A stream, as it can be read.
pub trait Stream: Send + Sync {
    /// A record.
    type Record: Send;

    /// The shards' ids, those that ended and can still be read among them.
    fn shards(&self) -> impl Future<Output = Result<Vec<String>, StreamError>> + Send;

    /// Where to begin reading a shard.
    fn iterator(
        &self,
        shard: &str,
        from: From<'_>,
    ) -> impl Future<Output = Result<String, StreamError>> + Send;

    /// What comes next.
    fn read(
        &self,
        iterator: &str,
    ) -> impl Future<Output = Result<Batch<Self::Record>, StreamError>> + Send;
}

/// Where in a shard to begin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum From<'a> {
    /// After the record with this sequence number.
    After(&'a str),
    /// At the oldest record that is kept.
    Oldest,
    /// After the newest record.
    Newest,
}

/// Records of a shard.
#[derive(Clone, Debug)]
pub struct Batch<R> {
    /// In their order.
    pub records: Vec<Numbered<R>>,
    /// Where the next ones begin; none at the shard's end.
    pub next: Option<String>,
}

/// A record with its place.
#[derive(Clone, Debug)]
pub struct Numbered<R> {
    /// The sequence number.
    pub number: String,
    /// When it was made, about; none when the stream does not say.
    pub made_at: Option<UnixMillis>,
    /// The record.
    pub record: R,
}

/// Why a stream cannot be read at the moment.
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
    /// What comes next was removed: a stream keeps its records for a day.
    #[error("records of shard {shard} were removed before they were read")]
    Trimmed {
        /// The shard.
        shard: String,
    },
}

/// Follows one stream.
#[derive(Debug)]
pub struct Follower<S> {
    stream: S,
    /// When the stream was first followed: what was made before is of no concern.
    since: UnixMillis,
    shards: HashMap<String, Shard>,
    trouble: Option<String>,
}

#[derive(Debug)]
struct Shard {
    position: Position,
    /// Where to read on; none when that has to be found by the position.
    iterator: Option<String>,
}

impl<S: Stream + fmt::Debug> Follower<S> {
    /// Goes on where the checkpoint says; without one, at the stream's present end: what came before
    /// is for the first sweep, which must begin after this call.
    pub async fn begin(stream: S, checkpoint: Option<Checkpoint>) -> Result<Self, StreamError> {
        let is_new = checkpoint.is_none();
        let checkpoint =
            checkpoint.unwrap_or_else(|| Checkpoint { since: now(), shards: BTreeMap::new() });
        let shard = |(id, position)| (id, Shard { position, iterator: None });
        let mut follower = Self {
            stream,
            since: checkpoint.since,
            shards: checkpoint.shards.into_iter().map(shard).collect(),
            trouble: None,
        };
        match follower.list().await {
            // The first sweep looks at what is active.
            Err(error @ StreamError::Trimmed { .. }) => {
                log::error!(stream:? = follower.stream, error = chain(&error); "changes were missed");
            }
            listed => listed?,
        }
        if is_new {
            for (id, shard) in &mut follower.shards {
                shard.iterator = Some(follower.stream.iterator(id, From::Newest).await?);
            }
        }
        Ok(follower)
    }

    /// Where the follower has come to.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        let position = |(id, shard): (&String, &Shard)| (id.clone(), shard.position.clone());
        Checkpoint { since: self.since, shards: self.shards.iter().map(position).collect() }
    }

    /// Reads on for ever, giving each record to `each`.
    ///
    /// Never returns; failures are logged and tried again. When records were removed before they were
    /// read, `lost` is called. Where the follower was a while ago is given to `save` again and again.
    pub async fn follow<W: Future<Output = ()>>(
        mut self,
        poll: Duration,
        each: impl Fn(&S::Record),
        lost: impl Fn(),
        save: impl Fn(Checkpoint) -> W,
    ) {
        let mut ticks = interval(poll);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut listed = Instant::now();
        let mut kept = (Instant::now(), self.checkpoint());
        loop {
            ticks.tick().await;
            let outcome = self.read_all(&each).await;
            let has_ended = self.note(outcome, &lost).await.unwrap_or_default();
            if has_ended || listed.elapsed() >= RELIST_INTERVAL {
                listed = Instant::now();
                let outcome = self.list().await;
                self.note(outcome, &lost).await;
            }
            if kept.0.elapsed() >= CHECKPOINT_LAG {
                let present = self.checkpoint();
                save(std::mem::replace(&mut kept, (Instant::now(), present)).1).await;
            }
        }
    }

    /// Logs what failed, once, and waits before it is tried again.
    async fn note<T>(&mut self, outcome: Result<T, StreamError>, lost: impl Fn()) -> Option<T> {
        let error = match outcome {
            Ok(done) => {
                if self.trouble.take().is_some() {
                    log::info!(stream:? = self.stream; "stream is read again");
                }
                return Some(done);
            }
            Err(error) => error,
        };
        if let StreamError::Trimmed { .. } = error {
            log::error!(stream:? = self.stream, error = chain(&error); "changes were missed; what is active is looked at");
            lost();
            return None;
        }
        let shown = chain(&error);
        if self.trouble.as_ref() != Some(&shown) {
            log::warn!(stream:? = self.stream, error = shown.as_str(); "stream cannot be read; it is tried again");
            self.trouble = Some(shown);
        }
        tokio::time::sleep(RETRY_PAUSE).await;
        None
    }

    /// Reads every shard that has not ended once; tells whether one of them ended.
    async fn read_all(&mut self, each: &impl Fn(&S::Record)) -> Result<bool, StreamError> {
        let mut any_ended = false;
        for (id, shard) in &mut self.shards {
            if shard.position == Position::Ended {
                continue;
            }
            match read(&self.stream, id, shard, self.since, each).await {
                Ok(()) => any_ended |= shard.position == Position::Ended,
                Err(error) => {
                    // Iterators expire, too; the position does not.
                    shard.iterator = None;
                    if let StreamError::Trimmed { .. } = error {
                        shard.position = Position::Oldest;
                    }
                    return Err(error);
                }
            }
        }
        Ok(any_ended)
    }

    /// Takes up the shards that are not known yet, and forgets those that are gone.
    async fn list(&mut self) -> Result<(), StreamError> {
        let ids = self.stream.shards().await?;
        let mut unread = None;
        self.shards.retain(|id, shard| {
            let is_there = ids.contains(id);
            if !is_there && shard.position != Position::Ended {
                unread = Some(id.clone());
            }
            is_there
        });
        for id in ids {
            let new = || Shard { position: Position::Oldest, iterator: None };
            self.shards.entry(id).or_insert_with(new);
        }
        unread.map_or(Ok(()), |shard| Err(StreamError::Trimmed { shard }))
    }
}

/// Reads a shard once.
async fn read<S: Stream>(
    stream: &S,
    id: &str,
    shard: &mut Shard,
    since: UnixMillis,
    each: &impl Fn(&S::Record),
) -> Result<(), StreamError> {
    let iterator = if let Some(iterator) = shard.iterator.take() {
        iterator
    } else {
        let from = match &shard.position {
            Position::After(number) => From::After(number),
            Position::Oldest | Position::Ended => From::Oldest,
        };
        stream.iterator(id, from).await?
    };
    let Batch { records, next } = stream.read(&iterator).await.map_err(|error| match error {
        StreamError::Trimmed { .. } => StreamError::Trimmed { shard: id.to_owned() },
        error @ StreamError::Call { .. } => error,
    })?;
    for Numbered { number, made_at, record } in records {
        if !is_before(made_at, since) {
            each(&record);
        }
        shard.position = Position::After(number);
    }
    if next.is_none() {
        shard.position = Position::Ended;
    }
    shard.iterator = next;
    Ok(())
}
