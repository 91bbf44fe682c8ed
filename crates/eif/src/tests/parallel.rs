//! Measuring on several threads yields what measuring on one does.

use super::{image, image_of, measured, raw_image};
use crate::{
    EifError, FileSha384, MeasuredFile, ParallelMeasurer, ReadError, measure_file,
    measure_file_with_sha384,
};
use proptest::prelude::*;
use sha2::{Digest as _, Sha384};
use std::io::{self, Cursor, Read};

/// Pushes `bytes` in pieces of these sizes, again and again.
fn pushed(bytes: &[u8], sizes: &[usize]) -> Result<MeasuredFile, EifError> {
    let mut measurer = ParallelMeasurer::new(FileSha384::Compute);
    let mut rest = bytes;
    for size in sizes.iter().cycle() {
        let (piece, after) = rest.split_at((*size).min(rest.len()));
        measurer.push(piece)?;
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    measurer.finish()
}

/// Errors hold causes that do not compare, so their texts are compared.
fn told<T>(outcome: Result<T, EifError>) -> Result<T, String> {
    outcome.map_err(|err| format!("{err:?}"))
}

#[test]
fn an_image_of_many_chunks_measures_as_on_one_thread() {
    let ramdisk = |seed: u8| -> Vec<u8> {
        (0..1_500_007_u32).map(|at| at.to_le_bytes()[1].wrapping_mul(seed)).collect()
    };
    let bytes = image_of(b"kernel", "quiet", &[&ramdisk(3), &ramdisk(5), &ramdisk(7)]);
    let (measurement, sha384) = measure_file_with_sha384(bytes.as_slice()).unwrap();
    assert_eq!(measurement, measured(&bytes).unwrap());
    assert_eq!(sha384.0, <[u8; 48]>::from(Sha384::digest(&bytes)));
    assert_eq!(measure_file(bytes.as_slice()).unwrap(), measurement);
}

#[test]
fn the_files_hash_is_left_out_unless_it_is_asked_for() {
    let mut measurer = ParallelMeasurer::new(FileSha384::Skip);
    measurer.push(&image()).unwrap();
    assert_eq!(measurer.finish().unwrap().sha384, None);
}

#[test]
fn a_source_that_fails_is_told_from_a_bad_image() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("worn out"))
        }
    }
    let source = Cursor::new(image()).take(100).chain(Broken);
    let err = measure_file(source).unwrap_err();
    assert!(matches!(err, ReadError::Io(source) if source.to_string() == "worn out"));
}

#[test]
fn after_an_error_nothing_is_accepted() {
    let mut measurer = ParallelMeasurer::new(FileSha384::Skip);
    assert!(matches!(measurer.push(b"x"), Err(EifError::NotAnEif)));
    assert!(matches!(measurer.push(b".eif"), Err(EifError::AlreadyFailed)));
    assert!(matches!(measurer.finish(), Err(EifError::AlreadyFailed)));
}

proptest! {
    #[test]
    fn any_split_of_a_good_image_measures_the_same(
        kernel in prop::collection::vec(any::<u8>(), 0..200),
        ramdisks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..5),
        sizes in prop::collection::vec(1_usize..300, 1..20),
    ) {
        let parts: Vec<&[u8]> = ramdisks.iter().map(Vec::as_slice).collect();
        let bytes = image_of(&kernel, "quiet", &parts);
        let file = pushed(&bytes, &sizes).unwrap();
        prop_assert_eq!(file.measurement, measured(&bytes).unwrap());
        prop_assert_eq!(file.sha384.unwrap().0, <[u8; 48]>::from(Sha384::digest(&bytes)));
    }

    #[test]
    fn any_broken_image_fails_for_the_same_reason(
        position in any::<prop::sample::Index>(),
        flip in 1_u8..,
        end in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
        sizes in prop::collection::vec(1_usize..300, 1..20),
    ) {
        let mut bytes = image();
        let position = position.index(bytes.len());
        bytes[position] ^= flip;
        if is_cut {
            bytes.truncate(end.index(bytes.len()) + 1);
        }
        let on_one_thread = told(measured(&bytes));
        prop_assert!(on_one_thread.is_err());
        let file = told(pushed(&bytes, &sizes));
        prop_assert_eq!(file.map(|file| file.measurement), on_one_thread);
    }

    #[test]
    fn any_order_of_sections_is_judged_the_same(
        sections in prop::collection::vec(
            (0_u16..7, prop::collection::vec(any::<u8>(), 0..40)), 0..8,
        ),
        sizes in prop::collection::vec(1_usize..300, 1..5),
    ) {
        let borrowed: Vec<_> = sections.iter().map(|(kind, body)| (*kind, body.as_slice())).collect();
        let bytes = raw_image(&borrowed);
        let file = told(pushed(&bytes, &sizes)).map(|file| file.measurement);
        prop_assert_eq!(file, told(measured(&bytes)));
    }
}
