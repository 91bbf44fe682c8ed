//! The local cloud by itself, without a coordinator.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use aws_sdk_dynamodb::types::StreamViewType;
use bailey_local_cloud::{
    LocalCloud, Options,
    ec2::{InstanceState, InstanceView},
};
use serde_json::json;
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

const SOON: Duration = Duration::from_secs(30);
const RUN: [(&str, &str); 6] = [
    ("LaunchTemplate.LaunchTemplateName", "bailey-parent"),
    ("LaunchTemplate.Version", "1"),
    ("InstanceType", "m5.xlarge"),
    ("MinCount", "1"),
    ("MaxCount", "1"),
    ("EnclaveOptions.Enabled", "true"),
];

/// A local cloud whose agents are the given shell script.
async fn cloud(agent: &str) -> (LocalCloud, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::find().unwrap();
    options.pending = Duration::from_millis(50);
    options.binaries.agent = script(dir.path(), agent);
    options.binaries.ec2_sim = env!("CARGO_BIN_EXE_ec2-sim").into();
    (LocalCloud::start(options).await.unwrap(), dir)
}

fn script(dir: &Path, text: &str) -> PathBuf {
    let path = dir.join("agent");
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

async fn launch(cloud: &LocalCloud, more: &[(&str, &str)]) -> String {
    let parameters: Vec<_> = RUN.into_iter().chain(more.iter().copied()).collect();
    let answer = cloud.ec2().call("RunInstances", &parameters).await.unwrap();
    answer.element("instanceId").unwrap_or_else(|| panic!("{}", answer.body)).to_owned()
}

/// Waits until the instance is as wanted.
async fn wait(
    cloud: &LocalCloud,
    id: &str,
    wanted: impl Fn(&InstanceView) -> bool,
) -> InstanceView {
    let started = Instant::now();
    loop {
        let simulation = cloud.simulation().await.unwrap();
        let instance = simulation.instances.into_iter().find(|instance| instance.id == id).unwrap();
        if wanted(&instance) {
            return instance;
        }
        assert!(started.elapsed() < SOON, "{instance:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn tables_streams_and_buckets_are_there_and_nothing_is_left_behind() {
    let (cloud, _scripts) = cloud("sleep 600").await;
    for (table, view) in [
        (&cloud.names().enclaves_table, Some(StreamViewType::NewAndOldImages)),
        (&cloud.names().ledger_table, None),
        (&cloud.names().hosts_table, Some(StreamViewType::NewImage)),
    ] {
        let described = cloud.dynamodb().describe_table().table_name(table).send().await.unwrap();
        let stream = described.table().unwrap().stream_specification().cloned();
        assert_eq!(stream.and_then(|stream| stream.stream_view_type), view, "{table}");
    }
    let version = cloud.upload_eif("a.eif", b"image".to_vec()).await.unwrap();
    assert_ne!(cloud.upload_eif("a.eif", b"newer".to_vec()).await.unwrap(), version);
    assert_eq!(cloud.object(&"s3://your-bucket/a.eif".parse().unwrap()).await.unwrap(), b"newer");
    // The agent reads images so: a part of one version.
    let part = cloud.s3().get_object().bucket("your-bucket").key("a.eif");
    let part = part.version_id(version).range("bytes=1-3").send().await.unwrap();
    assert_eq!(part.content_range(), Some("bytes 1-3/5"));
    assert_eq!(part.body.collect().await.unwrap().into_bytes().as_ref(), b"mag");

    cloud.put_record(&json!({"id": "e", "status": "PENDING_DEPLOY"})).await.unwrap();
    cloud.set_status("e", "DEPLOYED").await.unwrap();
    let waited = cloud.wait_for_status("e", "DEPLOYED", SOON).await.unwrap();
    assert_eq!(waited.record["id"], "e");

    let state = cloud.state_dir().to_owned();
    assert!(!cloud.processes().is_empty());
    cloud.shutdown().await.unwrap();
    assert_eq!(bailey_local_cloud::processes::of(&state), []);
    assert!(!state.exists());
}

#[tokio::test]
async fn an_instance_runs_an_agent_until_it_is_terminated() {
    let (cloud, _scripts) = cloud("sleep 600 & wait").await;
    let id = launch(&cloud, &[]).await;
    let instance = wait(&cloud, &id, |instance| instance.agent_pid.is_some()).await;
    assert_eq!(instance.state, InstanceState::Running);
    // The script and its sleep, which it may not have started yet.
    let started = Instant::now();
    while cloud.processes_of(&id).len() < 2 {
        assert!(started.elapsed() < SOON, "{:?}", cloud.processes_of(&id));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    let answer = cloud.ec2().call("TerminateInstances", &[("InstanceId.1", &id)]).await.unwrap();
    assert!(answer.body.contains("<name>shutting-down</name>"), "{}", answer.body);
    wait(&cloud, &id, |instance| instance.state == InstanceState::Terminated).await;
    assert_eq!(cloud.processes_of(&id), []);
    assert!(!cloud.state_dir().join("hosts").join(&id).exists());
    assert!(cloud.log(&format!("{id}.agent.log")).exists());
    cloud.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_agent_that_is_killed_is_started_again() {
    let (cloud, _scripts) = cloud("sleep 600").await;
    let id = launch(&cloud, &[]).await;
    let first = wait(&cloud, &id, |instance| instance.agent_pid.is_some()).await;
    cloud.ec2().kill_agent(&id).await.unwrap();
    let second = wait(&cloud, &id, |instance| instance.agent_starts == 2).await;
    assert_ne!(first.agent_pid, second.agent_pid);
    assert_eq!(second.state, InstanceState::Running);
    cloud.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_agent_that_powers_its_host_off_terminates_the_instance() {
    let (cloud, _scripts) = cloud("touch \"$BAILEY_SIM_HOST/poweroff\"; sleep 600").await;
    let terminate = [("InstanceInitiatedShutdownBehavior", "terminate")];
    let id = launch(&cloud, &terminate).await;
    wait(&cloud, &id, |instance| instance.state == InstanceState::Terminated).await;
    let described = cloud.ec2().call("DescribeInstances", &[("InstanceId.1", &id)]).await.unwrap();
    assert!(described.body.contains("Client.InstanceInitiatedShutdown"), "{}", described.body);
    cloud.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_cloud_that_is_dropped_leaves_no_process() {
    let (cloud, _scripts) = cloud("sleep 600").await;
    let id = launch(&cloud, &[]).await;
    wait(&cloud, &id, |instance| instance.agent_pid.is_some()).await;
    let state = cloud.state_dir().to_owned();
    drop(cloud);
    assert_eq!(bailey_local_cloud::processes::of(&state), []);
}
