//! The whole system on a real kernel: enclaves are virtual machines that boot the whole image, and nothing
//! else differs. `make test-boot` runs this, for it needs tools of its own and minutes.

use crate::{
    images::program,
    system::{System, options, record, seed_record},
};
use bailey_local_cloud::{local::Record, processes::LiveProcess};
use bailey_model::{manifest::Manifest, report::Report};
use serde_json::{Value, json};
use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};
use tempfile::TempDir;

const IMAGE: &str = "booted.eif";

/// Where scripts/test-boot says that a tool is.
fn tool(variable: &str) -> PathBuf {
    let path = env::var_os(variable).map(PathBuf::from).filter(|path| path.exists());
    path.unwrap_or_else(|| panic!("{variable} names nothing; run `make test-boot`"))
}

/// The stand-in for nitro-cli in its second form, in which enclaves are virtual machines.
fn second_form(dir: &Path) -> PathBuf {
    let script = dir.join("nitro-cli");
    let text = format!(
        "#!/bin/sh\nexport BAILEY_SIM_VM='{}' BAILEY_QEMU='{}'\nexec '{}' \"$@\"\n",
        program("enclave-vm").display(),
        tool("BAILEY_QEMU").display(),
        program("nitro-cli-standin").display(),
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    script
}

/// A cloud of such parents, in whose bucket is an image with a kernel; and that image's measurements.
async fn start(dir: &TempDir) -> (System, Value) {
    let image = tool("BAILEY_TEST_EIF");
    let manifest = fs::read(format!("{}.manifest.json", image.display())).unwrap();
    let measured = serde_json::from_slice::<Manifest>(&manifest).unwrap().measurements;
    let mut options = options(&[]);
    options.binaries.nitro_cli = second_form(dir.path());
    let mut system = System::of(options).await;
    system.cloud.upload_eif(IMAGE, fs::read(&image).unwrap()).await.unwrap();
    system.cloud.start_coordinator().unwrap();
    let pcrs = json!({
        "0": measured.pcr0.to_string(),
        "1": measured.pcr1.to_string(),
        "2": measured.pcr2.to_string(),
    });
    (system, pcrs)
}

/// Checks that a deployed enclave is a machine with a kernel of its own, whose driver found our module.
fn is_a_machine(system: &System, deployed: &Record) {
    let instance = deployed["deployment"]["instance_id"].as_str().unwrap();
    let processes = system.processes_of(instance);
    let names = |name: &str| processes.iter().any(|process| process.command.contains(name));
    assert!(names("qemu-system-x86_64") && names("enclave-vm"), "{processes:?}");
    assert!(!processes.iter().any(LiveProcess::is_responder), "{processes:?}");

    let run = system.state_dir().join("hosts").join(instance).join("run");
    let files = fs::read_dir(run).unwrap().map(|entry| entry.unwrap().path());
    let console = files.into_iter().find(|path| path.extension().is_some_and(|it| it == "console"));
    let console = String::from_utf8_lossy(&fs::read(console.unwrap()).unwrap()).into_owned();
    for said in ["Linux version 6.12", "/etc/bailey/drivers/nsm.ko", "heartbeat answered"] {
        assert!(console.contains(said), "no `{said}` on the console:\n{console}");
    }
}

/// The stored report, which the command line accepts under the local root and under no other.
async fn verified_report(system: &System, deployed: &Record) -> Report {
    let location = deployed["attestation"]["report"].as_str().unwrap().parse().unwrap();
    let file = system.state_dir().join("report.json");
    fs::write(&file, system.object(&location).await.unwrap()).unwrap();
    let verify = |root: &[&str]| {
        let mut command = Command::new(program("bailey"));
        command.env_clear().arg("verify").args(root).arg(&file).output().unwrap().status.code()
    };
    let root = system.trusted_root().display().to_string();
    assert_eq!(verify(&["--root", &root]), Some(0));
    assert_eq!(verify(&[]), Some(1), "AWS's root signed nothing here");
    serde_json::from_slice(&fs::read(&file).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "boots a machine: `make test-boot`"]
async fn on_a_real_kernel_an_enclave_is_deployed_verified_and_destroyed() {
    let dir = tempfile::tempdir().unwrap();
    let (system, pcrs) = start(&dir).await;
    let started = Instant::now();
    let changes = json!({
        "eif_path": format!("s3://your-bucket/{IMAGE}"), "expected_pcrs": pcrs,
        "require_verified": true, "memory_mib": 512
    });
    system.put_record(&record("real", &changes)).await.unwrap();
    let deployed = system.reaches("real", "DEPLOYED").await;
    let deployed_ms = started.elapsed().as_millis();

    is_a_machine(&system, &deployed);
    assert_eq!(deployed["attestation"]["verdict"], "verified");
    assert_eq!(deployed["attestation"]["pcrs"]["0"], pcrs["0"]);
    let report = verified_report(&system, &deployed).await;
    assert!(report.checks.iter().all(|check| check.outcome != "failed"), "{:?}", report.checks);
    system.destroy_all(&["real"]).await;
    println!("boot: deployed_ms={deployed_ms}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "boots a machine: `make test-boot`"]
async fn on_a_real_kernel_the_seeds_record_shows_the_zeros_of_debug_mode() {
    let dir = tempfile::tempdir().unwrap();
    let (system, _) = start(&dir).await;
    let mut seed = seed_record();
    seed["configuration"]["eif_path"] = format!("s3://your-bucket/{IMAGE}").into();
    system.put_record(&seed).await.unwrap();
    let deployed = system.reaches("test-enclave-001", "DEPLOYED").await;

    is_a_machine(&system, &deployed);
    assert_eq!(deployed["attestation"]["verdict"], "debug");
    let report = verified_report(&system, &deployed).await;
    assert!([0, 1, 2].iter().all(|index| report.pcrs[index].is_zero()), "{:?}", report.pcrs);
    assert!([3, 4].iter().all(|index| !report.pcrs[index].is_zero()), "{:?}", report.pcrs);
    system.destroy_all(&["test-enclave-001"]).await;
}
