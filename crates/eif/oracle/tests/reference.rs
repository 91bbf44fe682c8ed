//! Images written by either side measure and read the same on both.

use aws_nitro_enclaves_image_format::{
    defs::{EifBuildInfo, EifIdentityInfo},
    utils::{EifBuilder, SignKeyData, eif_reader::EifReader},
};
use bailey_eif::{
    Architecture, BuildMetadata, ImageMetadata, ImageParts, ImageSigner, MAX_SIGNATURE_LEN,
    Measurement, SectionKind, SectionReader, append_signature, check_signature, measure, write,
};
use openssl::{
    asn1::Asn1Time,
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::PKey,
    x509::{X509, X509NameBuilder},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha384};
use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    path::{Path, PathBuf},
};
use tempfile::TempDir;

const CMDLINE: &str = "console=ttyS0 panic=30";

/// The parts of an image, as files, because the reference reads files.
struct Parts {
    dir: TempDir,
    ramdisks: usize,
}

impl Parts {
    /// Sizes that are no multiples of anything, so that blocks and chunks do not line up.
    fn new(ramdisks: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("kernel"), bytes(700_001, 1)).unwrap();
        for index in 0..ramdisks {
            fs::write(dir.path().join(format!("ramdisk{index}")), bytes(300_007, index + 2))
                .unwrap();
        }
        Self { dir, ramdisks }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn ramdisks(&self) -> Vec<PathBuf> {
        (0..self.ramdisks).map(|index| self.path(&format!("ramdisk{index}"))).collect()
    }

    fn written_by_us(&self) -> PathBuf {
        let open = |path: PathBuf| File::open(path).unwrap();
        let build = BuildMetadata {
            build_time: "1970-01-01T00:00:00+00:00".into(),
            build_tool: "oracle".into(),
            build_tool_version: "1.0".into(),
            operating_system: "Linux".into(),
            kernel_version: "6.12".into(),
        };
        let metadata = ImageMetadata {
            image_name: "name".into(),
            image_version: "version".into(),
            build_metadata: build,
            docker_info: json!({ "Id": "sha256:0", "Config": { "Env": ["A=1"] } }),
            custom_metadata: Value::Null,
        };
        let parts = ImageParts {
            kernel: open(self.path("kernel")),
            cmdline: CMDLINE,
            ramdisks: self.ramdisks().into_iter().map(open).collect(),
            metadata: &metadata,
            architecture: Architecture::X86_64,
        };
        let path = self.path("ours.eif");
        write(parts, &mut File::create(&path).unwrap()).unwrap();
        path
    }

    /// The image and the measurements that the reference's builder prints.
    fn written_by_reference(
        &self,
        signing: Option<SignKeyData>,
    ) -> (PathBuf, BTreeMap<String, String>) {
        let info = EifIdentityInfo {
            img_name: "name".into(),
            img_version: "version".into(),
            build_info: EifBuildInfo {
                build_time: "1970-01-01T00:00:00+00:00".into(),
                build_tool: "oracle".into(),
                build_tool_version: "1.0".into(),
                img_os: "Linux".into(),
                img_kernel: "6.12".into(),
            },
            docker_info: json!({ "Id": "sha256:0", "Config": { "Env": ["A=1"] } }),
            custom_info: Value::Null,
        };
        let mut builder =
            EifBuilder::new(&self.path("kernel"), CMDLINE.into(), signing, Sha384::new(), 0, info);
        for ramdisk in self.ramdisks() {
            builder.add_ramdisk(&ramdisk);
        }
        let path = self.path("theirs.eif");
        let measurements = builder.write_to(&mut File::create(&path).unwrap());
        (path, measurements)
    }

    /// A self-signed P-384 certificate and its key.
    fn signing(&self) -> SignKeyData {
        let group = EcGroup::from_curve_name(Nid::SECP384R1).unwrap();
        let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        let mut name = X509NameBuilder::new().unwrap();
        name.append_entry_by_text("CN", "oracle").unwrap();
        let name = name.build();
        let mut certificate = X509::builder().unwrap();
        certificate.set_version(2).unwrap();
        certificate.set_subject_name(&name).unwrap();
        certificate.set_issuer_name(&name).unwrap();
        certificate.set_pubkey(&key).unwrap();
        certificate.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
        certificate.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
        certificate.sign(&key, MessageDigest::sha384()).unwrap();
        let (key_path, certificate_path) = (self.path("key.pem"), self.path("certificate.pem"));
        fs::write(&key_path, key.private_key_to_pem_pkcs8().unwrap()).unwrap();
        fs::write(&certificate_path, certificate.build().to_pem().unwrap()).unwrap();
        SignKeyData::new(key_path.to_str().unwrap(), &certificate_path).unwrap()
    }
}

