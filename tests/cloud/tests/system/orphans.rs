//! Instances that nobody counts on.

use crate::system::{System, record};
use bailey_local_cloud::ec2::FaultKind;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Launches an instance as a coordinator does for this request.
async fn launch(system: &System, id: &str, token: &str) -> String {
    let template = system.names().launch_template.clone();
    let parameters = [
        ("LaunchTemplate.LaunchTemplateName", template.as_str()),
        ("InstanceType", "m5.xlarge"),
        ("MinCount", "1"),
        ("MaxCount", "1"),
        ("ClientToken", token),
        ("InstanceInitiatedShutdownBehavior", "terminate"),
        ("TagSpecification.1.ResourceType", "instance"),
        ("TagSpecification.1.Tag.1.Key", "bailey:deployment"),
        ("TagSpecification.1.Tag.1.Value", "local"),
        ("TagSpecification.1.Tag.2.Key", "bailey:enclave"),
        ("TagSpecification.1.Tag.2.Value", id),
        ("TagSpecification.1.Tag.3.Key", "bailey:generation"),
        ("TagSpecification.1.Tag.3.Value", "1"),
    ];
    let answer = system.ec2().call("RunInstances", &parameters).await;
    answer.unwrap().element("instanceId").unwrap().to_owned()
}

/// The token of an enclave's first launch, as the coordinator makes it.
fn first_token(id: &str) -> String {
    hex::encode(Sha256::digest(format!("local\n{id}\n1\n1\n")))
}

fn events(ledger: &[Value], id: &str) -> Vec<String> {
    let key = json!(format!("enclave#{id}"));
    let entry = ledger.iter().find(|entry| entry["pk"] == key).unwrap();
    let events = entry["events"].as_array().unwrap();
    events.iter().map(|event| event["text"].as_str().unwrap().to_owned()).collect()
}

/// A launch that EC2 carried out after it was taken for refused, and an instance that only says by its
/// tags that it is ours.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_nobody_counts_on_is_ended_and_one_that_is_not_ours_is_left() {
    let system = System::start_with(&[("orphan_grace_s", 1)], &[]).await;
    system
        .ec2()
        .inject("RunInstances", 1, FaultKind::error("InvalidParameterValue"))
        .await
        .unwrap();
    system.put_record(&record("late", &json!({}))).await.unwrap();
    system.reaches("late", "FAILED").await;
    system.put_record(&record("lives", &json!({}))).await.unwrap();
    system.reaches("lives", "DEPLOYED").await;

    let tagged = launch(&system, "late", &"f".repeat(64)).await;
    let late = launch(&system, "late", &first_token("late")).await;
    let view = system
        .simulation_becomes("the late one is ended", |view| {
            view.instances.iter().any(|it| it.id == late && it.state.is_ending())
        })
        .await;
    let live: Vec<_> = view.live().map(|it| it.tags["bailey:enclave"].as_str()).collect();
    assert_eq!(live.len(), 2, "{view:?}");
    assert!(live.contains(&"lives"), "{view:?}");
    let ledger: Vec<Value> =
        system.ledger().await.unwrap().into_iter().map(Value::Object).collect();
    let reason = format!("{late} was launched and belongs to nobody: it is terminated");
    assert!(events(&ledger, "late").contains(&reason), "{ledger:?}");
    assert!(!events(&ledger, "late").iter().any(|event| event.contains(&tagged)), "{ledger:?}");

    system.ec2().call("TerminateInstances", &[("InstanceId.1", &tagged)]).await.unwrap();
    system.destroy_all_but_end(&["lives"]).await;
    let view = system.simulation().await.unwrap();
    assert_eq!(view.live().count(), 0, "{view:?}");
    system.cloud.shutdown().await.unwrap();
}
