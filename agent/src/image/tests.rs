//! Fetches from an S3 that stalls, cuts, corrupts, replaces and refuses.

mod s3;

use super::{
    Cache, CacheError, FetchError, LandError, Manner, Object, ObjectError, ProgressBoard, S3Images,
    checksum::ObjectChecksum,
};
use crate::ports::{Cause as _, FetchOrder, Image, Images as _};
use bailey_eif::{Architecture, BuildMetadata, ImageMetadata, ImageParts};
use bailey_model::{Generation, Pcr, failure::FailureCode, hosts::EifSource};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use s3::{Contents, Fault, FaultyS3, Refusal};
use sha2::{Digest as _, Sha384};
use std::{fs, io::Cursor, os::unix::fs::symlink, path::PathBuf, time::Duration};
use tempfile::TempDir;

const RANGE: u64 = 64 * 1_024;

/// An image of a little more than five ranges.
fn eif(seed: u8) -> Vec<u8> {
    let text = || "test".to_owned();
    let build_metadata = BuildMetadata {
        build_time: text(),
        build_tool: text(),
        build_tool_version: text(),
        operating_system: text(),
        kernel_version: text(),
    };
    let metadata = ImageMetadata {
        image_name: text(),
        image_version: text(),
        build_metadata,
        docker_info: serde_json::Value::Null,
        custom_metadata: serde_json::Value::Null,
    };
    let ramdisk: Vec<u8> = (0..150_000_u32).map(|at| at.to_le_bytes()[0] ^ seed).collect();
    let parts = ImageParts {
        kernel: &b"kernel"[..],
        cmdline: "quiet",
        ramdisks: vec![ramdisk.as_slice(), &ramdisk, &ramdisk[..40_000]],
        metadata: &metadata,
        architecture: Architecture::X86_64,
    };
    let mut target = Cursor::new(Vec::new());
    bailey_eif::write(parts, &mut target).unwrap();
    target.into_inner()
}

fn contents(bytes: Vec<u8>, etag: &'static str) -> Contents {
    let mut crc = aws_smithy_checksums::ChecksumAlgorithm::Crc64Nvme.into_impl();
    crc.update(&bytes);
    Contents { checksum: Some(STANDARD.encode(crc.finalize())), bytes, etag }
}

fn without_checksum(contents: Contents) -> Contents {
    Contents { checksum: None, ..contents }
}

struct World {
    directory: TempDir,
    s3: FaultyS3,
    images: S3Images,
    board: ProgressBoard,
}

impl World {
    fn with(contents: Contents) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let s3 = FaultyS3::start(contents);
        let board = ProgressBoard::default();
        let cache = Cache::open(directory.path().to_owned(), u64::MAX).unwrap();
        let mut images = S3Images::new(s3.client(), cache, board.clone());
        images.manner = Manner {
            range_bytes: RANGE,
            first_pause: Duration::from_millis(1),
            ..Manner::default()
        };
        Self { directory, s3, images, board }
    }

    fn holding(bytes: &[u8]) -> Self {
        Self::with(contents(bytes.to_vec(), "\"1\""))
    }

    async fn fetch(&self) -> Result<Image, FetchError> {
        self.images.fetch(order(None)).await
    }

    /// Fetches, and sees to it that what is kept is `wanted` and nothing else.
    async fn fetches(&self, wanted: &[u8]) {
        let image = self.fetch().await.unwrap();
        assert!(fs::read(&image.path).unwrap() == wanted, "other bytes were kept");
        assert_eq!(image.measurements, bailey_eif::measure(wanted).unwrap().pcrs());
        assert_eq!(self.left(), [image.path.file_name().unwrap().to_str().unwrap()]);
    }

    /// The names of the files in the cache.
    fn left(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// Where an interrupted fetch of the object leaves what it has.
    async fn part(&self) -> PathBuf {
        let found = Object::find(&self.images.client, &source(None), self.images.manner).await;
        self.directory.path().join(format!("{}.part", found.unwrap().content_key()))
    }
}

fn source(sha384: Option<Pcr>) -> EifSource {
    EifSource { location: "s3://images/test.eif".parse().unwrap(), version_id: None, sha384 }
}

fn order(sha384: Option<Pcr>) -> FetchOrder {
    FetchOrder {
        enclave_id: "a".parse().unwrap(),
        generation: Generation(1),
        source: source(sha384),
        in_use: Vec::new(),
    }
}

fn all_ranges(size: usize) -> Vec<u64> {
    (0..u64::try_from(size).unwrap()).step_by(RANGE.try_into().unwrap()).collect()
}

