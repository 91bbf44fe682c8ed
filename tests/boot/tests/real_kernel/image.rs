//! The image that is booted: everything in it is real, and it is signed.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bailey_eif::{HEADER_LEN, Header, Measurement, SECTION_HEADER_LEN, SectionSpan};
use bailey_simulated_nsm::Authority;
use ciborium::cbor;

/// The kind of a signature section, and where a header keeps the file's checksum: in its last 4 bytes.
const SIGNATURE: u16 = 4;
const CHECKSUM: usize = HEADER_LEN - 4;

/// Has `bailey image build` make an image with two ramdisks in `directory`, and signs it as far as PCR8
/// is concerned.
pub(crate) fn build(directory: &Path) -> (PathBuf, Measurement) {
    let greeting = directory.join("greeting");
    fs::write(&greeting, "hello from the second ramdisk\n").unwrap();
    let unsigned = directory.join("unsigned.eif");
    // Built beside the tests, like every program.
    let built = Command::new(Path::new(env!("CARGO_BIN_EXE_enclave-vm")).with_file_name("bailey"))
        .args(["image", "build", "--profile", "local", "--name", "booted"])
        .arg("--kernel-dir")
        .arg(tool("BAILEY_KERNEL"))
        .arg("--keep")
        .arg(tool("BAILEY_KEEP"))
        .arg("--add")
        .arg(format!("/greeting={}", greeting.display()))
        .arg("--output")
        .arg(&unsigned)
        .output()
        .unwrap();
    assert!(built.status.success(), "{built:?}");
    let signed = directory.join("signed.eif");
    fs::write(&signed, with_signature(&fs::read(&unsigned).unwrap())).unwrap();
    let measured = bailey_eif::measure(fs::File::open(&signed).unwrap()).unwrap();
    (signed, measured)
}

/// Where scripts/test-boot says that a tool is.
pub(crate) fn tool(variable: &str) -> PathBuf {
    env::var_os(variable)
        .map(PathBuf::from)
        .filter(|path| path.exists())
        .unwrap_or_else(|| panic!("{variable} names nothing; run `make test-boot`"))
}

/// The image with a signature section behind the others. Its certificate is real, and all that PCR8
/// measures; the signature itself, which nobody here reads, is a single byte.
fn with_signature(image: &[u8]) -> Vec<u8> {
    let certificate = Authority::generate().unwrap().to_pem().certificate.into_bytes();
    let section =
        cbor!([{ "signing_certificate" => certificate, "signature" => &[1_u8][..] }]).unwrap();
    let mut body = Vec::new();
    ciborium::into_writer(&section, &mut body).unwrap();
    let size = u64::try_from(body.len()).unwrap();

    let (header, sections) = image.split_first_chunk::<HEADER_LEN>().unwrap();
    let mut header = Header::parse(header).unwrap();
    header.sections.push(SectionSpan { offset: u64::try_from(image.len()).unwrap(), size });
    let mut signed = header.encode();
    signed.extend(sections);
    signed.extend(SIGNATURE.to_be_bytes());
    signed.extend([0; 2]);
    signed.extend(size.to_be_bytes());
    assert_eq!(signed.len(), image.len() + SECTION_HEADER_LEN);
    signed.extend(body);

    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&signed[..CHECKSUM]);
    checksum.update(&signed[HEADER_LEN..]);
    signed[CHECKSUM..HEADER_LEN].copy_from_slice(&checksum.finalize().to_be_bytes());
    signed
}