fn bytes(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|i| u8::try_from((i * 31 + seed * 17 + i / 251) % 256).unwrap()).collect()
}

fn ours(image: &Path) -> Measurement {
    measure(File::open(image).unwrap()).unwrap()
}

/// Our measurement under the reference's names.
fn named(measurement: &Measurement) -> BTreeMap<String, String> {
    measurement
        .pcrs()
        .into_iter()
        .map(|(index, pcr)| (format!("PCR{index}"), pcr.to_string()))
        .collect()
}

/// What the reference reads from an image, after its checksum was found right.
fn read_by_reference(image: &Path) -> BTreeMap<String, String> {
    let mut reader = EifReader::from_eif(image.to_str().unwrap().to_owned()).unwrap();
    assert!(reader.check_crc());
    without_algorithm(reader.get_measurements().unwrap())
}

fn without_algorithm(mut measurements: BTreeMap<String, String>) -> BTreeMap<String, String> {
    measurements.remove("HashAlgorithm");
    measurements
}

#[test]
fn the_reference_reads_our_images_as_we_do() {
    for ramdisks in [1, 2, 3] {
        let parts = Parts::new(ramdisks);
        let image = parts.written_by_us();
        assert_eq!(named(&ours(&image)), read_by_reference(&image));
    }
}

#[test]
fn we_measure_the_references_images_as_it_does() {
    for ramdisks in [1, 2, 3] {
        let parts = Parts::new(ramdisks);
        let (image, measurements) = parts.written_by_reference(None);
        assert_eq!(named(&ours(&image)), without_algorithm(measurements));
        assert!(!ours(&image).is_signed());
    }
}

#[test]
fn both_write_the_same_bytes() {
    for ramdisks in [1, 2, 3] {
        let parts = Parts::new(ramdisks);
        let theirs = fs::read(parts.written_by_reference(None).0).unwrap();
        assert!(fs::read(parts.written_by_us()).unwrap() == theirs, "{ramdisks} ramdisks");
    }
}

#[test]
fn a_signed_image_has_the_same_pcr8() {
    let parts = Parts::new(2);
    let (image, measurements) = parts.written_by_reference(Some(parts.signing()));
    let measured = ours(&image);
    assert!(measured.is_signed());
    assert_eq!(named(&measured), without_algorithm(measurements));
    assert_eq!(named(&measured), read_by_reference(&image));
}

/// The body of the image's signature section.
fn signature_of(image: &Path) -> Vec<u8> {
    let mut reader = SectionReader::open(File::open(image).unwrap()).unwrap();
    let section = reader.of_kind(SectionKind::Signature).next().unwrap();
    reader.read(section, MAX_SIGNATURE_LEN).unwrap()
}

#[test]
fn the_reference_accepts_our_signature_and_finds_nothing_else_in_the_image() {
    for ramdisks in [1, 2] {
        let parts = Parts::new(ramdisks);
        // The reference writes the key and the certificate; see `signing`.
        let theirs = parts.written_by_reference(Some(parts.signing())).0;
        let text = |name: &str| fs::read_to_string(parts.path(name)).unwrap();
        let signer = ImageSigner::new(&text("key.pem"), &text("certificate.pem")).unwrap();
        let image = parts.written_by_us();
        let section = signer.section(&ours(&image).pcr0).unwrap();
        let mut file = OpenOptions::new().read(true).write(true).open(&image).unwrap();
        append_signature(&mut file, &section).unwrap();

        let mut reader = EifReader::from_eif(image.to_str().unwrap().to_owned()).unwrap();
        assert!(reader.check_crc());
        let measurements = reader.get_measurements().unwrap();
        reader.get_certificate_info(measurements.clone()).unwrap();
        assert_eq!(reader.sign_check, Some(true));
        assert_eq!(named(&ours(&image)), without_algorithm(measurements));
        // All but the signature itself, which is another each time, and the checksum.
        let (ours, theirs) = (fs::read(&image).unwrap(), fs::read(theirs).unwrap());
        let end = ours.len() - section.len();
        assert!(ours[548..end - 12] == theirs[548..end - 12]);
    }
}

#[test]
fn we_accept_the_references_signature_of_its_image_and_of_no_other() {
    let parts = Parts::new(2);
    let image = parts.written_by_reference(Some(parts.signing())).0;
    let (section, measured) = (signature_of(&image), ours(&image));
    let check = check_signature(&section, &measured.pcr0).unwrap();
    assert!(check.verified);
    assert_eq!(check.subject, "CN=oracle");
    assert!(!check_signature(&section, &measured.pcr1).unwrap().verified);
}
