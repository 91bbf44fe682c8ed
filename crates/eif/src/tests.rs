//! Writing, measuring and damaging small images.

mod parallel;

use crate::{
    Architecture, BuildMetadata, EifError, HEADER_LEN, Header, ImageMetadata, ImageParts,
    Measurement, Measurer, Pcr, ReadError, SectionKind, SectionReader, WriteError, measure, write,
};
use proptest::prelude::*;
use sha2::{Digest, Sha384};
use std::io::Cursor;

fn metadata() -> ImageMetadata {
    ImageMetadata {
        image_name: "demo".into(),
        image_version: "1.0".into(),
        build_metadata: BuildMetadata {
            build_time: "1970-01-01T00:00:00+00:00".into(),
            build_tool: "bailey-image".into(),
            build_tool_version: "0.1.0".into(),
            operating_system: "Linux".into(),
            kernel_version: "6.12".into(),
        },
        docker_info: serde_json::Value::Null,
        custom_metadata: serde_json::Value::Null,
    }
}

fn image_of(kernel: &[u8], cmdline: &str, ramdisks: &[&[u8]]) -> Vec<u8> {
    let metadata = metadata();
    let architecture = Architecture::X86_64;
    let parts = ImageParts {
        kernel,
        cmdline,
        ramdisks: ramdisks.to_vec(),
        metadata: &metadata,
        architecture,
    };
    let mut target = Cursor::new(Vec::new());
    write(parts, &mut target).unwrap();
    target.into_inner()
}

fn image() -> Vec<u8> {
    image_of(b"kernel", "console=ttyS0", &[b"first", b"second", b"third"])
}

fn measured(bytes: &[u8]) -> Result<Measurement, EifError> {
    match measure(bytes) {
        Ok(measurement) => Ok(measurement),
        Err(ReadError::Eif(err)) => Err(err),
        Err(ReadError::Io(err)) => panic!("{err}"),
    }
}

fn len64(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap()
}

/// Gives a damaged image a right checksum again, so that the damage itself is found.
fn with_right_crc(mut bytes: Vec<u8>) -> Vec<u8> {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes[..HEADER_LEN - 4]);
    crc.update(&bytes[HEADER_LEN..]);
    bytes[HEADER_LEN - 4..HEADER_LEN].copy_from_slice(&crc.finalize().to_be_bytes());
    bytes
}

/// An image of any sections, valid or not but for its header, table and checksum.
fn raw_image(sections: &[(u16, &[u8])]) -> Vec<u8> {
    let mut offset = len64(&[0; HEADER_LEN]);
    let mut spans = Vec::new();
    let mut body = Vec::new();
    for (kind, bytes) in sections {
        let size = len64(bytes);
        spans.push(crate::SectionSpan { offset, size });
        offset += 12 + size;
        body.extend(kind.to_be_bytes());
        body.extend([0; 2]);
        body.extend(size.to_be_bytes());
        body.extend(*bytes);
    }
    let header = Header {
        architecture: Architecture::X86_64,
        crc32: 0,
        default_memory_bytes: 0,
        default_cpus: 0,
        sections: spans,
    };
    with_right_crc([header.encode(), body].concat())
}

/// The definition, written out: two hashes over everything at once.
fn pcr(parts: &[&[u8]]) -> Pcr {
    let inner = Sha384::digest(parts.concat());
    Pcr(Sha384::digest([&[0; 48][..], &inner].concat()).into())
}

