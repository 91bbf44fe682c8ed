//! What workloads print and how they end, from the enclave to whoever asks.

use crate::{
    images::{self, program},
    system::{LIMIT, System, options, record},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::process::Command;

const PREFIX: &str = "/enclaves-of-a-test/";

/// The lines of an enclave that `bailey logs` shows, as `<stream>: <message>`; none when it has no logs.
async fn logs(system: &System, id: &str) -> Vec<String> {
    let mut command = Command::new(program("bailey"));
    command.envs(system.env()).args(["logs", id, "--json", "--group-prefix", PREFIX]);
    let output = command.kill_on_drop(true).output().await.unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        format!("{}: {}", line["stream"].as_str().unwrap(), line["message"].as_str().unwrap())
    };
    lines.lines().map(line).collect()
}

pub(crate) async fn logs_with(system: &System, id: &str, wanted: &str) -> Vec<String> {
    let seen = async {
        loop {
            let lines = logs(system, id).await;
            if lines.iter().any(|line| line.starts_with(wanted)) {
                return lines;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let seen = tokio::time::timeout(LIMIT, seen).await;
    seen.unwrap_or_else(|_| panic!("no line `{wanted}` in the logs of {id}\n{}", system.logs()))
}

pub(crate) async fn system() -> System {
    let mut options = options(&[]);
    for settings in [&mut options.agent_settings, &mut options.coordinator_settings] {
        settings.insert("log_group_prefix".to_owned(), PREFIX.into());
    }
    let mut system = System::of(options).await;
    system.cloud.start_coordinator().unwrap();
    system
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_workload_prints_is_in_the_journal_and_in_its_log_group_once() {
    let system = system().await;
    let image = images::working(&["say", "hello from inside", "complain", "ouch", "wait"], &[]);
    system.upload_eif("talks.eif", image.bytes).await.unwrap();
    let eif = json!({ "eif_path": "s3://your-bucket/talks.eif" });
    system.put_record(&record("talks", &eif)).await.unwrap();
    let deployed = system.reaches("talks", "DEPLOYED").await;
    logs_with(&system, "talks", "application: hello from inside").await;
    let lines = logs_with(&system, "talks", "application: ouch").await;
    assert!(lines.iter().any(|line| line.starts_with("system: workload started")), "{lines:?}");

    // An agent that comes after this one reads on, and repeats nothing.
    let instance = deployed["deployment"]["instance_id"].as_str().unwrap();
    let position = system.host_dir(instance).join("state/output");
    let written = || std::fs::read_dir(&position).is_ok_and(|files| files.count() == 1);
    system.until("it is written down how far was read", written).await;
    system.ec2().kill_agent(instance).await.unwrap();
    system.set_status("talks", "PENDING_DESTROY").await.unwrap();
    system.reaches("talks", "DESTROYED").await;
    let lines = logs(&system, "talks").await;
    let hellos = lines.iter().filter(|line| *line == "application: hello from inside").count();
    assert_eq!(hellos, 1, "{lines:?}");
    assert!(system.logs().contains("hello from inside"), "the journal has it, too");
    system.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn how_a_workload_ended_stands_in_the_records_failure() {
    let system = system().await;
    let image = images::working(&["say", "bye", "exit", "3"], &[]);
    system.upload_eif("ends.eif", image.bytes).await.unwrap();
    let configuration = json!({ "eif_path": "s3://your-bucket/ends.eif", "restart": "never" });
    system.put_record(&record("ends", &configuration)).await.unwrap();
    let failed = system.reaches("ends", "FAILED").await;
    let message = failed["error"]["message"].as_str().unwrap();
    assert!(message.contains("its workload ended with exit code 3"), "{failed:#?}");
    logs_with(&system, "ends", "system: workload ended with exit code 3").await;
    system.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_enclave_in_debug_mode_said_last_on_its_console_stands_in_its_failure() {
    let system = system().await;
    let image = images::working(&["say", "out of cheese", "wait"], &[]);
    system.upload_eif("breaks.eif", image.bytes).await.unwrap();
    let eif = "s3://your-bucket/breaks.eif";
    let configuration = json!({ "eif_path": eif, "restart": "never", "debug_mode": true });
    system.put_record(&record("breaks", &configuration)).await.unwrap();
    // The console has it as `keep` copied it, the workload's own stream as it is.
    logs_with(&system, "breaks", "system: stdout: out of cheese").await;
    logs_with(&system, "breaks", "application: out of cheese").await;
    system.reaches("breaks", "DEPLOYED").await;
    // It ends without a word of its own.
    let [(_, enclave)] = &system.enclaves()[..] else { panic!("one enclave runs") };
    kill(Pid::from_raw(enclave.pid), Signal::SIGKILL).unwrap();
    let failed = system.reaches("breaks", "FAILED").await;
    let message = failed["error"]["message"].as_str().unwrap();
    assert!(message.contains("its console said last: "), "{failed:#?}");
    assert!(message.contains("stdout: out of cheese"), "{failed:#?}");
    system.end().await;
}
