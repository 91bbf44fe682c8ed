//! Streams that split, expire and are trimmed, and followers that die.

use super::{Batch, Checkpoint, Follower, From, Numbered, Position, Stream, StreamError};
use bailey_model::UnixMillis;
use bailey_runtime::now;
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

/// A stream of which every record is its own number. An iterator is its shard and the number of records
/// before it, for as long as it has not expired.
#[derive(Clone, Debug, Default)]
struct Fake {
    shards: Arc<Mutex<BTreeMap<String, FakeShard>>>,
    made: u64,
    /// How many iterators expired: those that were given out before.
    expired: Arc<Mutex<u64>>,
}

#[derive(Debug, Default)]
struct FakeShard {
    records: Vec<(u64, UnixMillis)>,
    /// How many of them are no longer kept.
    trimmed: usize,
    is_closed: bool,
}

impl Fake {
    fn with_shard() -> Self {
        let fake = Self::default();
        fake.shards.lock().unwrap().insert("s".to_owned(), FakeShard::default());
        fake
    }

    /// Writes to a shard that is open; the record's number.
    fn write(&mut self, which: usize) -> u64 {
        self.write_at(which, now())
    }

    fn write_at(&mut self, which: usize, made_at: UnixMillis) -> u64 {
        self.made += 1;
        let mut shards = self.shards.lock().unwrap();
        let mut open: Vec<_> = shards.values_mut().filter(|shard| !shard.is_closed).collect();
        let which = which % open.len();
        open[which].records.push((self.made, made_at));
        self.made
    }

    /// Closes an open shard; two others follow it.
    fn split(&mut self, which: usize) {
        let mut shards = self.shards.lock().unwrap();
        let open: Vec<_> =
            shards.iter().filter(|(_, shard)| !shard.is_closed).map(|(id, _)| id.clone()).collect();
        let id = &open[which % open.len()];
        shards.get_mut(id).unwrap().is_closed = true;
        for half in ["l", "r"] {
            shards.insert(format!("{id}{half}"), FakeShard::default());
        }
    }

    /// Removes everything that was written so far, and the shards that ended.
    fn trim(&mut self) -> BTreeSet<u64> {
        let mut shards = self.shards.lock().unwrap();
        let mut gone = BTreeSet::new();
        shards.retain(|_, shard| {
            gone.extend(shard.records.iter().map(|(number, _)| *number));
            shard.trimmed = shard.records.len();
            !shard.is_closed
        });
        gone
    }

    fn expire(&self) {
        *self.expired.lock().unwrap() += 1;
    }
}

fn failed(why: &'static str) -> StreamError {
    StreamError::Call {
        doing: why,
        stream_arn: "fake".to_owned(),
        source: Box::new(io::Error::other(why)),
    }
}

impl Stream for Fake {
    type Record = u64;

    async fn shards(&self) -> Result<Vec<String>, StreamError> {
        Ok(self.shards.lock().unwrap().keys().cloned().collect())
    }

    async fn iterator(&self, shard: &str, from: From<'_>) -> Result<String, StreamError> {
        let shards = self.shards.lock().unwrap();
        let known = shards.get(shard).ok_or_else(|| failed("no such shard"))?;
        let place = match from {
            From::Oldest => known.trimmed,
            From::Newest => known.records.len(),
            From::After(number) => {
                let is_it = |(it, _): &(u64, _)| it.to_string() == number;
                known.records.iter().position(is_it).ok_or_else(|| failed("no such record"))? + 1
            }
        };
        if place < known.trimmed {
            return Err(StreamError::Trimmed { shard: shard.to_owned() });
        }
        Ok(format!("{shard} {place} {}", self.expired.lock().unwrap()))
    }

    async fn read(&self, iterator: &str) -> Result<Batch<u64>, StreamError> {
        let parts: Vec<_> = iterator.split(' ').collect();
        let (place, given) = (parts[1].parse::<usize>().unwrap(), parts[2]);
        if given != self.expired.lock().unwrap().to_string() {
            return Err(failed("the iterator expired"));
        }
        let shards = self.shards.lock().unwrap();
        let shard = shards.get(parts[0]).ok_or_else(|| failed("no such shard"))?;
        if place < shard.trimmed {
            return Err(StreamError::Trimmed { shard: String::new() });
        }
        // Two at a time, so that a shard is read in several goes.
        let records: Vec<_> = shard.records.iter().skip(place).take(2).collect();
        let after = place + records.len();
        let numbered = |(number, made_at): &&(u64, UnixMillis)| Numbered {
            number: number.to_string(),
            made_at: Some(*made_at),
            record: *number,
        };
        let has_ended = shard.is_closed && after == shard.records.len();
        Ok(Batch {
            records: records.iter().map(numbered).collect(),
            next: (!has_ended).then(|| format!("{} {after} {given}", parts[0])),
        })
    }
}

/// What a follower has heard, and whether it said that something was lost.
#[derive(Default)]
struct Heard {
    records: RefCell<BTreeSet<u64>>,
    lost: RefCell<bool>,
}

