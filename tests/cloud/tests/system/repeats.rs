//! Events that repeat, edits that mean nothing, and requests at awkward moments.

use crate::system::{System, record, seed_record};
use bailey_local_cloud::ec2::FaultKind;
use serde_json::json;

const ID: &str = "test-enclave-001";

#[tokio::test(flavor = "multi_thread")]
async fn the_same_stream_event_twice_launches_once() {
    let system = System::start().await;
    for _ in 0..3 {
        // Each write of the same record is a stream event of its own.
        system.put_record(&seed_record()).await.unwrap();
    }
    system.reaches(ID, "DEPLOYED").await;
    assert_eq!(system.simulation().await.unwrap().launches, 1);
    system.destroy_all(&[ID]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unrelated_edit_while_pending_deploy_launches_once_and_is_kept() {
    let mut system = System::without_coordinator(&[], &[]).await;
    system.put_record(&seed_record()).await.unwrap();
    system.set_attribute(ID, "name", &json!("first")).await.unwrap();
    system.ec2().inject("RunInstances", 1, FaultKind::HoldBefore).await.unwrap();
    system.cloud.start_coordinator().unwrap();
    system.simulation_becomes("a launch is under way", |view| view.held == 1).await;
    system.set_attribute(ID, "name", &json!("second")).await.unwrap();
    system.set_status(ID, "PENDING_DEPLOY").await.unwrap();
    system.ec2().release().await.unwrap();
    let deployed = system.reaches(ID, "DEPLOYED").await;
    assert_eq!(deployed["name"], "second");
    assert_eq!(system.simulation().await.unwrap().launches, 1);
    system.destroy_all(&[ID]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_record_written_again_over_a_deployed_one_changes_nothing() {
    let system = System::start().await;
    system.put_record(&seed_record()).await.unwrap();
    let before = system.reaches(ID, "DEPLOYED").await;
    system.put_record(&seed_record()).await.unwrap();
    let after = system.reaches(ID, "DEPLOYED").await;
    for name in ["phase", "generation", "attestation", "deployment"] {
        assert_eq!(after[name], before[name], "{name} is projected again");
    }
    let simulation = system.simulation().await.unwrap();
    assert_eq!((simulation.launches, simulation.enclave_launches()), (1, 1));
    system.destroy_all(&[ID]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn destroy_while_the_launch_is_under_way_leaves_nothing() {
    let system = System::start().await;
    system.ec2().inject("RunInstances", 1, FaultKind::HoldBefore).await.unwrap();
    system.put_record(&seed_record()).await.unwrap();
    system.simulation_becomes("a launch is under way", |view| view.held == 1).await;
    system.set_status(ID, "PENDING_DESTROY").await.unwrap();
    system.ec2().release().await.unwrap();
    system.reaches(ID, "DESTROYED").await;
    system.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn destroy_while_the_host_works_leaves_nothing() {
    let system = System::start().await;
    system.put_record(&seed_record()).await.unwrap();
    system
        .becomes(ID, "a host works on it", |record| {
            record.get("deployment").is_some_and(|d| d["phases"]["FETCHING"].is_string())
        })
        .await;
    system.set_status(ID, "PENDING_DESTROY").await.unwrap();
    system.reaches(ID, "DESTROYED").await;
    system.end().await;
}

/// Attributes of every type, a status that is none, and an edit of another program's.
#[tokio::test(flavor = "multi_thread")]
async fn attributes_of_every_type_are_kept_and_change_nothing() {
    use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
    let system = System::start().await;
    let mut item = bailey_runtime::items::to_item(&seed_record()).unwrap();
    let theirs = [
        ("binary", AttributeValue::B(Blob::new([0, 159, 146, 150]))),
        ("binaries", AttributeValue::Bs(vec![Blob::new([1]), Blob::new([2])])),
        ("big", AttributeValue::N("12345678901234567890123456789012345678".to_owned())),
        ("nothing", AttributeValue::Null(true)),
        ("set", AttributeValue::Ss(vec!["a".to_owned(), "b".to_owned()])),
    ];
    item.extend(theirs.clone().map(|(name, value)| (name.to_owned(), value)));
    let table = &system.names().enclaves_table;
    system.dynamodb().put_item().table_name(table).set_item(Some(item)).send().await.unwrap();
    system.reaches(ID, "DEPLOYED").await;
    let key = AttributeValue::S(ID.to_owned());
    let get = system.dynamodb().get_item().table_name(table).key("id", key);
    let kept = get.consistent_read(true).send().await.unwrap().item.unwrap();
    for (name, value) in theirs {
        assert_eq!(kept[name], value, "{name}");
    }
    system.destroy_all(&[ID]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destroyed_enclave_can_be_deployed_again() {
    let system = System::start().await;
    system.put_record(&seed_record()).await.unwrap();
    system.reaches(ID, "DEPLOYED").await;
    system.set_status(ID, "PENDING_DESTROY").await.unwrap();
    system.reaches(ID, "DESTROYED").await;
    system.set_status(ID, "PENDING_DEPLOY").await.unwrap();
    let again = system.reaches(ID, "DEPLOYED").await;
    assert_eq!(again["generation"], 2);
    assert_eq!(system.simulation().await.unwrap().launches, 2);
    system.destroy_all(&[ID]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_configuration_for_a_live_enclave_is_refused_and_the_enclave_lives_on() {
    let system = System::start().await;
    system.put_record(&record("live", &json!({}))).await.unwrap();
    system.reaches("live", "DEPLOYED").await;
    system.put_record(&record("live", &json!({"memory_mib": 2048}))).await.unwrap();
    let refused = system
        .becomes("live", "DEPLOYED with an error", |record| {
            record.get("status") == Some(&"DEPLOYED".into()) && record.contains_key("error")
        })
        .await;
    assert_eq!(refused["error"]["code"], "ConfigurationChangeRefused");
    assert_eq!(system.simulation().await.unwrap().live().count(), 1);
    system.destroy_all(&["live"]).await;
}
