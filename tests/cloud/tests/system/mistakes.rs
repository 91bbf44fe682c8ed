//! Mistakes that the stack before this one made, and what a web app may do to a record at any time.

use crate::system::{System, record, seed_record};
use bailey_local_cloud::ec2::FaultKind;
use serde_json::json;

const ID: &str = "test-enclave-001";

async fn launches(system: &System) -> (u64, u64) {
    let view = system.simulation().await.unwrap();
    (view.launches, view.enclave_launches())
}

#[tokio::test(flavor = "multi_thread")]
async fn destroy_requested_twice_ends_everything_once() {
    let system = System::start().await;
    system.put_record(&seed_record()).await.unwrap();
    system.reaches(ID, "DEPLOYED").await;
    system.set_status(ID, "PENDING_DESTROY").await.unwrap();
    system
        .becomes(ID, "it ends", |record| {
            ["DESTROYING", "DESTROYED"].contains(&record["status"].as_str().unwrap_or_default())
        })
        .await;
    system.set_status(ID, "PENDING_DESTROY").await.unwrap();
    let destroyed = system.reaches(ID, "DESTROYED").await;
    assert_eq!((destroyed.get("error"), &destroyed["generation"]), (None, &json!(1)));
    system.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn destroying_goes_on_until_ec2_has_terminated_the_instance() {
    let system = System::start().await;
    system.put_record(&seed_record()).await.unwrap();
    system.reaches(ID, "DEPLOYED").await;
    let trouble = FaultKind::Error {
        code: "InternalError".to_owned(),
        message: "for a while".to_owned(),
        status: 500,
    };
    system.ec2().inject("TerminateInstances", 6, trouble).await.unwrap();
    system.destroy_all(&[ID]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reason_of_a_failure_stays_when_the_record_is_edited() {
    let system = System::start().await;
    let nowhere = json!({ "eif_path": "s3://your-bucket/missing.eif" });
    system.put_record(&record("failed", &nowhere)).await.unwrap();
    let failed = system.reaches("failed", "FAILED").await;
    system.set_attribute("failed", "note", &json!("seen")).await.unwrap();
    // The next record is served after the edit was read.
    system.put_record(&seed_record()).await.unwrap();
    system.reaches(ID, "DEPLOYED").await;
    let kept = system.record("failed").await.unwrap().unwrap();
    for name in ["error", "error_message", "error_type", "phase"] {
        assert_eq!(kept[name], failed[name], "{name}");
    }
    system.destroy_all(&[ID]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_the_web_app_writes_is_overwritten_and_ends_nothing() {
    let system = System::start().await;
    system.put_record(&seed_record()).await.unwrap();
    system.reaches(ID, "DEPLOYED").await;
    for result in ["FAILED", "DESTROYED", "PAUSED"] {
        system.set_status(ID, result).await.unwrap();
        system.reaches(ID, "DEPLOYED").await;
    }
    assert_eq!(launches(&system).await, (1, 1));
    system.destroy_all(&[ID]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_deleted_takes_its_instance_with_it() {
    let system = System::start_with(&[("absence_grace_s", 1)], &[]).await;
    system.put_record(&seed_record()).await.unwrap();
    system.reaches(ID, "DEPLOYED").await;
    system.delete_record(ID).await.unwrap();
    system.simulation_becomes("nothing is left", |view| view.live().count() == 0).await;
    assert_eq!(system.record(ID).await.unwrap(), None, "it is not written again");
    let hosts_are_gone = async {
        while !system.hosts().await.unwrap().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(crate::system::LIMIT, hosts_are_gone).await.unwrap();
    system.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_deleted_and_written_again_keeps_its_enclave() {
    let system = System::start().await;
    system.put_record(&seed_record()).await.unwrap();
    system.reaches(ID, "DEPLOYED").await;
    system.delete_record(ID).await.unwrap();
    system.put_record(&seed_record()).await.unwrap();
    let again = system.reaches(ID, "DEPLOYED").await;
    assert_eq!(again["generation"], 1);
    assert_eq!(launches(&system).await, (1, 1));
    system.destroy_all(&[ID]).await;
}

/// The web app deletes the record, or writes the whole of it again, while EC2 is launching.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_rewritten_with_a_launch_in_flight_launches_once() {
    for deletes in [true, false] {
        let system = System::start().await;
        system.ec2().inject("RunInstances", 1, FaultKind::HoldBefore).await.unwrap();
        system.put_record(&seed_record()).await.unwrap();
        system.simulation_becomes("a launch is under way", |view| view.held == 1).await;
        if deletes {
            system.delete_record(ID).await.unwrap();
        }
        system.put_record(&seed_record()).await.unwrap();
        system.ec2().release().await.unwrap();
        system.reaches(ID, "DEPLOYED").await;
        assert_eq!(launches(&system).await, (1, 1), "deleted: {deletes}");
        system.destroy_all(&[ID]).await;
    }
}
