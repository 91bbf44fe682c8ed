//! The whole system on a real kernel: enclaves are virtual machines that boot the whole image, and nothing
//! else differs. `make test-boot` runs this, for it needs tools of its own and minutes.

use crate::{
    images::program,
    networks::{free_port, says, through},
    system::{System, options, record, seed_record},
    talking::{Client, refused, said},
};
use bailey_local_cloud::{intercept::intercept, local::Record, processes::LiveProcess};
use bailey_model::{manifest::Manifest, report::Report};
use serde_json::{Value, json};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};
use tempfile::TempDir;
use tokio::net::TcpListener;

const IMAGE: &str = "booted.eif";

/// Where scripts/test-boot says that a tool is.
fn tool(variable: &str) -> PathBuf {
    let path = env::var_os(variable).map(PathBuf::from).filter(|path| path.exists());
    path.unwrap_or_else(|| panic!("{variable} names nothing; run `make test-boot`"))
}

/// A cloud of such parents, in whose bucket is an image with a kernel; and that image's measurements.
async fn start(dir: &TempDir) -> (System, Value) {
    start_with(dir, &tool("BAILEY_TEST_EIF")).await
}

/// The same with this image.
async fn start_with(dir: &TempDir, image: &Path) -> (System, Value) {
    let manifest = fs::read(manifest_of(image)).unwrap();
    let measured = serde_json::from_slice::<Manifest>(&manifest).unwrap().measurements;
    let options = options(&[]).booted(dir.path(), &tool("BAILEY_QEMU")).unwrap();
    let mut system = System::of(options).await;
    system.cloud.upload_eif(IMAGE, fs::read(image).unwrap()).await.unwrap();
    system.cloud.start_coordinator().unwrap();
    let pcrs = json!({
        "0": measured.pcr0.to_string(),
        "1": measured.pcr1.to_string(),
        "2": measured.pcr2.to_string(),
    });
    (system, pcrs)
}

fn manifest_of(image: &Path) -> PathBuf {
    let mut path = image.to_owned().into_os_string();
    path.push(".manifest.json");
    path.into()
}

/// An image with a kernel whose workload is this static program, for a user without rights; it is reached
/// at this port of the enclave.
fn build(dir: &TempDir, workload: &Path, words: &[&str], port: u16) -> PathBuf {
    let image = dir.path().join(IMAGE);
    let built = Command::new(program("bailey"))
        .args(["image", "build", "--profile", "local", "--name", "booted", "--user", "1000:1000"])
        .arg("--kernel-dir")
        .arg(tool("BAILEY_KERNEL"))
        .arg("--keep")
        .arg(tool("BAILEY_KEEP"))
        .arg("--add")
        .arg(format!("/app/workload={}:755", workload.display()))
        .args(["--port", &port.to_string(), "--output"])
        .arg(&image)
        .args(["--", "/app/workload"])
        .args(words)
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", said(&built));
    image
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

/// Its ports are its own there, and so is the user that may open the socket for documents.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "boots a machine: `make test-boot`"]
async fn on_a_real_kernel_a_service_proves_itself_and_nobody_in_between_does() {
    let dir = tempfile::tempdir().unwrap();
    let image = build(&dir, &tool("BAILEY_ATTESTED_HTTPS"), &["8443"], 8443);
    let (system, pcrs) = start_with(&dir, &image).await;
    let door = free_port().await;
    let changes = json!({
        "eif_path": format!("s3://your-bucket/{IMAGE}"), "expected_pcrs": pcrs,
        "require_verified": true, "memory_mib": 512,
        "ingress": [{"parent_port": door, "enclave_port": 8443}],
    });
    system.put_record(&record("service", &changes)).await.unwrap();
    let deployed = system.reaches("service", "DEPLOYED").await;
    is_a_machine(&system, &deployed);

    let root = system.trusted_root().display().to_string();
    let client = Client { root, dir: tempfile::tempdir().unwrap() };
    let manifest = manifest_of(&image);
    let started = Instant::now();
    let greeted = client.talk_when_up(door, &manifest, &[]).await;
    let talked_ms = started.elapsed().as_millis();
    assert_eq!(greeted.status.code(), Some(0), "{}\n{}", said(&greeted), system.logs());
    assert!(greeted.stdout.starts_with(b"An HTTPS service in an AWS Nitro Enclave."));

    let middle = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = middle.local_addr().unwrap().port();
    tokio::spawn(intercept(middle, ([127, 0, 0, 1], door).into()));
    let output = client.talk_to(port, "/", &manifest, &[]);
    refused(&output, "the document vouches for another key");
    system.destroy_all(&["service"]).await;
    println!("boot: talked_ms={talked_ms}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "boots a machine: `make test-boot`"]
async fn on_a_real_kernel_a_workload_reaches_what_its_record_lists_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let image = build(&dir, &tool("BAILEY_WORKLOAD"), &["relay", "7000"], 7000);
    let (system, pcrs) = start_with(&dir, &image).await;
    let (door, listed, unlisted) = (free_port().await, says("hello").await, says("no").await);
    let changes = json!({
        "eif_path": format!("s3://your-bucket/{IMAGE}"), "expected_pcrs": pcrs,
        "require_verified": true, "memory_mib": 512,
        "egress": [format!("127.0.0.1:{listed}")],
        "ingress": [{"parent_port": door, "enclave_port": 7000}],
    });
    system.put_record(&record("relay", &changes)).await.unwrap();
    let deployed = system.reaches("relay", "DEPLOYED").await;
    is_a_machine(&system, &deployed);

    let heard = through(door, &format!("127.0.0.1:{listed}")).await;
    assert!(heard.starts_with("HTTP/1.1 200 ") && heard.ends_with("hello"), "{heard}");
    for refused in [format!("127.0.0.1:{unlisted}"), "169.254.169.254:80".to_owned()] {
        let heard = through(door, &refused).await;
        assert!(heard.starts_with("HTTP/1.1 403 "), "{refused}: {heard}");
    }
    assert!(system.logs().contains("egress refused"), "{}", system.logs());
    system.destroy_all(&["relay"]).await;
}
