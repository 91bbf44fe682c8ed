//! What an agent does when what it depends on is not there.

use crate::system::{LIMIT, System, record};
use bailey_local_cloud::wire::{Party, Side, WireFault, WireRule};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;
use std::{os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

/// More calls than any agent makes in a test.
const FOR_GOOD: u32 = 1_000_000;
const LOOK_PERIOD: Duration = Duration::from_millis(50);

/// The table is gone for as long as it takes the enclave to fail and to be started again: the agent does
/// that alone, and tells of it when the table is back.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_table_is_gone_looks_after_its_enclave_and_reports_later() {
    let mut system = System::with_wire().await;
    system.cloud.start_coordinator().unwrap();
    system.put_record(&record("alone", &json!({ "restart": "always" }))).await.unwrap();
    let deployed = system.reaches("alone", "DEPLOYED").await;
    let host = deployed["deployment"]["host"].as_str().unwrap().to_owned();

    let wire = system.wire().unwrap();
    let fault = WireFault::Drop(Side::Before);
    wire.inject(WireRule { party: Party::Agents, operation: None, times: FOR_GOOD, fault });
    // Whatever was under way on the wire has been answered.
    tokio::time::sleep(LOOK_PERIOD).await;
    let before = system.observed(&host).await.unwrap().unwrap();
    let beat = system.beat(&host).await.unwrap().unwrap();
    let [(_, enclave)] = &system.enclaves()[..] else { panic!("one enclave runs") };
    let old = enclave.pid;
    kill(Pid::from_raw(old), Signal::SIGKILL).unwrap();
    let restarted = async {
        while !system.enclaves().iter().any(|(_, enclave)| enclave.pid != old) {
            tokio::time::sleep(LOOK_PERIOD).await;
        }
    };
    tokio::time::timeout(LIMIT, restarted).await.expect("the enclave is started again");
    let meanwhile = system.observed(&host).await.unwrap().unwrap();
    assert_eq!(meanwhile.reported_at, before.reported_at, "nothing can be reported");
    assert_eq!(system.beat(&host).await.unwrap().unwrap().at, beat.at);

    system.wire().unwrap().calm();
    system
        .reports(&host, "the restart is reported", |observed| {
            observed.assignments.iter().any(|assignment| assignment.restarts == 1)
        })
        .await;
    system.reaches("alone", "DEPLOYED").await;
    let beats = async {
        while system.beat(&host).await.unwrap().unwrap().at <= beat.at {
            tokio::time::sleep(LOOK_PERIOD).await;
        }
    };
    tokio::time::timeout(LIMIT, beats).await.expect("the heart beats again");
    system.destroy_all(&["alone"]).await;
}

/// No event of EC2 reaches a coordinator that runs by itself; the host hears of it, and says so.
#[tokio::test(flavor = "multi_thread")]
async fn what_ec2_announces_to_a_host_is_shown_in_its_record() {
    let system = System::start().await;
    system.put_record(&record("spot", &json!({}))).await.unwrap();
    let deployed = system.reaches("spot", "DEPLOYED").await;
    let instance = deployed["deployment"]["instance_id"].as_str().unwrap();
    system.ec2().announce_interruption(instance, 120).await.unwrap();
    let warned = "its host says: EC2 will terminate the spot instance at 20";
    let shown = system
        .becomes("spot", "it is announced", |record| {
            record["deployment"]["warnings"].to_string().contains(warned)
        })
        .await;
    assert_eq!(
        shown["status"], "DEPLOYED",
        "it need not run always: it stays until its instance ends"
    );
    system.destroy_all(&["spot"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enclave_leaves_a_spot_instance_that_is_taken_back_and_proves_itself_on_another() {
    let system = System::start().await;
    system.put_record(&record("moves", &json!({ "restart": "always" }))).await.unwrap();
    let deployed = system.reaches("moves", "DEPLOYED").await;
    let old = deployed["deployment"]["instance_id"].as_str().unwrap().to_owned();
    // EC2 would end it in an hour; nothing here waits for that.
    system.ec2().announce_interruption(&old, 3_600).await.unwrap();
    let moved = system
        .becomes("moves", "it runs elsewhere", |record| {
            record["status"] == "DEPLOYED" && record["deployment"]["instance_id"] != old.as_str()
        })
        .await;
    assert!(moved["deployment"]["phases"]["MOVING"].is_string(), "{moved:?}");
    assert_ne!(moved["attestation"]["report"], deployed["attestation"]["report"]);
    let live: Vec<_> = system.simulation().await.unwrap().live().map(|it| it.id.clone()).collect();
    assert_eq!(live, [moved["deployment"]["instance_id"].as_str().unwrap()]);
    system.destroy_all(&["moves"]).await;
}

/// nitro-cli hangs, whatever it is asked: the agent lives on, kills what hangs, and comes to know what happened
/// meanwhile when it answers again.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_nitro_cli_hangs_lives_on_and_catches_up() {
    let system = System::start_with(&[], &[("nitro_cli_deadline_s", 1)]).await;
    system.put_record(&record("stuck", &json!({ "restart": "always" }))).await.unwrap();
    let deployed = system.reaches("stuck", "DEPLOYED").await;
    let host = deployed["deployment"]["host"].as_str().unwrap().to_owned();
    let instance = deployed["deployment"]["instance_id"].as_str().unwrap().to_owned();
    let nitro_cli = system.host_dir(&instance).join("nitro-cli");
    let good = std::fs::read(&nitro_cli).unwrap();
    let hangs = "#!/bin/sh\necho $$ >>\"$0.hung\"\nexec sleep 1000000\n";
    replace_program(&nitro_cli, hangs.as_bytes());

    // Two that hung: the first was given up, or there would be no second.
    let hung = nitro_cli.with_extension("hung");
    let pids = || {
        let text = std::fs::read_to_string(&hung).unwrap_or_default();
        text.lines().map(|pid| Pid::from_raw(pid.parse().unwrap())).collect::<Vec<_>>()
    };
    system.until("nitro-cli hung twice", || pids().len() >= 2).await;
    let first = pids()[0];
    system.until("what hung is killed", || kill(first, None).is_err()).await;
    let [(_, enclave)] = &system.enclaves()[..] else { panic!("one enclave runs") };
    let old = enclave.pid;
    kill(Pid::from_raw(old), Signal::SIGKILL).unwrap();
    let beat = system.beat(&host).await.unwrap().unwrap();
    let beats = async {
        while system.beat(&host).await.unwrap().unwrap().at <= beat.at {
            tokio::time::sleep(LOOK_PERIOD).await;
        }
    };
    tokio::time::timeout(LIMIT, beats).await.expect("the heart beats on");

    replace_program(&nitro_cli, &good);
    system
        .reports(&host, "the restart is reported", |observed| {
            observed.assignments.iter().any(|assignment| assignment.restarts == 1)
        })
        .await;
    system.reaches("stuck", "DEPLOYED").await;
    system.destroy_all(&["stuck"]).await;
}

/// Another program under the same name, at once: one that is being run cannot be written to.
fn replace_program(path: &Path, bytes: &[u8]) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, bytes).unwrap();
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(beside, path).unwrap();
}
