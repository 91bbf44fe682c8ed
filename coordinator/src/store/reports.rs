//! The bucket of attestation reports: written once, never changed.

use super::StoreError;
use aws_sdk_s3::{Client, error::ProvideErrorMetadata, primitives::ByteStream};

/// The reports' bucket.
#[derive(Clone, Debug)]
pub struct Reports {
    client: Client,
    bucket: String,
}

impl Reports {
    /// The reports in `bucket`.
    #[must_use]
    pub fn new(client: Client, bucket: String) -> Self {
        Self { client, bucket }
    }

    /// Stores a report; storing the same again changes nothing.
    pub async fn store(&self, key: &str, report: &str) -> Result<(), StoreError> {
        let place = format!("s3://{}/{key}", self.bucket);
        let result = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(key)
            .if_none_match("*")
            .content_type("application/json")
            .body(ByteStream::from(report.as_bytes().to_vec()))
            .send()
            .await;
        match result {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("PreconditionFailed") => {
                self.expect(key, report, place).await
            }
            Err(error) => Err(StoreError::call("write", place)(error)),
        }
    }

    /// Checks that what is stored is `report`.
    async fn expect(&self, key: &str, report: &str, place: String) -> Result<(), StoreError> {
        let object = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(key)
            .send()
            .await
            .map_err(StoreError::call("read", &place))?;
        let stored =
            object.body.collect().await.map_err(StoreError::call("read", &place))?.into_bytes();
        if stored.as_ref() == report.as_bytes() {
            Ok(())
        } else {
            Err(StoreError::ReportConflict { place })
        }
    }
}
