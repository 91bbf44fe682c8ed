//! The example of enclave-image/README.md, run as it stands there.

use super::enclave::{Enclave, built};
use bailey_nitro_cli_standin::ramdisk::extract;
use serde_json::Value;
use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

/// The shell block after this comment.
const MARK: &str = "<!-- tested: your own app -->\n```sh\n";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn example(file: &str) -> String {
    let text = fs::read_to_string(repository().join(file)).unwrap();
    let (_, after) = text.split_once(MARK).unwrap_or_else(|| panic!("{file} has no example"));
    after.split_once("```").unwrap().0.to_owned()
}

#[test]
fn both_readmes_show_the_same_example_of_at_most_five_lines() {
    let shown = example("README.md");
    assert_eq!(shown, example("enclave-image/README.md"));
    assert!(shown.lines().count() <= 5, "{shown}");
}

/// With `keep` and `bailey` where `make build` puts them, and a program of one's own.
#[test]
fn the_example_makes_an_image_that_runs_ones_own_program() {
    let dir = tempfile::tempdir().unwrap();
    let target = built("..").canonicalize().unwrap();
    let kernel = env::var_os("BAILEY_KERNEL").map(PathBuf::from);
    let kernel = kernel.unwrap_or_else(|| repository().join(".cache/kernel"));
    fs::create_dir(dir.path().join(".cache")).unwrap();
    symlink(kernel, dir.path().join(".cache/kernel")).unwrap();
    symlink(&target, dir.path().join("target")).unwrap();
    let program = target.join("x86_64-unknown-linux-gnu/release/test-workload");
    fs::copy(&program, dir.path().join("server"))
        .unwrap_or_else(|err| panic!("{}: {err}; run scripts/build", program.display()));
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &example("README.md")])
        .current_dir(dir.path())
        .env("PATH", format!("{}:/usr/bin:/bin", target.join("debug").display()))
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");

    let image = dir.path().join("my-app.eif");
    let shown = Command::new(built("bailey"))
        .args(["image", "inspect", "--format", "json"])
        .arg(&image)
        .output()
        .unwrap();
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(
        (&shown["Profile"], &shown["Workload"]["argv"][0]),
        (&"local".into(), &"/server".into())
    );
    let manifest = fs::read(dir.path().join("my-app.eif.manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["measurements"]["PCR0"], shown["Measurements"]["PCR0"]);

    let enclave = Enclave::boot(Path::new("keep"), |root| extract(&image, root).unwrap());
    assert_eq!(enclave.output().told(), ["started 1", "exited 1 exit code 0 again=false"]);
}
