//! Programs that are killed at the worst moment.

use crate::images;
use crate::system::{LIMIT, System, record, seed_record};
use bailey_local_cloud::ec2::FaultKind;
use serde_json::json;

const ID: &str = "test-enclave-001";

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_killed_between_intent_and_launch_launches_once() {
    let mut system = System::without_coordinator(&[], &[]).await;
    // The call arrives and has no effect: the intent is written, nothing is launched.
    system.ec2().inject("RunInstances", 1, FaultKind::HoldBefore).await.unwrap();
    system.put_record(&seed_record()).await.unwrap();
    system.cloud.start_coordinator().unwrap();
    system.simulation_becomes("a launch is under way", |view| view.held == 1).await;
    assert_eq!(system.simulation().await.unwrap().launches, 0);
    system.cloud.kill_coordinator().await;
    system.cloud.start_coordinator().unwrap();
    system.reaches(ID, "DEPLOYED").await;
    // The call of the dead coordinator arrives late.
    system.ec2().release().await.unwrap();
    assert_eq!(system.simulation().await.unwrap().launches, 1);
    system.destroy_all(&[ID]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_killed_after_the_launch_and_before_its_answer_finds_the_instance() {
    let mut system = System::without_coordinator(&[], &[]).await;
    system.ec2().inject("RunInstances", 1, FaultKind::HoldAfter).await.unwrap();
    system.put_record(&seed_record()).await.unwrap();
    system.cloud.start_coordinator().unwrap();
    system.simulation_becomes("a launch is unanswered", |view| view.launches == 1).await;
    system.cloud.kill_coordinator().await;
    system.cloud.start_coordinator().unwrap();
    system.reaches(ID, "DEPLOYED").await;
    assert_eq!(system.simulation().await.unwrap().launches, 1);
    system.ec2().release().await.unwrap();
    system.destroy_all(&[ID]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_a_launch_is_asked_for_again_and_launches_once() {
    let system = System::start().await;
    system.ec2().inject("RunInstances", 1, FaultKind::DropAfter).await.unwrap();
    system.put_record(&seed_record()).await.unwrap();
    system.reaches(ID, "DEPLOYED").await;
    let simulation = system.simulation().await.unwrap();
    assert_eq!(simulation.launches, 1);
    assert_eq!(simulation.calls["RunInstances"], 2);
    system.destroy_all(&[ID]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_coordinators_at_once_launch_each_record_once() {
    let system = System::start().await;
    let mut second = tokio::process::Command::new(images::program("bailey-coordinator"))
        .arg("run")
        .arg("--config")
        .arg(system.state_dir().join("coordinator.toml"))
        .envs(system.env())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let ids = ["one", "two", "three"];
    for id in ids {
        system.put_record(&record(id, &json!({}))).await.unwrap();
    }
    for id in ids {
        system.reaches(id, "DEPLOYED").await;
    }
    let simulation = system.simulation().await.unwrap();
    assert_eq!((simulation.launches, simulation.enclave_launches()), (3, 3));
    assert_eq!(second.try_wait().unwrap(), None, "the second coordinator runs");
    for id in ids {
        system.set_status(id, "PENDING_DESTROY").await.unwrap();
    }
    for id in ids {
        system.reaches(id, "DESTROYED").await;
    }
    second.kill().await.unwrap();
    system.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_killed_adopts_the_running_enclave() {
    let system = System::start().await;
    system.put_record(&record("adopted", &json!({}))).await.unwrap();
    let deployed = system.reaches("adopted", "DEPLOYED").await;
    let host = deployed["deployment"]["host"].as_str().unwrap().to_owned();
    let instance = deployed["deployment"]["instance_id"].as_str().unwrap().to_owned();
    let before = system.observed(&host).await.unwrap().unwrap();

    system.ec2().kill_agent(&instance).await.unwrap();
    system
        .simulation_becomes("the agent is started again", |view| {
            view.instances.iter().any(|i| i.agent_starts == 2 && i.agent_pid.is_some())
        })
        .await;
    // The new agent reports only when it has seen what should run here and what does.
    let reported = async {
        loop {
            let observed = system.observed(&host).await.unwrap().unwrap();
            if observed.reported_at > before.reported_at {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LIMIT, reported).await.expect("the new agent reports");

    let after = system.observed(&host).await.unwrap().unwrap();
    assert_eq!(after.assignments[0].enclave, before.assignments[0].enclave);
    assert_eq!(after.assignments[0].restarts, 0);
    let simulation = system.simulation().await.unwrap();
    assert_eq!(simulation.enclave_launches(), 1, "the enclave was not started again");
    // The new agent is in charge of the enclave: it ends it when asked to.
    system.destroy_all(&["adopted"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_fails_is_a_lost_host_and_leaves_nothing() {
    let system = System::start().await;
    system.put_record(&seed_record()).await.unwrap();
    let deployed = system.reaches(ID, "DEPLOYED").await;
    let instance = deployed["deployment"]["instance_id"].as_str().unwrap();
    system.ec2().fail_instance(instance).await.unwrap();
    let failed = system.reaches(ID, "FAILED").await;
    assert_eq!(failed["error"]["code"], "HostLost");
    system.end().await;
}
