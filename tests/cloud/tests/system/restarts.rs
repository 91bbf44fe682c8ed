//! Programs that are killed at the worst moment.

use crate::system::{System, record, seed_record};
use bailey_local_cloud::{ec2::FaultKind, local::Record};
use bailey_model::{S3Location, report::Report};
use nix::sys::signal::{Signal, kill};
use serde_json::json;
use sha2::Digest as _;

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

/// An ended entry is in no index that a sweep reads; only the stream tells of what is done to its record.
#[tokio::test(flavor = "multi_thread")]
async fn a_result_written_over_an_ended_enclave_while_nobody_listened_is_overwritten() {
    let mut system = System::start().await;
    system.put_record(&seed_record()).await.unwrap();
    system.reaches(ID, "DEPLOYED").await;
    system.set_status(ID, "PENDING_DESTROY").await.unwrap();
    system.reaches(ID, "DESTROYED").await;
    system.cloud.kill_coordinator().await;
    system.set_status(ID, "FAILED").await.unwrap();
    system.cloud.start_coordinator().unwrap();
    system.reaches(ID, "DESTROYED").await;
    system.destroy_all(&[ID]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_coordinators_at_once_launch_each_record_once() {
    let system = System::start().await;
    let mut second = system.another_coordinator().unwrap();
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

/// Both draw nonces and judge answers; one of them wins each time, and the other one's are never used.
#[tokio::test(flavor = "multi_thread")]
async fn two_coordinators_at_once_renew_nonces_into_one_chain_of_reports() {
    let system = System::start_with(&[("reattest_interval_s", 1)], &[]).await;
    let mut second = system.another_coordinator().unwrap();
    system.put_record(&record("both", &json!({}))).await.unwrap();
    let is_fifth = |record: &Record| {
        assert_ne!(record.get("phase").unwrap_or_default(), "DEGRADED", "a nonce was missed");
        let report = record.get("attestation").and_then(|proof| proof["report"].as_str());
        report.is_some_and(|report| report.ends_with("/1/0000000005.json"))
    };
    system.becomes("both", "a fifth report", is_fifth).await;
    assert_eq!(second.try_wait().unwrap(), None, "the second coordinator runs");
    second.kill().await.unwrap();
    let mut previous = None;
    for sequence in 1..=5 {
        let key = format!("reports/both/1/{sequence:010}.json");
        let bucket = system.names().reports_bucket.clone();
        let stored = system.object(&S3Location { bucket, key }).await.unwrap();
        let report: Report = serde_json::from_slice(&stored).unwrap();
        assert_eq!((report.sequence, report.previous), (sequence, previous));
        assert_eq!(report.rejection, None);
        previous = Some(hex::encode(sha2::Sha256::digest(&stored)));
    }
    system.destroy_all(&["both"]).await;
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
    let after = system
        .reports(&host, "the new agent reports", |observed| {
            observed.reported_at > before.reported_at
        })
        .await;
    assert_eq!(after.assignments[0].enclave, before.assignments[0].enclave);
    assert_eq!(after.assignments[0].restarts, 0);
    let simulation = system.simulation().await.unwrap();
    assert_eq!(simulation.enclave_launches(), 1, "the enclave was not started again");
    // The new agent is in charge of the enclave: it ends it when asked to.
    system.destroy_all(&["adopted"]).await;
}

/// The enclave's responder is stopped where it is, and goes on later.
#[tokio::test(flavor = "multi_thread")]
async fn an_enclave_that_no_longer_answers_is_degraded_until_it_answers_again() {
    let system = silent_enclaves(100).await;
    system.put_record(&record("silent", &json!({}))).await.unwrap();
    let deployed = system.reaches("silent", "DEPLOYED").await;
    let responder = system.responder_of(&deployed);
    kill(responder, Signal::SIGSTOP).unwrap();
    let in_phase = |phase: &'static str| {
        move |record: &Record| record.get("phase").is_some_and(|found| found == phase)
    };
    let degraded = system.becomes("silent", "DEGRADED", in_phase("DEGRADED")).await;
    assert_eq!(degraded["status"], "DEPLOYED", "older web apps see it deployed");
    let alarm = "bailey_enclaves{phase=\"DEGRADED\"} 1";
    assert!(system.metrics().await.lines().any(|line| line == alarm));

    kill(responder, Signal::SIGCONT).unwrap();
    system.becomes("silent", "RUNNING again", in_phase("RUNNING")).await;
    system.destroy_all(&["silent"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enclave_that_never_answers_again_is_ended() {
    let system = silent_enclaves(2).await;
    system.put_record(&record("mute", &json!({}))).await.unwrap();
    let deployed = system.reaches("mute", "DEPLOYED").await;
    kill(system.responder_of(&deployed), Signal::SIGSTOP).unwrap();
    let failed = system.reaches("mute", "FAILED").await;
    assert_eq!(failed["error"]["code"], "AttestationUnavailable");
    system.end().await;
}

/// A system in which an enclave has to attest again all the time, and may miss it so often.
async fn silent_enclaves(misses: i64) -> System {
    let renewal = [("reattest_interval_s", 1), ("nonce_ttl_s", 2), ("reattest_misses", misses)];
    let mut system = System::without_coordinator(&renewal, &[("attest_timeout_s", 1)]).await;
    system.cloud.configure_coordinator("metrics_listen", "127.0.0.1:0");
    system.cloud.start_coordinator().unwrap();
    system
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

/// The judgement is in the ledger, and its report cannot be stored while the coordinator dies.
#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_killed_between_judgement_and_report_goes_on_with_the_same_report() {
    let mut system = System::start().await;
    let bucket = system.names().reports_bucket.clone();
    system.s3().delete_bucket().bucket(&bucket).send().await.unwrap();
    system.put_record(&record("judged", &json!({}))).await.unwrap();
    let is_verifying = |record: &Record| {
        record.get("phase").is_some_and(|phase| phase == "VERIFYING")
            && record["deployment"]["warnings"].to_string().contains("cannot write")
    };
    system.becomes("judged", "its report cannot be stored", is_verifying).await;
    system.cloud.kill_coordinator().await;
    system.create_bucket(&bucket).await.unwrap();
    system.cloud.start_coordinator().unwrap();
    let deployed = system.reaches("judged", "DEPLOYED").await;
    assert!(deployed["attestation"]["report"].as_str().unwrap().ends_with("/1/0000000001.json"));
    system.destroy_all(&["judged"]).await;
}
