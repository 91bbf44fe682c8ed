//! An image on its way to S3.
//!
//! A large file goes up in parts, which become an object all at once when everything else is in
//! place. S3 is told the checksum of the bytes that were measured, and refuses others.

use crate::{call_error::CallError, exit::Advise};
use aws_sdk_s3::{
    Client,
    config::{Builder, timeout::TimeoutConfig},
    error::{ProvideErrorMetadata, SdkError},
    types::{ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart},
};
use aws_smithy_checksums::http::HttpChecksum;
use bailey_model::S3Location;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use std::{
    error::Error,
    fmt::Debug,
    fs::File,
    io::{self, Read},
    path::PathBuf,
    time::Duration,
};

/// Parts of this size keep the number of calls low, and another try cheap; S3 takes 5 MiB to 5 GiB.
const PART_BYTES: u64 = 16 * 1_024 * 1_024;
/// S3 takes no more parts than this.
const MAX_PARTS: u64 = 10_000;
/// As many connections as fill a usual line.
const IN_FLIGHT: usize = 4;
/// A part takes as long at 0.25 Mbit/s.
const PART_TIMEOUT: Duration = Duration::from_mins(10);

/// CRC-64/NVME in base64, as S3 writes it: the one that S3 computes over whole objects whatever
/// their parts are.
pub(crate) struct Crc64(Box<dyn HttpChecksum>);

impl Crc64 {
    pub(crate) fn new() -> Self {
        Self(aws_smithy_checksums::ChecksumAlgorithm::Crc64Nvme.into_impl())
    }

    pub(crate) fn finish(self) -> String {
        STANDARD.encode(self.0.finalize())
    }
}

/// Computes the checksum of what is read through it.
pub(crate) struct Checked<'a, R> {
    pub(crate) source: R,
    pub(crate) crc: &'a mut Crc64,
}

impl<R: Read> Read for Checked<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.crc.0.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

/// A file that is to become an object.
#[derive(Debug)]
pub(crate) struct Upload<'a> {
    pub(crate) client: &'a Client,
    pub(crate) file: PathBuf,
    pub(crate) to: &'a S3Location,
    pub(crate) size_bytes: u64,
    /// What the bytes must add up to.
    pub(crate) crc64: String,
}

/// Everything that S3 needs to make the object.
#[derive(Debug)]
pub(crate) enum Staged {
    /// A small file, in memory.
    Bytes(Vec<u8>),
    /// The parts of a large one, in S3.
    Parts { upload_id: String, parts: Vec<CompletedPart> },
}

