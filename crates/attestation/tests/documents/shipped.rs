//! What packages that this crate depends on ship as test data: read where cargo has unpacked them.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

/// When AWS's module made [`document`]: 2025-01-06 16:07:05 UTC, in milliseconds since the Unix
/// epoch; the document itself says how many milliseconds later.
pub(crate) const MADE_MS: u64 = 1_736_179_625_000;

/// A document that AWS's root signed.
pub(crate) fn document() -> Vec<u8> {
    fs::read(package("nitro_attest").join("tests/fixtures/attestation.cose")).unwrap()
}

/// Where cargo has unpacked a package that this crate depends on, wherever its home is.
fn package(name: &str) -> PathBuf {
    let output = cargo(&["metadata", "--format-version=1", "--filter-platform", &host()]);
    let metadata: serde_json::Value = serde_json::from_str(&output).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let manifest = packages
        .iter()
        .find(|package| package["name"] == name)
        .and_then(|package| package["manifest_path"].as_str())
        .unwrap();
    PathBuf::from(manifest).parent().unwrap().to_owned()
}

/// The platform that cargo runs on; packages for others may not have been fetched.
fn host() -> String {
    let version = cargo(&["-vV"]);
    version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned()
}

fn cargo(arguments: &[&str]) -> String {
    // Cargo names itself to the programs that it runs.
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        // The benchmark runs by another clock, under which a compiler that cargo asks may hang.
        .env_remove("LD_PRELOAD")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
