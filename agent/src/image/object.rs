//! One version of one object in S3, read in ranges.

use aws_sdk_s3::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::get_object::builders::GetObjectFluentBuilder,
};
use bailey_model::{S3Location, failure::FailureCode, hosts::EifSource};
use sha2::{Digest, Sha256};
use std::{error::Error, future::Future, time::Duration};
use tokio::time::{sleep, timeout};

/// Tries of one call, beside those that the SDK makes by itself for one request.
const TRIES: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// A range at 1 Mbit/s takes as long; one that is slower is better asked for again.
const RANGE_DEADLINE: Duration = Duration::from_mins(1);

/// An object of which one version is pinned.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Object {
    pub(super) location: S3Location,
    pub(super) version_id: Option<String>,
    pub(super) etag: String,
    pub(super) size_bytes: u64,
}

/// Bytes `first..=last` of an object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Range {
    first: u64,
    last: u64,
}

impl Object {
    /// Looks the object up and pins the version that is there now, or the one that is asked for.
    pub(super) async fn find(client: &Client, source: &EifSource) -> Result<Self, ObjectError> {
        retried(|| Self::find_once(client, source)).await
    }

    async fn find_once(client: &Client, source: &EifSource) -> Result<Self, ObjectError> {
        let EifSource { location, version_id, .. } = source;
        let head = client
            .head_object()
            .bucket(&location.bucket)
            .key(&location.key)
            .set_version_id(version_id.clone())
            .send()
            .await;
        let head = match head {
            Ok(head) => head,
            // A HEAD has no body to say what is missing; a GET of one byte has.
            Err(err) if status(&err) == Some(404) => {
                let reason = get(client, location, version_id.as_deref()).range("bytes=0-0").send();
                let reason =
                    reason.await.err().map(|err| describe(location, version_id.as_deref(), err));
                return Err(
                    reason.unwrap_or_else(|| describe(location, version_id.as_deref(), err))
                );
            }
            Err(err) => return Err(describe(location, version_id.as_deref(), err)),
        };
        Ok(Self {
            location: location.clone(),
            // Where versioning is off, the version is called `null` and the ETag must do.
            version_id: head.version_id().filter(|id| *id != "null").map(str::to_owned),
            etag: head.e_tag().unwrap_or_default().to_owned(),
            size_bytes: head.content_length().and_then(|l| u64::try_from(l).ok()).unwrap_or(0),
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

    /// The object in pieces of at most `range_bytes`.
    pub(super) fn ranges(&self, range_bytes: u64) -> Vec<Range> {
        let range_bytes = range_bytes.max(1);
        (0..self.size_bytes.div_ceil(range_bytes))
            .map(|index| index.saturating_mul(range_bytes))
            .map(|first| Range {
                first,
                last: first.saturating_add(range_bytes).min(self.size_bytes).saturating_sub(1),
            })
            .collect()
    }

    /// Reads one range of the pinned version.
    pub(super) async fn read(&self, client: &Client, range: Range) -> Result<Vec<u8>, ObjectError> {
        retried(|| async {
            let read = timeout(RANGE_DEADLINE, self.read_once(client, range)).await;
            read.unwrap_or_else(|_| {
                Err(ObjectError::Slow { location: self.location.clone(), within: RANGE_DEADLINE })
            })
        })
        .await
    }

    async fn read_once(&self, client: &Client, range: Range) -> Result<Vec<u8>, ObjectError> {
        let Range { first, last } = range;
        let answer = get(client, &self.location, self.version_id.as_deref())
            .range(format!("bytes={first}-{last}"))
            .if_match(&self.etag)
            .send()
            .await
            .map_err(|err| describe(&self.location, self.version_id.as_deref(), err))?;
        let body = answer.body.collect().await.map_err(|source| ObjectError::Body {
            location: self.location.clone(),
            source: Box::new(source),
        })?;
        let bytes = body.to_vec();
        let (wanted, found) = (last - first + 1, u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if wanted != found {
            let location = self.location.clone();
            return Err(ObjectError::Length { location, first, wanted, found });
        }
        Ok(bytes)
    }
}

fn get(client: &Client, location: &S3Location, version_id: Option<&str>) -> GetObjectFluentBuilder {
    client
        .get_object()
        .bucket(&location.bucket)
        .key(&location.key)
        .set_version_id(version_id.map(str::to_owned))
}

async fn retried<T, F>(call: impl Fn() -> F) -> Result<T, ObjectError>
where
    F: Future<Output = Result<T, ObjectError>>,
{
    let mut pause = FIRST_PAUSE;
    for _ in 1..TRIES {
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

fn status<E>(err: &SdkError<E, aws_sdk_s3::config::http::HttpResponse>) -> Option<u16> {
    err.raw_response().map(|response| response.status().as_u16())
}

fn describe<E>(
    location: &S3Location,
    version_id: Option<&str>,
    err: SdkError<E, aws_sdk_s3::config::http::HttpResponse>,
) -> ObjectError
where
    E: Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    let location = location.clone();
    let code = err.code().map(str::to_owned);
    match status(&err) {
        // Credentials and clocks recover; S3 answers with 400 and 403 for them too.
        Some(400 | 403) if code.as_deref().is_some_and(passes) => {
            ObjectError::Call { location, source: Box::new(err) }
        }
        // 400 is what a malformed version id gets, 405 one that is a delete marker.
        Some(status @ (400 | 403..=405)) => {
            let reason = code.unwrap_or_else(|| format!("HTTP status {status}"));
            let version = version_id.map_or_else(String::new, |id| format!(" version {id}"));
            ObjectError::NotFound { object: format!("{location}{version}"), reason }
        }
        Some(412 | 416) => ObjectError::Changed { location },
        Some(301 | 307) => ObjectError::WrongRegion { location },
        _ => ObjectError::Call { location, source: Box::new(err) },
    }
}

/// Whether a refusal with this code is about the moment, and not about the object.
fn passes(code: &str) -> bool {
    matches!(
        code,
        "ExpiredToken" | "RequestExpired" | "RequestTimeTooSkewed" | "RequestTimeout" | "SlowDown"
    )
}

/// Why an object could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The object's bytes stopped coming.
    #[error("reading {location} was interrupted")]
    Body {
        /// The object.
        location: S3Location,
        /// The SDK's reason.
        source: Box<dyn Error + Send + Sync>,
    },
    /// S3 did not answer, or answered with an error of its own.
    #[error("cannot read {location}")]
    Call {
        /// The object.
        location: S3Location,
        /// The SDK's reason.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The object was replaced while it was read.
    #[error("{location} was replaced while it was read")]
    Changed {
        /// The object.
        location: S3Location,
    },
    /// S3 sent another number of bytes than asked.
    #[error("{found} of {wanted} bytes came from offset {first} of {location}")]
    Length {
        /// The object.
        location: S3Location,
        /// Where the range starts.
        first: u64,
        /// Bytes asked for.
        wanted: u64,
        /// Bytes that came.
        found: u64,
    },
    /// Bucket, key or version do not exist, or may not be read.
    #[error("{object} cannot be found or may not be read ({reason})")]
    NotFound {
        /// The object, with its version when one is asked for.
        object: String,
        /// S3's code: `NoSuchBucket`, `NoSuchKey`, `NoSuchVersion`, `AccessDenied`, …
        reason: String,
    },
    /// A range took too long.
    #[error("a range of {location} did not come within {} s", within.as_secs())]
    Slow {
        /// The object.
        location: S3Location,
        /// How long it was waited for.
        within: Duration,
    },
    /// The bucket lies in another region.
    #[error("the bucket of {location} lies in another region than this parent")]
    WrongRegion {
        /// The object.
        location: S3Location,
    },
}

impl ObjectError {
    /// Which failure the record shows.
    #[must_use]
    pub fn code(&self) -> FailureCode {
        match self {
            Self::NotFound { .. } => FailureCode::EifNotFound,
            _ => FailureCode::EifFetchFailed,
        }
    }

    /// Whether another try may succeed.
    fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Body { .. } | Self::Call { .. } | Self::Length { .. } | Self::Slow { .. }
        )
    }
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
        assert_eq!(object(0).ranges(8), []);
    }

    proptest! {
        #[test]
        fn ranges_cover_every_byte_once(size in 1_u64..10_000, range in 1_u64..1_000) {
            let mut next = 0;
            for Range { first, last } in object(size).ranges(range) {
                prop_assert_eq!(first, next);
                prop_assert!(last >= first && last - first < range);
                next = last + 1;
            }
            prop_assert_eq!(next, size);
        }
    }
}
