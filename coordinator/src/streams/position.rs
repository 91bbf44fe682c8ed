//! How far a stream was read.

use bailey_model::UnixMillis;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// How far all shards of a stream were read.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Checkpoint {
    /// When the stream was first followed. Shards that were there then hold older records, too.
    pub since: UnixMillis,
    /// The shards by their ids. One that is not among them came later.
    pub shards: BTreeMap<String, Position>,
}

/// How far a shard was read.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Position {
    /// Up to the record with this sequence number.
    After(String),
    /// To its end.
    Ended,
    /// Not at all yet.
    Oldest,
}

/// How far the clocks of the stream and of whoever began to follow it may be apart.
const SKEW: Duration = Duration::from_mins(1);

/// Whether a record was certainly made before the given time.
pub(super) fn is_before(made_at: Option<UnixMillis>, since: UnixMillis) -> bool {
    made_at.is_some_and(|made_at| made_at.plus(SKEW) < since)
}
