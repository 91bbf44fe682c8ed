//! The release: what `scripts/dist` packs, from the programs of the development build.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a release that cannot be made has failed its test"
)]

use bailey_local_cloud::local::Options;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Where the programs of this build are.
fn programs() -> PathBuf {
    Options::find().unwrap().binaries.agent.parent().unwrap().to_owned()
}

fn programs_for_images() -> PathBuf {
    programs().join("../x86_64-unknown-linux-gnu/release")
}

fn pack(output: &Path, options: &[&str]) -> Output {
    Command::new("python3")
        .arg(repository().join("packaging/pack.py"))
        .args(["--programs".as_ref(), programs().as_os_str()])
        .args(["--static".as_ref(), programs_for_images().as_os_str()])
        .args(["--output".as_ref(), output.as_os_str()])
        .args(["--compression", "1"])
        .args(options)
        .output()
        .unwrap()
}

fn unpack(archive: &Path, to: &Path) {
    let done = Command::new("tar").arg("xzf").arg(archive).arg("-C").arg(to).status().unwrap();
    assert!(done.success());
}

#[test]
fn archives_of_the_same_programs_are_the_same_bytes_and_hold_what_they_should() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    for output in [&one, &two] {
        let packed = pack(output, &[]);
        assert!(packed.status.success(), "{packed:?}");
    }
    let sums = fs::read_to_string(one.join("SHA256SUMS")).unwrap();
    assert_eq!(fs::read_to_string(two.join("SHA256SUMS")).unwrap(), sums);
    let names: Vec<_> = sums.lines().map(|line| line.split_once("  ").unwrap()).collect();
    for (sum, name) in &names {
        for output in [&one, &two] {
            let bytes = fs::read(output.join(name)).unwrap();
            assert_eq!(hex::encode(Sha256::digest(bytes)), *sum, "{name}");
        }
    }
    let names: Vec<_> = names.iter().map(|(_, name)| *name).collect();
    for name in
        ["agent.tar.gz", "bailey.tar.gz", "coordinator.tar.gz", "enclave.tar.gz", "agent.cdx.json"]
    {
        assert!(names.contains(&name), "{names:?}");
    }
    assert!(names.iter().any(|name| name.starts_with("coordinator-lambda-")), "{names:?}");

    // What the parent's image is made of runs from where it was unpacked.
    unpack(&one.join("agent.tar.gz"), dir.path());
    let version = env!("CARGO_PKG_VERSION");
    let top = format!("bailey-agent-{version}-{}", std::env::consts::ARCH);
    let said =
        Command::new(dir.path().join(&top).join("bin/bailey-agent")).arg("--version").output();
    assert_eq!(
        String::from_utf8(said.unwrap().stdout).unwrap(),
        format!("bailey-agent {version}\n")
    );
    let said = Command::new(dir.path().join(&top).join("ami/provision")).arg("--help").output();
    assert!(said.unwrap().status.success());
    assert!(dir.path().join(&top).join("systemd/bailey-agent.service").exists());

    // What goes into images needs nothing that an image lacks.
    unpack(&one.join("enclave.tar.gz"), dir.path());
    let top = format!("bailey-enclave-image-{version}-{}", std::env::consts::ARCH);
    for program in ["keep", "keep-kms"] {
        let mut said = Command::new(dir.path().join(&top).join("bin").join(program));
        let said = said.arg("--version");
        let said = said.output().unwrap();
        assert_eq!(String::from_utf8(said.stdout).unwrap(), format!("{program} {version}\n"));
    }

    // The SBOM names what is linked, with its checksum, and nothing of the tests.
    let sbom = fs::read_to_string(one.join("agent.cdx.json")).unwrap();
    let sbom: Value = serde_json::from_str(&sbom).unwrap();
    let components = sbom["components"].as_array().unwrap();
    let component = |name: &str| components.iter().find(|it| it["name"] == name);
    let aws_lc = component("aws-lc-rs").unwrap();
    assert_eq!(aws_lc["hashes"][0]["content"].as_str().unwrap().len(), 64);
    assert!(component("proptest").is_none());
}

#[test]
fn a_program_that_needs_a_newer_glibc_than_there_is_is_not_packed() {
    let dir = tempfile::tempdir().unwrap();
    let packed = pack(&dir.path().join("out"), &["--most-glibc", "2.17"]);
    let said = String::from_utf8_lossy(&packed.stderr);
    assert!(!packed.status.success() && said.contains("at most GLIBC_2.17"), "{said}");
    assert!(!dir.path().join("out").exists());
}

#[test]
fn a_program_for_images_that_needs_a_c_library_is_not_packed() {
    let dir = tempfile::tempdir().unwrap();
    let dynamic = dir.path().join("static");
    fs::create_dir(&dynamic).unwrap();
    for program in ["keep", "keep-kms"] {
        symlink(programs().join("bailey"), dynamic.join(program)).unwrap();
    }
    let packed = pack(&dir.path().join("out"), &["--static", dynamic.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&packed.stderr);
    assert!(!packed.status.success() && said.contains("is a dynamic program"), "{said}");
}

#[test]
fn what_lambda_starts_becomes_the_coordinator_with_the_functions_settings() {
    let dir = tempfile::tempdir().unwrap();
    let key = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----";
    // As the archive has them: beside each other.
    fs::copy(repository().join("coordinator/lambda/bootstrap"), dir.path().join("bootstrap"))
        .unwrap();
    symlink(programs().join("bailey-coordinator"), dir.path().join("bailey-coordinator")).unwrap();
    let bootstrap = || {
        let mut command = Command::new(dir.path().join("bootstrap"));
        command.env("BAILEY_CONFIGURATION_DIR", dir.path().join("bailey"));
        command.env_remove("BAILEY_COORDINATOR_TOML");
        command
    };
    let ended = bootstrap()
        .env("BAILEY_COORDINATOR_TOML", "deployment = \"a\"\nno_such_key = 1\n")
        .env("BAILEY_MANIFEST_KEY_0", key)
        .output()
        .unwrap();
    // The coordinator itself says so, of the file that was written for it.
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("bailey/coordinator.toml") && said.contains("no_such_key"), "{said}");
    let written = fs::read_to_string(dir.path().join("bailey/BAILEY_MANIFEST_KEY_0.pem")).unwrap();
    assert_eq!(written, key);

    let ended = bootstrap().output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success() && said.contains("BAILEY_COORDINATOR_TOML"), "{said}");
}
