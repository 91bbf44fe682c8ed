//! Enclave images for the tests, made by the real builder.
//!
//! The kernel is a few bytes: the stand-in measures it and never boots it. What runs is the
//! responder in the ramdisk, which is real.

use bailey_enclave_image::build::{
    BuildOptions, BuiltImage, Changes, Content, FIXED_BUILD_TIME, Kernel, Profile, WorkloadFile,
    build_image,
};
use bailey_model::manifest::Manifest;
use std::{fs, path::Path, path::PathBuf, sync::LazyLock};
use tempfile::TempDir;

/// An image with its measurements.
pub(crate) struct Image {
    pub(crate) bytes: Vec<u8>,
    /// What the builder wrote beside it.
    pub(crate) manifest: Manifest,
    /// As a record's `expected_pcrs`.
    pub(crate) pcrs: serde_json::Value,
}

/// The image of a responder that behaves.
pub(crate) fn good() -> &'static Image {
    static IMAGE: LazyLock<Image> = LazyLock::new(|| build(&program("keep"), None));
    &IMAGE
}

/// The image of a responder that misbehaves in the given way.
pub(crate) fn rogue(mode: &str) -> Image {
    build(&program("rogue-keep"), Some(("/rogue-mode", mode.as_bytes())))
}

/// An image with a file of 20 MiB that does not compress.
pub(crate) fn large() -> Image {
    let mut word = 1_u64;
    let noise = std::iter::repeat_with(|| {
        // Xorshift, with the shifts of Marsaglia (2003).
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        word.to_le_bytes()
    });
    let noise: Vec<u8> = noise.take(20 * 1_024 * 1_024 / 8).flatten().collect();
    build(&program("keep"), Some(("/noise", &noise)))
}

/// An image whose workload is `test-workload` with these words, reached at these ports.
pub(crate) fn working(words: &[&str], ports: &[u16]) -> Image {
    let argv = ["/app/workload"].iter().chain(words).map(|word| (*word).to_owned()).collect();
    let changes = Changes { argv, ports: ports.to_vec(), ..Changes::default() };
    working_with(changes, &[])
}

/// An image with `test-workload` and these files, and this said of what is started.
pub(crate) fn working_with(changes: Changes, files: &[(&str, &[u8])]) -> Image {
    let binary = fs::read(program("test-workload")).unwrap();
    let content = Content { changes, ..Content::default() };
    let workload = ("/app/workload", binary.as_slice());
    let files: Vec<_> = [workload].into_iter().chain(files.iter().copied()).collect();
    build_with(&program("keep"), &files, content)
}

/// An image of the example service, which listens at this port of the enclave.
pub(crate) fn attested_https(port: u16) -> Image {
    let argv = vec!["/app/attested-https".to_owned(), port.to_string()];
    let changes = Changes { argv, ports: vec![port], ..Changes::default() };
    let binary = fs::read(program("attested-https")).unwrap();
    let content = Content { changes, ..Content::default() };
    build_with(&program("keep"), &[("/app/attested-https", &binary)], content)
}

fn build(keep: &Path, file: Option<(&str, &[u8])>) -> Image {
    build_with(keep, file.as_slice(), Content::default())
}

fn build_with(keep: &Path, files: &[(&str, &[u8])], content: Content) -> Image {
    let dir = TempDir::new().unwrap();
    let path = |name: &str, contents: &[u8]| -> PathBuf {
        let path = dir.path().join(name);
        fs::write(&path, contents).unwrap();
        path
    };
    let file = |(number, (name, contents)): (usize, &(&str, &[u8]))| WorkloadFile {
        path: name.parse().unwrap(),
        source: path(&number.to_string(), contents),
        mode: if path_is_program(name) { 0o755 } else { 0o644 },
    };
    let workload = files.iter().enumerate().map(file);
    let options = BuildOptions {
        kernel: Kernel {
            profile: Profile::Local,
            image: path("kernel", b"a kernel that nobody boots"),
            version: "6.12".to_owned(),
            modules: Vec::new(),
        },
        cmdline: Profile::Local.default_cmdline().to_owned(),
        keep: keep.to_owned(),
        workload: workload.collect(),
        content,
        name: "test".to_owned(),
        version: "1".to_owned(),
        build_time: FIXED_BUILD_TIME.to_owned(),
        output: dir.path().join("image.eif"),
    };
    let BuiltImage { measurement, manifest } = build_image(&options).unwrap();
    let pcrs = serde_json::json!({
        "0": measurement.pcr0.to_string(),
        "1": measurement.pcr1.to_string(),
        "2": measurement.pcr2.to_string(),
    });
    Image { bytes: fs::read(&options.output).unwrap(), manifest, pcrs }
}

fn path_is_program(name: &str) -> bool {
    name.starts_with("/app/")
}

/// A program that was built beside the tests.
pub(crate) fn program(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let dir = tests.parent().and_then(Path::parent).unwrap();
    let program = dir.join(name);
    assert!(program.exists(), "{} is not built; run `make test`", program.display());
    program
}