/// Reads for as long as anything comes, and after whatever failed.
async fn read_all(follower: &mut Follower<Fake>, heard: &Heard) {
    let each = |record: &u64| {
        heard.records.borrow_mut().insert(*record);
    };
    for _ in 0..200 {
        let before = follower.checkpoint();
        let outcome = follower.read_all(&each).await;
        let failed = follower.note(outcome, || *heard.lost.borrow_mut() = true).await.is_none();
        let listed = follower.list().await;
        follower.note(listed, || *heard.lost.borrow_mut() = true).await;
        let is_quiet = follower.checkpoint() == before;
        let all_read = follower
            .shards
            .values()
            .all(|shard| shard.position == Position::Ended || shard.iterator.is_some());
        if is_quiet && all_read && !failed {
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_was_never_followed_is_read_from_its_present_end() {
    let mut fake = Fake::with_shard();
    fake.write(0);
    let heard = Heard::default();
    let mut follower = Follower::begin(fake.clone(), None).await.unwrap();
    let second = fake.write(0);
    read_all(&mut follower, &heard).await;
    assert_eq!(*heard.records.borrow(), BTreeSet::from([second]));
}

/// A process that dies before it reads anything has a checkpoint without a number: time tells.
#[tokio::test(start_paused = true)]
async fn what_was_written_before_the_first_start_is_not_heard_after_a_second() {
    let mut fake = Fake::with_shard();
    fake.write_at(0, UnixMillis(now().0.saturating_sub(3_600_000)));
    let checkpoint = Follower::begin(fake.clone(), None).await.unwrap().checkpoint();
    let second = fake.write(0);
    let heard = Heard::default();
    let mut follower = Follower::begin(fake.clone(), Some(checkpoint)).await.unwrap();
    read_all(&mut follower, &heard).await;
    assert_eq!(*heard.records.borrow(), BTreeSet::from([second]));
}

#[tokio::test(start_paused = true)]
async fn an_expired_iterator_loses_nothing() {
    let mut fake = Fake::with_shard();
    let heard = Heard::default();
    let mut follower = Follower::begin(fake.clone(), None).await.unwrap();
    let first = fake.write(0);
    fake.expire();
    read_all(&mut follower, &heard).await;
    let second = fake.write(0);
    fake.expire();
    read_all(&mut follower, &heard).await;
    assert_eq!(*heard.records.borrow(), BTreeSet::from([first, second]));
    assert!(!*heard.lost.borrow());
}

#[tokio::test(start_paused = true)]
async fn records_that_were_removed_unread_are_said_to_be_lost_and_reading_goes_on() {
    let mut fake = Fake::with_shard();
    let heard = Heard::default();
    let mut follower = Follower::begin(fake.clone(), None).await.unwrap();
    fake.write(0);
    read_all(&mut follower, &heard).await;
    let missed = fake.write(0);
    fake.trim();
    fake.expire();
    let next = fake.write(0);
    read_all(&mut follower, &heard).await;
    assert!(*heard.lost.borrow());
    assert!(heard.records.borrow().contains(&next) && !heard.records.borrow().contains(&missed));
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_is_given_out_when_it_is_a_minute_old() {
    let fake = Fake::with_shard();
    let mut writer = fake.clone();
    let follower = Follower::begin(fake, None).await.unwrap();
    let saved: Arc<Mutex<Vec<Checkpoint>>> = Arc::default();
    let keep = Arc::clone(&saved);
    let first = writer.write(0);
    let following = follower.follow(
        Duration::from_millis(250),
        |_| {},
        || {},
        |checkpoint| {
            let keep = Arc::clone(&keep);
            async move { keep.lock().unwrap().push(checkpoint) }
        },
    );
    // Time passes only while nothing else is to be done.
    let _ = tokio::time::timeout(Duration::from_secs(130), following).await;
    let saved = saved.lock().unwrap();
    let positions: Vec<_> = saved.iter().map(|checkpoint| checkpoint.shards["s"].clone()).collect();
    assert_eq!(positions, [Position::Oldest, Position::After(first.to_string())]);
}

/// Whatever happens to a stream and to those who follow it, each record is heard, unless it was removed
/// before anybody read it, which is said.
#[tokio::test(start_paused = true)]
async fn every_record_is_heard_whatever_splits_expires_is_trimmed_or_dies() {
    for seed in 0..300_u64 {
        let mut dice = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut roll = |limit: u64| {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            dice % limit
        };
        let mut fake = Fake::with_shard();
        let heard = Heard::default();
        let mut follower = Follower::begin(fake.clone(), None).await.unwrap();
        let mut checkpoint = follower.checkpoint();
        let mut written = BTreeSet::new();
        let mut gone = BTreeSet::new();
        // A process that begins looks at everything by itself, and need not be told.
        let mut began_after_trim = false;
        for _ in 0..60 {
            let which = usize::try_from(roll(8)).unwrap();
            match roll(12) {
                0..=5 => drop(written.insert(fake.write(which))),
                6 => fake.split(which),
                7 => fake.expire(),
                8 => checkpoint = follower.checkpoint(),
                // A process dies, and the next goes on at the last checkpoint.
                9 => {
                    follower =
                        Follower::begin(fake.clone(), Some(checkpoint.clone())).await.unwrap();
                    began_after_trim = !gone.is_empty();
                }
                10 if roll(4) == 0 => {
                    let heard = heard.records.borrow();
                    gone.extend(fake.trim().difference(&heard));
                }
                _ => read_all(&mut follower, &heard).await,
            }
        }
        read_all(&mut follower, &heard).await;
        let lost = *heard.lost.borrow();
        let heard = heard.records.borrow();
        let missed: BTreeSet<_> = written.difference(&heard).copied().collect();
        assert!(missed.is_subset(&gone), "seed {seed}: {missed:?} were not heard");
        assert!(missed.is_empty() || lost || began_after_trim, "seed {seed}: {missed:?} unsaid");
    }
}
