//! One version of one object in S3, read in ranges.

mod error;

pub use error::ObjectError;

use super::checksum::ObjectChecksum;
use aws_sdk_s3::{
    Client, operation::get_object::builders::GetObjectFluentBuilder, types::ChecksumMode,
};
use bailey_model::{S3Location, hosts::EifSource};
use error::{describe, status};
use sha2::{Digest, Sha256};
use std::{future::Future, time::Duration};
use tokio::time::{Instant, sleep, timeout_at};

/// How S3 is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// Ranges of this size keep S3's cost of a request small and another try cheap.
    pub(super) range_bytes: u64,
    /// One connection gives about 5 Gbit/s; four fill the network of the types that run enclaves.
    pub(super) in_flight: usize,
    /// Tries of one call, beside those that the SDK makes by itself for one request.
    pub(super) tries: u32,
    /// Between the first try and the second; it doubles each time.
    pub(super) first_pause: Duration,
    /// A range at 1 Mbit/s takes as long; one that is slower is better asked for again.
    pub(super) range_deadline: Duration,
    /// Without a single byte for so long, a range is asked for again.
    pub(super) stall_deadline: Duration,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            range_bytes: 8 * 1_024 * 1_024,
            in_flight: 4,
            tries: 4,
            first_pause: Duration::from_millis(250),
            range_deadline: Duration::from_mins(1),
            stall_deadline: Duration::from_secs(10),
        }
    }
}

/// An object of which one version is pinned.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Object {
    pub(super) location: S3Location,
    pub(super) version_id: Option<String>,
    pub(super) etag: String,
    pub(super) size_bytes: u64,
    /// What S3 says about all of its bytes.
    pub(super) checksum: Option<ObjectChecksum>,
}

/// Bytes `first..=last` of an object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Range {
    first: u64,
    last: u64,
}

impl Object {
    /// Looks the object up and pins the version that is there now, or the one that is asked for.
    pub(super) async fn find(
        client: &Client,
        source: &EifSource,
        manner: Manner,
    ) -> Result<Self, ObjectError> {
        retried(manner, || Self::find_once(client, source)).await
    }

    async fn find_once(client: &Client, source: &EifSource) -> Result<Self, ObjectError> {
        let EifSource { location, version_id, .. } = source;
        let describe = |err| describe(client, location, version_id.as_deref(), err);
        let head = client
            .head_object()
            .bucket(&location.bucket)
            .key(&location.key)
            .set_version_id(version_id.clone())
            .checksum_mode(ChecksumMode::Enabled)
            .send()
            .await;
        let head = match head {
            Ok(head) => head,
            // A HEAD has no body to say what is missing or forbidden; a GET of one byte has.
            Err(err) if matches!(status(&err), Some(400 | 403 | 404)) => {
                let reason = get(client, location, version_id.as_deref()).range("bytes=0-0").send();
                return Err(match reason.await {
                    Err(reason) => self::describe(client, location, version_id.as_deref(), reason),
                    Ok(_) => describe(err),
                });
            }
            Err(err) => return Err(describe(err)),
        };
        Ok(Self {
            location: location.clone(),
            // Where versioning is off, the version is called `null` and the ETag must do.
            version_id: head.version_id().filter(|id| *id != "null").map(str::to_owned),
            etag: head.e_tag().unwrap_or_default().to_owned(),
            size_bytes: head.content_length().and_then(|l| u64::try_from(l).ok()).unwrap_or(0),
            checksum: ObjectChecksum::of(&head),
        })
    }