impl Upload<'_> {
    /// Brings the bytes to where they need nothing but a name.
    pub(crate) async fn stage(&self) -> Result<Staged, UploadError> {
        let mut file = File::open(&self.file).map_err(|source| self.unreadable(source))?;
        if self.size_bytes <= PART_BYTES {
            let mut crc = Crc64::new();
            let bytes = self.next(&mut file, PART_BYTES, &mut crc)?;
            self.check(crc)?;
            return Ok(Staged::Bytes(bytes));
        }
        let S3Location { bucket, key } = self.to;
        let created = self.client.create_multipart_upload().bucket(bucket).key(key);
        let created = created
            .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
            .checksum_type(ChecksumType::FullObject);
        let created = created.send().await.map_err(|err| self.refused(err))?;
        let upload_id = created.upload_id.unwrap_or_default();
        match self.send_parts(&mut file, &upload_id).await {
            Ok(parts) => Ok(Staged::Parts { upload_id, parts }),
            Err(err) => {
                self.abandon(Staged::Parts { upload_id, parts: Vec::new() }).await;
                Err(err)
            }
        }
    }

    /// Makes the object; its version, where the bucket has versions.
    pub(crate) async fn finish(&self, staged: Staged) -> Result<Option<String>, UploadError> {
        let S3Location { bucket, key } = self.to;
        let (upload_id, parts) = match staged {
            Staged::Bytes(bytes) => {
                let put = self.client.put_object().bucket(bucket).key(key).body(bytes.into());
                let put = put.checksum_crc64_nvme(&self.crc64).customize();
                let put = put.config_override(patient()).send().await;
                return put.map(|put| put.version_id).map_err(|err| self.refused(err));
            }
            Staged::Parts { upload_id, parts } => (upload_id, parts),
        };
        let all = CompletedMultipartUpload::builder().set_parts(Some(parts.clone())).build();
        let completed = self
            .client
            .complete_multipart_upload()
            .bucket(bucket)
            .key(key)
            .upload_id(&upload_id)
            .multipart_upload(all)
            .checksum_crc64_nvme(&self.crc64)
            .checksum_type(ChecksumType::FullObject)
            .send()
            .await;
        match completed {
            Ok(completed) => Ok(completed.version_id),
            Err(err) => {
                self.abandon(Staged::Parts { upload_id, parts }).await;
                Err(self.refused(err))
            }
        }
    }

    /// Removes what was staged, which S3 would else keep, and charge for.
    pub(crate) async fn abandon(&self, staged: Staged) {
        if let Staged::Parts { upload_id, .. } = staged {
            let S3Location { bucket, key } = self.to;
            let abort = self.client.abort_multipart_upload().bucket(bucket).key(key);
            // The reason for giving up is the one to be told.
            let _ = abort.upload_id(upload_id).send().await;
        }
    }

    async fn send_parts(
        &self,
        file: &mut File,
        upload_id: &str,
    ) -> Result<Vec<CompletedPart>, UploadError> {
        let part_bytes = PART_BYTES.max(self.size_bytes.div_ceil(MAX_PARTS));
        let count = i32::try_from(self.size_bytes.div_ceil(part_bytes)).unwrap_or(i32::MAX);
        let mut crc = Crc64::new();
        let parts = stream::iter(1..=count)
            .map(|number| self.next(file, part_bytes, &mut crc).map(|bytes| (number, bytes)))
            .map_ok(|(number, bytes)| self.send_part(upload_id, number, bytes))
            .try_buffered(IN_FLIGHT)
            .try_collect()
            .await?;
        self.check(crc)?;
        Ok(parts)
    }

    async fn send_part(
        &self,
        upload_id: &str,
        number: i32,
        bytes: Vec<u8>,
    ) -> Result<CompletedPart, UploadError> {
        let S3Location { bucket, key } = self.to;
        let part = self.client.upload_part().bucket(bucket).key(key).upload_id(upload_id);
        let part = part.part_number(number).body(bytes.into());
        let part = part.checksum_algorithm(ChecksumAlgorithm::Crc64Nvme).customize();
        let sent = part.config_override(patient()).send().await.map_err(|err| self.refused(err))?;
        Ok(CompletedPart::builder()
            .part_number(number)
            .set_e_tag(sent.e_tag)
            .set_checksum_crc64_nvme(sent.checksum_crc64_nvme)
            .build())
    }

    /// The file's next bytes, at most `limit`.
    fn next(&self, file: &mut File, limit: u64, crc: &mut Crc64) -> Result<Vec<u8>, UploadError> {
        let mut bytes = Vec::new();
        let source = file.take(limit);
        let read = Checked { source, crc }.read_to_end(&mut bytes);
        read.map_err(|source| self.unreadable(source))?;
        Ok(bytes)
    }

    /// A file that changes while it is published is noticed before it is an object.
    fn check(&self, crc: Crc64) -> Result<(), UploadError> {
        if crc.finish() == self.crc64 {
            return Ok(());
        }
        Err(UploadError::Changed { file: self.file.clone() })
    }

    fn unreadable(&self, source: io::Error) -> UploadError {
        UploadError::Read { file: self.file.clone(), source }
    }

    fn refused<E, R>(&self, err: SdkError<E, R>) -> UploadError
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
        R: Debug + Send + Sync + 'static,
    {
        UploadError::Call { to: self.to.clone(), source: CallError::from_sdk(err) }
    }
}

/// Bodies take longer than the calls for which the usual limits are made.
fn patient() -> Builder {
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(PART_TIMEOUT)
        .operation_timeout(PART_TIMEOUT * 3);
    Builder::new().timeout_config(timeouts.build())
}

/// Writes a small object.
pub(crate) async fn put(
    client: &Client,
    to: &S3Location,
    bytes: Vec<u8>,
) -> Result<(), UploadError> {
    let S3Location { bucket, key } = to;
    let put = client.put_object().bucket(bucket).key(key).content_type("application/json");
    let put = put.body(bytes.into()).send().await;
    put.map(drop)
        .map_err(|err| UploadError::Call { to: to.clone(), source: CallError::from_sdk(err) })
}

/// Why an object was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    /// S3 refused the call or did not answer.
    #[error("cannot write {to}")]
    Call { to: S3Location, source: CallError },
    /// The file is not what it was when it was measured.
    #[error("`{}` changed while it was published", file.display())]
    Changed { file: PathBuf },
    /// The file cannot be read.
    #[error("cannot read `{}`", file.display())]
    Read { file: PathBuf, source: io::Error },
}

impl Advise for UploadError {
    fn advice(&self) -> Option<String> {
        match self {
            Self::Call { source, .. } => Some(source.advice()),
            Self::Changed { .. } => Some("publish it once nobody writes to it any more".to_owned()),
            Self::Read { .. } => None,
        }
    }
}
