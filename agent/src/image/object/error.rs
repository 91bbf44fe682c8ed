//! Why an object could not be read, and what S3's answers mean.

use aws_sdk_s3::{
    Client,
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};
use bailey_model::{S3Location, failure::FailureCode};
use std::error::Error;

pub(super) fn status<E>(err: &SdkError<E, HttpResponse>) -> Option<u16> {
    err.raw_response().map(|response| response.status().as_u16())
}

/// What an error of the SDK's means for the object.
pub(super) fn describe<E>(
    client: &Client,
    location: &S3Location,
    version_id: Option<&str>,
    err: SdkError<E, HttpResponse>,
) -> ObjectError
where
    E: Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    let location = location.clone();
    let code = err.code().map(str::to_owned);
    let Some(status) = status(&err) else {
        return ObjectError::Call { location, source: Box::new(err) };
    };
    let version = version_id.map_or_else(String::new, |id| format!(" version {id}"));
    let object = format!("{location}{version}");
    if let Some(bucket_region) = elsewhere(client, status, code.as_deref(), &err) {
        let parent_region = region(client);
        return ObjectError::WrongRegion { location, bucket_region, parent_region };
    }
    let reason = code.clone().unwrap_or_else(|| format!("HTTP status {status}"));
    match status {
        // Credentials and clocks recover; S3 answers with 400 and 403 for them too.
        400 | 403 if code.as_deref().is_some_and(passes) => {
            ObjectError::Call { location, source: Box::new(err) }
        }
        403 => ObjectError::AccessDenied { object, reason },
        // 400 is what a malformed version id gets, 405 one that is a delete marker.
        400 | 404 | 405 => ObjectError::NotFound { object, reason },
        412 | 416 => ObjectError::Changed { location },
        _ => ObjectError::Call { location, source: Box::new(err) },
    }
}

fn region(client: &Client) -> String {
    client.config().region().map_or_else(|| "unknown".to_owned(), ToString::to_string)
}

/// The bucket's region when the answer says that it is another one. S3 redirects (301, 307), or
/// refuses a signature that is for the wrong region (400); both name the right one in a header.
fn elsewhere<E>(
    client: &Client,
    status: u16,
    code: Option<&str>,
    err: &SdkError<E, HttpResponse>,
) -> Option<String> {
    let headers = err.raw_response().map(HttpResponse::headers);
    let named = headers.and_then(|headers| headers.get("x-amz-bucket-region"));
    match (status, named) {
        (301 | 307 | 308, _) => Some(named.unwrap_or("another one").to_owned()),
        (400, Some(named)) if named != region(client) => Some(named.to_owned()),
        (400, None) if code == Some("AuthorizationHeaderMalformed") => {
            Some("another one".to_owned())
        }
        _ => None,
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
    /// The parent's role may not read it.
    #[error("{object} may not be read by this parent ({reason})")]
    AccessDenied {
        /// The object, with its version when one is asked for.
        object: String,
        /// S3's code: `AccessDenied`, `InvalidAccessKeyId`, …
        reason: String,
    },
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
    /// Bucket, key or version do not exist.
    #[error("{object} cannot be found ({reason})")]
    NotFound {
        /// The object, with its version when one is asked for.
        object: String,
        /// S3's code: `NoSuchBucket`, `NoSuchKey`, `NoSuchVersion`, …
        reason: String,
    },
    /// The bytes came too slowly, or not at all.
    #[error("the bytes of {location} from offset {first} on did not come in time")]
    Slow {
        /// The object.
        location: S3Location,
        /// Where the range starts.
        first: u64,
    },
    /// The bucket lies in another region.
    #[error("the region of {location} is {bucket_region}, that of this parent {parent_region}")]
    WrongRegion {
        /// The object.
        location: S3Location,
        /// Where the bucket lies by S3's word.
        bucket_region: String,
        /// The region in which it was looked for.
        parent_region: String,
    },
}

impl ObjectError {
    /// Which failure the record shows.
    #[must_use]
    pub fn code(&self) -> FailureCode {
        match self {
            Self::AccessDenied { .. } => FailureCode::EifAccessDenied,
            Self::NotFound { .. } => FailureCode::EifNotFound,
            Self::WrongRegion { .. } => FailureCode::EifWrongRegion,
            Self::Body { .. }
            | Self::Call { .. }
            | Self::Changed { .. }
            | Self::Length { .. }
            | Self::Slow { .. } => FailureCode::EifFetchFailed,
        }
    }

    /// Whether another try may succeed.
    pub(super) fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Body { .. } | Self::Call { .. } | Self::Length { .. } | Self::Slow { .. }
        )
    }
}