    /// Names the object's content: equal only for equal bytes, as far as S3 can tell.
    pub(super) fn content_key(&self) -> String {
        let mut hash = Sha256::new();
        let version_id = self.version_id.as_deref().unwrap_or_default();
        for part in [&self.location.bucket, &self.location.key, version_id, &self.etag] {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part);
        }
        hash.update(self.size_bytes.to_be_bytes());
        hex::encode(hash.finalize())
    }

    /// The object from byte `first` on, in pieces of at most `range_bytes`.
    pub(super) fn ranges(&self, first: u64, range_bytes: u64) -> impl Iterator<Item = Range> {
        let (range_bytes, size_bytes) = (range_bytes.max(1), self.size_bytes);
        let missing = size_bytes.saturating_sub(first);
        (0..missing.div_ceil(range_bytes)).map(move |index| {
            let first = first.saturating_add(index.saturating_mul(range_bytes));
            Range {
                first,
                last: first.saturating_add(range_bytes).min(size_bytes).saturating_sub(1),
            }
        })
    }

    /// Reads one range of the pinned version.
    pub(super) async fn read(
        &self,
        client: &Client,
        range: Range,
        manner: Manner,
    ) -> Result<Vec<u8>, ObjectError> {
        retried(manner, || self.read_once(client, range, manner)).await
    }

    async fn read_once(
        &self,
        client: &Client,
        range: Range,
        manner: Manner,
    ) -> Result<Vec<u8>, ObjectError> {
        let Range { first, last } = range;
        let location = || self.location.clone();
        let start = Instant::now();
        let soon = || (start + manner.range_deadline).min(Instant::now() + manner.stall_deadline);
        let slow = |_| ObjectError::Slow { location: location(), first };
        let asked = get(client, &self.location, self.version_id.as_deref())
            .range(format!("bytes={first}-{last}"))
            .if_match(&self.etag)
            .send();
        let answer = timeout_at(soon(), asked)
            .await
            .map_err(slow)?
            .map_err(|err| describe(client, &self.location, self.version_id.as_deref(), err))?;
        // For a server that does not know `If-Match`.
        if answer.e_tag().is_some_and(|etag| etag != self.etag) {
            return Err(ObjectError::Changed { location: location() });
        }
        let wanted = last.saturating_sub(first).saturating_add(1);
        let mut bytes = Vec::with_capacity(usize::try_from(wanted).unwrap_or_default());
        let mut body = answer.body;
        while let Some(piece) =
            timeout_at(soon(), body.try_next()).await.map_err(slow)?.map_err(|source| {
                ObjectError::Body { location: location(), source: Box::new(source) }
            })?
        {
            bytes.extend_from_slice(&piece);
            if length(&bytes) > wanted {
                break;
            }
        }
        let found = length(&bytes);
        if wanted != found {
            return Err(ObjectError::Length { location: location(), first, wanted, found });
        }
        Ok(bytes)
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn get(client: &Client, location: &S3Location, version_id: Option<&str>) -> GetObjectFluentBuilder {
    client
        .get_object()
        .bucket(&location.bucket)
        .key(&location.key)
        .set_version_id(version_id.map(str::to_owned))
}

async fn retried<T, F>(manner: Manner, call: impl Fn() -> F) -> Result<T, ObjectError>
where
    F: Future<Output = Result<T, ObjectError>>,
{
    let mut pause = manner.first_pause;
    for _ in 1..manner.tries {
        match call().await {
            Err(err) if err.may_pass() => {
                let reason = bailey_runtime::chain(&err);
                log::warn!(error = reason.as_str(); "reading from S3 failed, trying again");
                sleep(pause).await;
                pause *= 2;
            }
            outcome => return outcome,
        }
    }
    call().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn object(size_bytes: u64) -> Object {
        Object {
            location: "s3://images/test.eif".parse().unwrap(),
            version_id: Some("v".to_owned()),
            etag: "\"e\"".to_owned(),
            size_bytes,
            checksum: None,
        }
    }

    #[test]
    fn another_version_or_etag_is_another_content() {
        let mut other = object(1);
        other.etag = "\"f\"".to_owned();
        assert_ne!(object(1).content_key(), other.content_key());
        assert_ne!(object(1).content_key(), object(2).content_key());
        other = object(1);
        other.version_id = None;
        assert_ne!(object(1).content_key(), other.content_key());
    }

    #[test]
    fn an_empty_object_has_no_ranges() {
        assert_eq!(object(0).ranges(0, 8).count(), 0);
        assert_eq!(object(8).ranges(8, 8).count(), 0);
    }

    proptest! {
        #[test]
        fn ranges_cover_every_missing_byte_once(
            size in 1_u64..10_000,
            start in 0_u64..10_000,
            range in 1_u64..1_000,
        ) {
            let mut next = start.min(size);
            for Range { first, last } in object(size).ranges(start.min(size), range) {
                prop_assert_eq!(first, next);
                prop_assert!(last >= first && last - first < range);
                next = last + 1;
            }
            prop_assert_eq!(next, size);
        }
    }
}