#[tokio::test]
async fn an_image_is_read_once_and_then_taken_from_the_cache() {
    let bytes = eif(1);
    let world = World::holding(&bytes);
    world.fetches(&bytes).await;
    assert_eq!(world.s3.asked(), all_ranges(bytes.len()));
    world.fetches(&bytes).await;
    assert_eq!(world.s3.asked(), all_ranges(bytes.len()));
}

#[tokio::test]
async fn a_busy_s3_and_connections_that_end_early_only_cost_time() {
    let bytes = eif(1);
    let world = World::holding(&bytes);
    world.s3.once(0, Fault::Cut);
    world.s3.once(RANGE, Fault::Busy);
    world.s3.once(RANGE, Fault::Cut);
    world.s3.once(3 * RANGE, Fault::Busy);
    world.fetches(&bytes).await;
}

#[tokio::test]
async fn a_connection_that_stalls_is_given_up_for_another() {
    let bytes = eif(1);
    let mut world = World::holding(&bytes);
    // A machine that is too busy for a good answer within this time tries again, and again.
    world.images.manner.stall_deadline = Duration::from_millis(250);
    world.images.manner.tries = 40;
    world.s3.once(0, Fault::Stall);
    world.s3.once(2 * RANGE, Fault::Stall);
    world.fetches(&bytes).await;
}

#[tokio::test]
async fn a_range_that_never_comes_whole_is_the_reason_in_the_end() {
    let world = World::holding(&eif(1));
    world.s3.always(2 * RANGE, Fault::Busy);
    let err = world.fetch().await.unwrap_err();
    assert!(matches!(err, FetchError::Object(ObjectError::Call { .. })), "{err:?}");
    assert_eq!(err.code(), FailureCode::EifFetchFailed);
    let tries = world.s3.asked().into_iter().filter(|first| *first == 2 * RANGE).count();
    assert_eq!(tries, 4);
}

#[tokio::test]
async fn what_a_crash_left_is_gone_on_with() {
    let bytes = eif(1);
    let world = World::holding(&bytes);
    let landed = 100_001;
    fs::write(world.part().await, &bytes[..landed]).unwrap();
    world.fetches(&bytes).await;
    let missing = all_ranges(bytes.len() - landed).into_iter().map(|first| first + 100_001);
    assert_eq!(world.s3.asked(), missing.collect::<Vec<_>>());
}

#[tokio::test]
async fn a_fetch_that_is_given_up_is_gone_on_with_by_the_next() {
    let bytes = eif(1);
    let world = World::holding(&bytes);
    world.s3.once(3 * RANGE, Fault::Stall);
    let until_three_ranges_landed = async {
        let landed = || world.board.progress().first().is_some_and(|f| f.done_bytes >= 3 * RANGE);
        while !landed() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        _ = world.fetch() => panic!("a range does not come"),
        () = until_three_ranges_landed => {}
    }
    let before = world.s3.asked();
    world.fetches(&bytes).await;
    let after = world.s3.asked();
    let count = |asked: &[u64], first| asked.iter().filter(|at| **at == first).count();
    for first in [0, RANGE, 2 * RANGE] {
        assert_eq!(count(&before, first), count(&after, first), "the range at {first}");
    }
}

#[tokio::test]
async fn what_a_crash_left_damaged_is_read_again_from_the_start() {
    let bytes = eif(1);
    for (name, checksum) in [("with", true), ("without", false)] {
        let sound = contents(bytes.clone(), "\"1\"");
        let world = World::with(if checksum { sound } else { without_checksum(sound) });
        let mut damaged = bytes[..200_000].to_vec();
        damaged[150_000] ^= 1;
        fs::write(world.part().await, damaged).unwrap();
        world.fetches(&bytes).await;
        let from_start = world.s3.asked().into_iter().filter(|first| *first == 0).count();
        assert_eq!(from_start, 1, "{name} a checksum of S3's");
    }
}

#[tokio::test]
async fn a_cached_image_that_was_damaged_is_read_again() {
    let bytes = eif(1);
    let world = World::holding(&bytes);
    let path = world.fetch().await.unwrap().path;
    let mut damaged = bytes.clone();
    damaged[bytes.len() / 2] ^= 1;
    fs::write(&path, damaged).unwrap();
    world.fetches(&bytes).await;
    fs::write(&path, &bytes[..1_000]).unwrap();
    world.fetches(&bytes).await;
}

#[tokio::test]
async fn bytes_that_were_corrupted_once_are_read_again() {
    let bytes = eif(1);
    let sound = contents(bytes.clone(), "\"1\"");
    for contents in [sound.clone(), without_checksum(sound)] {
        let world = World::with(contents);
        world.s3.once(2 * RANGE, Fault::Corrupt);
        world.fetches(&bytes).await;
    }
}

