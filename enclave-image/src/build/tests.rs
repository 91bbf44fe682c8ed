//! Building whole images from small stand-ins for kernel and binary.

use super::{
    BuildError, BuildOptions, Content, FIXED_BUILD_TIME, Kernel, Profile, RamdiskError,
    WorkloadFile, build_image, manifest_path,
};
use bailey_eif::{SectionKind, SectionReader, measure};
use bailey_model::{Pcr, manifest::Manifest};
use flate2::read::GzDecoder;
use sha2::{Digest as _, Sha384};
use std::{
    fs::{self, File},
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
};
use tempfile::TempDir;

/// Inputs of a build, in a directory of their own.
fn inputs(with_workload: bool) -> (TempDir, BuildOptions) {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, contents: &str| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, contents).unwrap();
        path
    };
    file("kernel/vmlinuz", "a kernel");
    file("kernel/config", "#\n# Linux/x86 6.12.0 Kernel Configuration\n#\n");
    file("kernel/modules/order", "b.ko\na.ko\n");
    file("kernel/modules/a.ko", "module a");
    file("kernel/modules/b.ko", "module b");
    let app = WorkloadFile {
        path: "app/server".parse().unwrap(),
        source: file("server", "a server"),
        mode: 0o755,
    };
    let options = BuildOptions {
        kernel: Kernel::find(Profile::Local, &dir.path().join("kernel")).unwrap(),
        cmdline: Profile::Local.default_cmdline().into(),
        keep: file("keep", "a responder"),
        workload: if with_workload { vec![app] } else { Vec::new() },
        content: Content::default(),
        name: "demo".into(),
        version: "1".into(),
        build_time: FIXED_BUILD_TIME.into(),
        output: dir.path().join("demo.eif"),
    };
    (dir, options)
}

/// `mode name -> contents` of each entry of the image's ramdisks.
fn entries(image: &Path) -> Vec<String> {
    let mut reader = SectionReader::open(File::open(image).unwrap()).unwrap();
    let ramdisks: Vec<_> = reader.of_kind(SectionKind::Ramdisk).collect();
    let mut entries = Vec::new();
    for ramdisk in ramdisks {
        let mut archive = GzDecoder::new(reader.body(ramdisk).unwrap());
        loop {
            let mut entry = cpio::newc::Reader::new(&mut archive).unwrap();
            if entry.entry().is_trailer() {
                break;
            }
            let (mut text, mode) = (String::new(), entry.entry().mode());
            entry.read_to_string(&mut text).unwrap();
            let header = entry.entry();
            assert_eq!((header.mtime(), header.uid(), header.gid()), (0, 0, 0));
            entries.push(format!("{mode:o} {} {text}", header.name()).trim_end().to_owned());
            entry.finish().unwrap();
        }
    }
    entries
}

#[test]
fn two_builds_in_two_directories_are_identical() {
    let ((_a, first), (_b, second)) = (inputs(true), inputs(true));
    build_image(&first).unwrap();
    build_image(&second).unwrap();
    assert_eq!(fs::read(&first.output).unwrap(), fs::read(&second.output).unwrap());
    let manifest = |options: &BuildOptions| fs::read(manifest_path(&options.output)).unwrap();
    assert_eq!(manifest(&first), manifest(&second));
}

#[test]
fn the_manifest_says_what_the_file_measures_to() {
    let (_dir, options) = inputs(true);
    let built = build_image(&options).unwrap();
    let bytes = fs::read(&options.output).unwrap();
    let measured = measure(bytes.as_slice()).unwrap();
    assert_eq!(measured, built.measurement);

    let json = fs::read_to_string(manifest_path(&options.output)).unwrap();
    let manifest: Manifest = serde_json::from_str(&json).unwrap();
    assert_eq!(manifest, built.manifest);
    assert_eq!(manifest.measurements.pcr0, measured.pcr0);
    assert_eq!(manifest.eif_sha384, Pcr(Sha384::digest(&bytes).into()));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["measurements"]["PCR2"], measured.pcr2.to_string());
    assert_eq!(json["profile"], "local");
    assert_eq!(json["measurements"].get("PCR8"), None);
}

#[test]
fn the_ramdisks_hold_the_documented_files_in_order() {
    let (_dir, options) = inputs(true);
    build_image(&options).unwrap();
    assert_eq!(
        entries(&options.output),
        [
            "40755 dev",
            "20600 dev/console",
            "40755 etc",
            "40755 etc/bailey",
            "40755 etc/bailey/drivers",
            "100644 etc/bailey/drivers/a.ko module a",
            "100644 etc/bailey/drivers/b.ko module b",
            "100644 etc/bailey/modules /etc/bailey/drivers/b.ko\n/etc/bailey/drivers/a.ko",
            "100644 etc/bailey/profile local",
            "120777 init keep",
            "100755 keep a responder",
            "40755 proc",
            "40755 run",
            "40755 sys",
            "41777 tmp",
            "40755 app",
            "100755 app/server a server",
        ]
    );
}

#[test]
fn the_workload_changes_pcr2_and_leaves_pcr1_alone() {
    let ((_a, plain), (_b, with_workload)) = (inputs(false), inputs(true));
    let plain = build_image(&plain).unwrap().measurement;
    let with_workload = build_image(&with_workload).unwrap().measurement;
    assert_eq!(plain.pcr1, with_workload.pcr1);
    assert_ne!(plain.pcr2, with_workload.pcr2);
    assert_ne!(plain.pcr0, with_workload.pcr0);
}

#[test]
fn a_failed_build_leaves_the_earlier_image_and_no_litter() {
    let (dir, mut options) = inputs(false);
    fs::write(&options.output, "earlier").unwrap();
    options.keep = dir.path().join("absent");
    let before = fs::read_dir(dir.path()).unwrap().count();
    let err = build_image(&options).unwrap_err();
    assert!(matches!(err, BuildError::Ramdisk(RamdiskError::Read { .. })), "{err:?}");
    assert_eq!(fs::read_to_string(&options.output).unwrap(), "earlier");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), before);
}

#[test]
fn everybody_may_read_the_image() {
    let (_dir, options) = inputs(false);
    build_image(&options).unwrap();
    let mode = fs::metadata(&options.output).unwrap().permissions().mode();
    assert_eq!(mode & 0o444, 0o444);
}