#[test]
fn registers_measure_what_their_definition_says() {
    let measurement = measured(&image()).unwrap();
    let (kernel, cmdline) = (&b"kernel"[..], &b"console=ttyS0"[..]);
    assert_eq!(measurement.pcr0, pcr(&[kernel, cmdline, b"first", b"second", b"third"]));
    assert_eq!(measurement.pcr1, pcr(&[kernel, cmdline, b"first"]));
    assert_eq!(measurement.pcr2, pcr(&[b"second", b"third"]));
    assert_eq!(measurement.pcr8, None);
    assert!(!measurement.is_signed());
    assert_eq!(measurement.pcrs().keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(measurement.size_bytes, len64(&image()));
    assert_eq!(measurement.metadata.unwrap()["BuildMetadata"]["KernelVersion"], "6.12");
}

/// SHA-384 of 48 zero bytes and SHA-384 of nothing, computed with Python's hashlib.
#[test]
fn pcr2_of_an_image_with_one_ramdisk_is_a_known_constant() {
    let measurement = measured(&image_of(b"k", "c", &[b"r"])).unwrap();
    assert_eq!(
        measurement.pcr2.to_string(),
        "21b9efbc184807662e966d34f390821309eeac6802309798826296bf3e8bec7c10edb30948c90ba67310f7b964fc500a"
    );
}

#[test]
fn sections_are_read_back() {
    let mut reader = SectionReader::open(Cursor::new(image())).unwrap();
    let ramdisks: Vec<_> = reader.of_kind(SectionKind::Ramdisk).collect();
    assert_eq!(ramdisks.len(), 3);
    assert_eq!(reader.read(ramdisks[1], 6).unwrap(), b"second");
    assert!(matches!(
        reader.read(ramdisks[1], 5),
        Err(ReadError::Eif(EifError::SectionTooLarge { size: 6, limit: 5, .. }))
    ));
    assert_eq!(reader.sections(), measured(&image()).unwrap().sections);
}

#[test]
fn a_section_reader_tells_a_cut_file_from_another_file() {
    let open = |bytes: &[u8]| match SectionReader::open(Cursor::new(bytes.to_vec())) {
        Err(ReadError::Eif(err)) => err,
        other => panic!("{other:?}"),
    };
    assert!(matches!(open(b"hello"), EifError::NotAnEif));
    assert!(matches!(open(b".ei"), EifError::Truncated { at: 3, wanted: 548 }));
    assert!(matches!(open(&image()[..550]), EifError::Truncated { at: 550, wanted: 560 }));
}

#[test]
fn the_stated_size_is_known_once_the_header_is() {
    let bytes = image();
    let mut measurer = Measurer::new();
    measurer.push(&bytes[..HEADER_LEN - 1]).unwrap();
    assert_eq!(measurer.stated_size(), None);
    measurer.push(&bytes[HEADER_LEN - 1..HEADER_LEN]).unwrap();
    assert_eq!(measurer.stated_size(), Some(len64(&bytes)));
}

#[test]
fn another_file_is_refused_at_its_first_bytes() {
    assert!(matches!(Measurer::new().push(b"<?xml"), Err(EifError::NotAnEif)));
}

#[test]
fn after_an_error_nothing_is_accepted() {
    let mut measurer = Measurer::new();
    assert!(measurer.push(b"x").is_err());
    assert!(matches!(measurer.push(b".eif"), Err(EifError::AlreadyFailed)));
    assert!(matches!(measurer.finish(), Err(EifError::AlreadyFailed)));
}

#[test]
fn bytes_after_the_image_are_refused() {
    let mut bytes = image();
    let at = len64(&bytes);
    bytes.push(0);
    assert!(matches!(measured(&bytes), Err(EifError::TrailingBytes { at: found }) if found == at));
}

#[test]
fn another_version_is_named() {
    let mut bytes = image();
    bytes[5] = 3;
    assert!(matches!(
        measured(&with_right_crc(bytes)),
        Err(EifError::UnsupportedVersion { found: 3 })
    ));
}

#[test]
fn more_sections_than_the_table_holds_are_refused() {
    let mut bytes = image();
    bytes[26..28].copy_from_slice(&33_u16.to_be_bytes());
    assert!(matches!(
        measured(&with_right_crc(bytes)),
        Err(EifError::TooManySections { found: 33 })
    ));
}

#[test]
fn a_size_beyond_all_files_neither_overflows_nor_allocates() {
    let mut bytes = image();
    // The size of the first section, the kernel, follows the 32 offsets.
    bytes[284..292].copy_from_slice(&u64::MAX.to_be_bytes());
    assert!(matches!(measured(&bytes), Err(EifError::SizeOverflow { index: 0 })));
    bytes[284..292].copy_from_slice(&(1_u64 << 40).to_be_bytes());
    assert!(matches!(measured(&bytes), Err(EifError::SectionOffset { index: 1, .. })));
}

#[test]
fn a_section_that_contradicts_the_table_is_refused() {
    let mut bytes = image();
    bytes[HEADER_LEN + 11] += 1;
    assert!(matches!(
        measured(&with_right_crc(bytes)),
        Err(EifError::SectionMismatch { index: 0, stated: 6, found: 7 })
    ));
}

#[test]
fn layouts_that_leave_a_register_undefined_are_refused() {
    let of = |sections: &[(u16, &[u8])]| measured(&raw_image(sections)).unwrap_err();
    let unknown = of(&[(1, b"k"), (9, b"")]);
    assert!(matches!(unknown, EifError::UnknownSection { index: 1, kind: 9 }));
    let twice = of(&[(1, b"k"), (1, b"k")]);
    assert!(matches!(twice, EifError::DuplicateSection { index: 1, kind: SectionKind::Kernel }));
    let late = of(&[(1, b"k"), (3, b"r"), (2, b"c")]);
    assert!(matches!(late, EifError::SectionOrder { index: 2, kind: SectionKind::Cmdline }));
    let diskless = of(&[(1, b"k"), (2, b"c")]);
    assert!(matches!(diskless, EifError::MissingSection { kind: SectionKind::Ramdisk }));
    let empty = of(&[]);
    assert!(matches!(empty, EifError::MissingSection { kind: SectionKind::Kernel }));
}

#[test]
fn sections_kept_in_memory_are_bounded() {
    let large = vec![b' '; 256 * 1024 + 1];
    let err = measured(&raw_image(&[(1, b"k"), (2, b"c"), (5, &large)])).unwrap_err();
    assert!(matches!(
        err,
        EifError::SectionTooLarge { kind: SectionKind::Metadata, size: 262_145, limit: 262_144 }
    ));
}

#[test]
fn broken_metadata_and_signatures_are_told_from_a_broken_file() {
    let with = |section| measured(&raw_image(&[(1, b"k"), (2, b"c"), (3, b"r"), section]));
    assert!(matches!(with((5, b"{")), Err(EifError::Metadata { .. })));
    assert!(matches!(with((4, b"\xff")), Err(EifError::Signature { .. })));
}

#[test]
fn a_writer_refuses_what_could_not_be_booted() {
    let metadata = metadata();
    let attempt = |cmdline, count| {
        let parts = ImageParts {
            kernel: &b"k"[..],
            cmdline,
            ramdisks: vec![&b"r"[..]; count],
            metadata: &metadata,
            architecture: Architecture::Aarch64,
        };
        write(parts, &mut Cursor::new(Vec::new()))
    };
    assert!(matches!(attempt("a", 0), Err(WriteError::RamdiskCount { found: 0 })));
    assert!(matches!(attempt("a", 30), Err(WriteError::RamdiskCount { found: 30 })));
    assert!(matches!(attempt("a\0b", 1), Err(WriteError::CmdlineZero)));
    attempt("a", 29).unwrap();
}

proptest! {
    #[test]
    fn what_was_written_measures_the_same_however_it_is_pushed(
        kernel in prop::collection::vec(any::<u8>(), 0..200),
        cmdline in "[a-z=]{0,20}",
        ramdisks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..5),
        sizes in prop::collection::vec(1_usize..300, 1..20),
    ) {
        let parts: Vec<&[u8]> = ramdisks.iter().map(Vec::as_slice).collect();
        let bytes = image_of(&kernel, &cmdline, &parts);
        let whole = measured(&bytes).unwrap();
        let first = [&kernel[..], cmdline.as_bytes()];
        prop_assert_eq!(whole.pcr0, pcr(&[&first[..], &parts].concat()));
        prop_assert_eq!(whole.pcr1, pcr(&[&first[..], &parts[..1]].concat()));
        prop_assert_eq!(whole.pcr2, pcr(&parts[1..]));

        let mut measurer = Measurer::new();
        let mut rest = bytes.as_slice();
        for size in sizes.iter().cycle() {
            let (piece, after) = rest.split_at((*size).min(rest.len()));
            measurer.push(piece).unwrap();
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(measurer.finish().unwrap(), whole);
    }

    #[test]
    fn random_bytes_never_make_the_measurer_panic(bytes in prop::collection::vec(any::<u8>(), 0..700)) {
        let _ = measured(&bytes);
        let _ = measured(&[b".eif\0\x04", bytes.as_slice()].concat());
    }
}

#[test]
fn every_prefix_is_truncated() {
    let bytes = image();
    for end in 0..bytes.len() {
        let err = measured(&bytes[..end]).unwrap_err();
        assert!(
            matches!(err, EifError::Truncated { at, .. } if usize::try_from(at) == Ok(end)),
            "{end}: {err}"
        );
    }
}

#[test]
fn every_flipped_bit_is_found() {
    let bytes = image();
    for position in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[position / 8] ^= 1 << (position % 8);
        measured(&damaged).unwrap_err();
    }
}