#[tokio::test]
async fn bytes_that_are_corrupted_again_are_not_blamed_on_the_image() {
    let world = World::holding(&eif(1));
    world.s3.always(2 * RANGE, Fault::Corrupt);
    let err = world.fetch().await.unwrap_err();
    assert!(matches!(err, FetchError::Land(LandError::Damaged(_))), "{err:?}");
    assert_eq!(err.code(), FailureCode::EifFetchFailed);
    assert_eq!(world.left(), <[String; 0]>::default());
}

#[tokio::test]
async fn a_bad_image_that_s3_vouches_for_is_read_once() {
    let mut bytes = eif(1);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let world = World::holding(&bytes);
    let err = world.fetch().await.unwrap_err();
    assert_eq!(err.code(), FailureCode::EifInvalid);
    assert_eq!(world.s3.asked(), all_ranges(bytes.len()));
    assert_eq!(world.left(), <[String; 0]>::default());
}

#[tokio::test]
async fn an_object_that_is_replaced_meanwhile_is_read_whole_in_its_new_version() {
    let (old, new) = (eif(1), eif(2));
    let world = World::holding(&old);
    world.s3.once(4 * RANGE, Fault::Replace(contents(new.clone(), "\"2\"")));
    world.fetches(&new).await;
}

#[tokio::test]
async fn the_files_hash_is_compared_when_the_record_names_one() {
    let bytes = eif(1);
    let right = Pcr(Sha384::digest(&bytes).into());
    let wrong = Pcr([7; 48]);
    let world = World::holding(&bytes);
    let other = || async { world.images.fetch(order(Some(wrong))).await.unwrap_err() };
    let is_about_the_hash = |err: &FetchError| matches!(err, FetchError::Sha384 { wanted, found } if *wanted == wrong && *found == right);
    assert!(is_about_the_hash(&other().await));
    world.images.fetch(order(Some(right))).await.unwrap();
    let cached = other().await;
    assert!(is_about_the_hash(&cached));
    assert_eq!(cached.code(), FailureCode::MeasurementMismatch);
}

#[tokio::test]
async fn each_refusal_of_s3s_has_its_own_code() {
    let world = World::holding(&eif(1));
    let cases = [
        (403, "AccessDenied", None, FailureCode::EifAccessDenied, "AccessDenied"),
        (403, "ExpiredToken", None, FailureCode::EifFetchFailed, ""),
        (404, "NoSuchKey", None, FailureCode::EifNotFound, "NoSuchKey"),
        (404, "NoSuchBucket", None, FailureCode::EifNotFound, "NoSuchBucket"),
        (301, "PermanentRedirect", Some("eu-west-1"), FailureCode::EifWrongRegion, "eu-west-1"),
        (400, "AuthorizationHeaderMalformed", None, FailureCode::EifWrongRegion, s3::REGION),
        (400, "Anything", Some("eu-west-1"), FailureCode::EifWrongRegion, "eu-west-1"),
        (400, "InvalidArgument", Some(s3::REGION), FailureCode::EifNotFound, "InvalidArgument"),
        (500, "InternalError", None, FailureCode::EifFetchFailed, ""),
    ];
    for (status, code, bucket_region, wanted, says) in cases {
        world.s3.refuse(Refusal { status, code, bucket_region });
        let err = world.fetch().await.unwrap_err();
        assert_eq!(err.code(), wanted, "{status} {code}: {err}");
        assert!(err.to_string().contains(says), "{status} {code}: {err}");
    }
}

#[tokio::test]
async fn a_disk_that_fills_up_is_named_as_the_reason() {
    let world = World::holding(&eif(1));
    symlink("/dev/full", world.part().await).unwrap();
    let err = world.fetch().await.unwrap_err();
    assert!(matches!(err, FetchError::Land(LandError::Write { .. })), "{err:?}");
    assert_eq!(err.code(), FailureCode::HostDiskFull);
    assert_eq!(world.left(), <[String; 0]>::default());
}

#[tokio::test]
async fn a_file_that_cannot_be_made_is_told_from_a_full_disk() {
    let world = World::holding(&eif(1));
    fs::create_dir(world.part().await).unwrap();
    let err = world.fetch().await.unwrap_err();
    assert!(matches!(err, FetchError::Cache(CacheError::Create { .. })), "{err:?}");
    assert_eq!(err.code(), FailureCode::HostDiskUnusable);
}

#[tokio::test]
async fn what_s3_says_about_the_bytes_is_asked_for() {
    let world = World::holding(&eif(1));
    let found = Object::find(&world.images.client, &source(None), world.images.manner).await;
    let checksum: Option<ObjectChecksum> = found.unwrap().checksum;
    assert!(checksum.is_some());
}
