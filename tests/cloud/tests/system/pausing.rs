//! Pausing, resuming, and launching elsewhere.

use crate::images::program;
use crate::system::{System, options, record};
use bailey_local_cloud::{
    ec2::{FaultKind, InstanceState, Settings, SimulationView},
    local::{Installation, Subnet},
};
use serde_json::json;
use std::process::Output;

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_enclave_is_resumed_on_its_instance_and_attests_anew() {
    let system = System::start().await;
    system.put_record(&record("rests", &json!({}))).await.unwrap();
    let before = system.reaches("rests", "DEPLOYED").await;

    let output = bailey(&system, &["pause", "rests", "--wait"]).await;
    assert!(output.status.success(), "{output:?}");
    let paused = system.reaches("rests", "PAUSED").await;
    assert_eq!(paused.get("attestation"), None, "nothing is proven of what comes next");
    let stopped = |view: &SimulationView| {
        view.instances.iter().all(|instance| instance.state == InstanceState::Stopped)
    };
    system.simulation_becomes("the instance is stopped", stopped).await;

    let output = bailey(&system, &["resume", "rests", "--wait"]).await;
    assert!(output.status.success(), "{output:?}");
    let after = system.reaches("rests", "DEPLOYED").await;
    assert_eq!(after["deployment"]["instance_id"], before["deployment"]["instance_id"]);
    let report = after["attestation"]["report"].as_str().unwrap();
    assert!(report.ends_with("/1/0000000002.json"), "a new nonce was answered: {report}");
    let simulation = system.simulation().await.unwrap();
    assert_eq!((simulation.launches, simulation.enclave_launches()), (1, 2));
    system.destroy_all(&["rests"]).await;
}

async fn bailey(system: &System, arguments: &[&str]) -> Output {
    let mut program = tokio::process::Command::new(program("bailey"));
    program.args(arguments).envs(system.env()).output().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_enclave_whose_instance_is_gone_is_resumed_on_another() {
    let system = System::start().await;
    system.put_record(&record("moves", &json!({}))).await.unwrap();
    let before = system.reaches("moves", "DEPLOYED").await;
    let instance = before["deployment"]["instance_id"].as_str().unwrap();
    system.set_status("moves", "PAUSING").await.unwrap();
    system.reaches("moves", "PAUSED").await;
    system.ec2().fail_instance(instance).await.unwrap();

    system.set_status("moves", "RESUMING").await.unwrap();
    let after = system.reaches("moves", "DEPLOYED").await;
    assert_ne!(after["deployment"]["instance_id"].as_str().unwrap(), instance);
    assert_eq!(after["generation"], 1);
    system.destroy_all(&["moves"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn destroying_what_is_paused_leaves_nothing() {
    let system = System::start().await;
    system.put_record(&record("ends", &json!({}))).await.unwrap();
    system.reaches("ends", "DEPLOYED").await;
    system.set_status("ends", "PAUSING").await.unwrap();
    system.reaches("ends", "PAUSED").await;
    system.destroy_all(&["ends"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_launch_without_capacity_falls_back_to_the_next_zone() {
    let system = System::start().await;
    let shortage = FaultKind::error("InsufficientInstanceCapacity");
    system.ec2().inject("RunInstances", 1, shortage).await.unwrap();
    let zones = json!({ "availability_zones": ["eu-west-1a", "eu-west-1b"] });
    system.put_record(&record("elsewhere", &zones)).await.unwrap();
    let deployed = system.reaches("elsewhere", "DEPLOYED").await;
    assert_eq!(deployed["deployment"]["availability_zone"], "eu-west-1b");
    let simulation = system.simulation().await.unwrap();
    assert_eq!((simulation.launches, simulation.calls["RunInstances"]), (1, 2));
    system.destroy_all(&["elsewhere"]).await;
}

/// As Terraform installs it: the template names security groups and no network interface, and the coordinator
/// knows a subnet for each zone.
#[tokio::test(flavor = "multi_thread")]
async fn a_zone_without_capacity_is_left_for_the_other_ones_subnet() {
    let mut options = options(&[]);
    let mut installation = Installation::usual(options.names.clone());
    installation.launch_template.insert(
        "LaunchTemplateData.SecurityGroupId.1".to_owned(),
        "sg-0123456789abcdef0".to_owned(),
    );
    let subnet = |(zone, id): (&str, &str)| Subnet {
        availability_zone: zone.to_owned(),
        subnet_id: id.to_owned(),
    };
    let zones =
        [("eu-west-1a", "subnet-0aaaaaaaaaaaaaaaa"), ("eu-west-1b", "subnet-0bbbbbbbbbbbbbbbb")];
    installation.subnets = zones.map(subnet).to_vec();
    options.installation = Some(installation);
    let mut system = System::of(options).await;
    system.cloud.start_coordinator().unwrap();
    let full = Settings {
        zones_without_capacity: Some(vec!["eu-west-1a".to_owned()]),
        ..Settings::default()
    };
    system.ec2().set(full).await.unwrap();
    system.put_record(&record("anywhere", &json!({}))).await.unwrap();
    let deployed = system.reaches("anywhere", "DEPLOYED").await;
    assert_eq!(deployed["deployment"]["availability_zone"], "eu-west-1b");
    let events = bailey(&system, &["events", "anywhere"]).await;
    let events = String::from_utf8(events.stdout).unwrap();
    let moved =
        "m5.xlarge in eu-west-1a: InsufficientInstanceCapacity; trying m5.xlarge in eu-west-1b";
    assert!(events.contains(moved), "{events}");
    let simulation = system.simulation().await.unwrap();
    assert_eq!((simulation.launches, simulation.calls["RunInstances"]), (1, 2));
    let launched: Vec<_> = simulation.instances.iter().map(|it| it.subnet_id.as_str()).collect();
    assert_eq!(launched, ["subnet-0bbbbbbbbbbbbbbbb"]);
    system.destroy_all(&["anywhere"]).await;
}
