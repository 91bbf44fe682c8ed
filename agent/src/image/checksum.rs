//! What S3 itself says about an object's bytes.
//!
//! S3 keeps a checksum with every object that was written since the end of 2024, over the whole of
//! it or, for some that were uploaded in parts, over its parts' checksums only
//! (`x-amz-checksum-type`). The former can be compared with what landed on the disk; ranged reads
//! are not checked by the SDK.

use aws_sdk_s3::{operation::head_object::HeadObjectOutput, types::ChecksumType};
use aws_smithy_checksums::{ChecksumAlgorithm, http::HttpChecksum};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::fmt;

/// A checksum over all bytes of an object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct ObjectChecksum {
    algorithm: ChecksumAlgorithm,
    /// In base64, as S3 writes it.
    value: String,
}

impl ObjectChecksum {
    /// The cheapest of those that S3 names; `None` where it names none over the whole object.
    pub(super) fn of(head: &HeadObjectOutput) -> Option<Self> {
        if head.checksum_type() == Some(&ChecksumType::Composite) {
            return None;
        }
        let named = [
            (ChecksumAlgorithm::Crc64Nvme, head.checksum_crc64_nvme()),
            (ChecksumAlgorithm::Crc32c, head.checksum_crc32_c()),
            (ChecksumAlgorithm::Crc32, head.checksum_crc32()),
            (ChecksumAlgorithm::Sha256, head.checksum_sha256()),
        ];
        let (algorithm, value) =
            named.into_iter().find_map(|(algorithm, value)| Some((algorithm, value?)))?;
        // Servers that do not tell the type add the number of parts to a checksum over checksums.
        (!value.contains('-')).then(|| Self { algorithm, value: value.to_owned() })
    }

    /// Starts to compute the same over bytes.
    pub(super) fn tally(self) -> Tally {
        Tally { running: self.algorithm.into_impl(), wanted: self }
    }
}

/// A checksum that is being computed.
pub(super) struct Tally {
    wanted: ObjectChecksum,
    running: Box<dyn HttpChecksum>,
}

impl Tally {
    /// Takes the next bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.running.update(bytes);
    }

    /// Compares what was computed with what S3 says.
    pub(super) fn finish(self) -> Result<(), Mismatch> {
        let Self { wanted: ObjectChecksum { algorithm, value: wanted }, running } = self;
        let found = STANDARD.encode(running.finalize());
        if found == wanted {
            return Ok(());
        }
        Err(Mismatch { algorithm: algorithm.as_str(), wanted, found })
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tally").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

/// The bytes are not those that were uploaded.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[error("the bytes have the {algorithm} checksum {found}, S3 names {wanted}")]
pub struct Mismatch {
    algorithm: &'static str,
    wanted: String,
    found: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_compared_with_the_cheapest_checksum_of_the_whole() {
        // Of "123456789": the check values of the catalogue of CRC algorithms, in base64.
        let head = HeadObjectOutput::builder()
            .checksum_crc64_nvme("rosUhgp5mIg=")
            .checksum_crc32("not looked at")
            .checksum_type(ChecksumType::FullObject)
            .build();
        let checksum = ObjectChecksum::of(&head).unwrap();
        let judged = |bytes: &[u8]| {
            let mut tally = checksum.clone().tally();
            tally.update(bytes);
            tally.finish()
        };
        assert_eq!(judged(b"123456789"), Ok(()));
        let mismatch = judged(b"123456788").unwrap_err();
        assert!(mismatch.to_string().contains("crc64nvme"), "{mismatch}");
    }

    #[test]
    fn a_checksum_over_checksums_says_nothing_about_the_bytes() {
        let composite = HeadObjectOutput::builder()
            .checksum_crc32("AAAAAA==")
            .checksum_type(ChecksumType::Composite);
        assert_eq!(ObjectChecksum::of(&composite.build()), None);
        let counted = HeadObjectOutput::builder().checksum_sha256("AAAA-3");
        assert_eq!(ObjectChecksum::of(&counted.build()), None);
        assert_eq!(ObjectChecksum::of(&HeadObjectOutput::builder().build()), None);
    }
}
