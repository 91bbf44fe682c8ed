//! The images' buckets, of which the coordinator reads signed manifests only.

use super::StoreError;
use aws_sdk_s3::{Client, error::ProvideErrorMetadata as _, primitives::ByteStream};
use bailey_lifecycle::ManifestObject;
use bailey_manifest::MAX_ENVELOPE_BYTES;
use bailey_model::S3Location;

/// The images' buckets.
#[derive(Clone, Debug)]
pub struct Images {
    client: Client,
}

impl Images {
    /// The images that `client` can read.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Reads the signed manifest at `location`, no more of it than shows that it is too long.
    pub async fn manifest(&self, location: &S3Location) -> Result<ManifestObject, StoreError> {
        let S3Location { bucket, key } = location;
        match self.client.get_object().bucket(bucket).key(key).send().await {
            Ok(object) => bounded(object.body, location).await.map(ManifestObject::Found),
            Err(error) => match error.code() {
                Some("NoSuchKey" | "NoSuchBucket") => Ok(ManifestObject::Absent),
                Some("AccessDenied") => Ok(ManifestObject::Denied),
                _ => Err(StoreError::call("read", location.to_string())(error)),
            },
        }
    }
}

async fn bounded(mut body: ByteStream, location: &S3Location) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    while bytes.len() <= MAX_ENVELOPE_BYTES {
        let chunk = body.try_next().await;
        let Some(chunk) = chunk.map_err(StoreError::call("read", location.to_string()))? else {
            break;
        };
        bytes.extend_from_slice(&chunk);
    }
    bytes.truncate(MAX_ENVELOPE_BYTES + 1);
    Ok(bytes)
}
