//! Objects in S3: reports.

use crate::{CloudOptions, call_error::CallError, exit::Advise};
use aws_sdk_s3::{Client, primitives::ByteStreamError};
use bailey_model::S3Location;
use bailey_runtime::aws;

/// A report is some tens of KiB; whatever is larger is none, and is not read into memory.
pub(crate) const REPORT_LIMIT: usize = 4 * 1_024 * 1_024;

/// S3.
#[derive(Debug)]
pub(crate) struct Objects {
    client: Client,
}

impl Objects {
    /// Prepares a client; the first call shows whether S3 can be reached.
    pub(crate) async fn open(cloud: &CloudOptions) -> Self {
        let config = aws::load(cloud.region.as_deref()).await;
        Self { client: aws::s3(&config) }
    }

    /// The client, for what is written.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Whether there is an object; a call that is refused does not tell.
    pub(crate) async fn exists(&self, location: &S3Location) -> bool {
        let S3Location { bucket, key } = location;
        self.client.head_object().bucket(bucket).key(key).send().await.is_ok()
    }

    /// Reads a whole object of at most [`REPORT_LIMIT`] bytes.
    pub(crate) async fn read(&self, location: &S3Location) -> Result<Vec<u8>, ObjectError> {
        let object = self.client.get_object().bucket(&location.bucket).key(&location.key);
        let mut object = object.send().await.map_err(|error| ObjectError::Call {
            location: location.clone(),
            source: CallError::from_sdk(error),
        })?;
        let mut bytes = Vec::new();
        while let Some(chunk) = object.body.next().await {
            let chunk =
                chunk.map_err(|source| ObjectError::Cut { location: location.clone(), source })?;
            if bytes.len().saturating_add(chunk.len()) > REPORT_LIMIT {
                return Err(ObjectError::TooLarge { location: location.clone() });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// The keys of all objects whose keys begin with `prefix`.
    pub(crate) async fn list(
        &self,
        bucket: &str,
        prefix: &str,
    ) -> Result<Vec<String>, ObjectError> {
        let request = self.client.list_objects_v2().bucket(bucket).prefix(prefix);
        let mut pages = request.into_paginator().send();
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| ObjectError::List {
                place: format!("s3://{bucket}/{prefix}"),
                source: CallError::from_sdk(error),
            })?;
            keys.extend(page.contents.into_iter().flatten().filter_map(|object| object.key));
        }
        Ok(keys)
    }
}

/// Why an object was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ObjectError {
    /// S3 refused the call or did not answer.
    #[error("cannot read {location}")]
    Call { location: S3Location, source: CallError },
    /// The connection ended before the object did.
    #[error("{location} ended early")]
    Cut { location: S3Location, source: ByteStreamError },
    /// S3 refused to list, or did not answer.
    #[error("cannot list {place}")]
    List { place: String, source: CallError },
    /// The object is larger than any report.
    #[error("{location} is larger than {REPORT_LIMIT} bytes, which no report is")]
    TooLarge { location: S3Location },
}

impl Advise for ObjectError {
    fn advice(&self) -> Option<String> {
        match self {
            Self::Call { source, .. } | Self::List { source, .. } => Some(source.advice()),
            Self::Cut { .. } => Some("try again".to_owned()),
            Self::TooLarge { .. } => None,
        }
    }
}
