//! The coordinator as a function: the same work, the same ends.

use crate::system::{System, record, seed_record};
use bailey_local_cloud::{
    ec2::FaultKind,
    lambda::{Invoked, Lambda, LambdaOptions, scheduled},
    wire::{Party, Side, Trouble, WireFault, WireRule},
};
use serde_json::{Value, json};
use std::time::Duration;

/// As deployed: streams, and a sweep that here comes more often than once a minute.
const DEPLOYED: LambdaOptions = LambdaOptions {
    concurrency: 2,
    sweep_every: Some(Duration::from_secs(2)),
    follows_streams: true,
};

/// Invoked by hand alone.
const BY_HAND: LambdaOptions =
    LambdaOptions { concurrency: 1, sweep_every: None, follows_streams: false };

/// What is done to one record, and where that ends.
struct Trace {
    id: &'static str,
    /// The configuration's changes.
    changes: fn() -> Value,
    /// Statuses to write, each after the one to wait for.
    requests: &'static [(&'static str, &'static str)],
    ends: &'static str,
}

fn plain() -> Value {
    json!({})
}

const TRACES: [Trace; 6] = [
    Trace { id: "deployed", changes: plain, requests: &[], ends: "DEPLOYED" },
    Trace {
        id: "destroyed",
        changes: plain,
        requests: &[("DEPLOYED", "PENDING_DESTROY")],
        ends: "DESTROYED",
    },
    Trace {
        id: "again",
        changes: plain,
        requests: &[("DEPLOYED", "PENDING_DESTROY"), ("DESTROYED", "PENDING_DEPLOY")],
        ends: "DEPLOYED",
    },
    Trace {
        id: "paused",
        changes: plain,
        requests: &[("DEPLOYED", "PAUSING"), ("PAUSED", "RESUMING")],
        ends: "DEPLOYED",
    },
    Trace {
        id: "malformed",
        changes: || json!({ "memory_mib": "much" }),
        requests: &[],
        ends: "FAILED",
    },
    Trace {
        id: "missing",
        changes: || json!({ "eif_path": "s3://your-bucket/missing.eif" }),
        requests: &[],
        ends: "FAILED",
    },
];

/// Goes through every trace at once; gives what is left of each, and how much was launched.
async fn go_through(system: &System) -> Vec<Value> {
    let each = TRACES.iter().map(|trace| async move {
        system.put_record(&record(trace.id, &(trace.changes)())).await.unwrap();
        for (first, request) in trace.requests {
            system.reaches(trace.id, first).await;
            system.set_status(trace.id, request).await.unwrap();
        }
        let ended = system
            .becomes(trace.id, trace.ends, |record| {
                // `REFUSED` is passed through.
                record["status"] == trace.ends && record["phase"] != "REFUSED"
            })
            .await;
        let verdict = ended.get("attestation").map(|it| it["verdict"].clone());
        json!([trace.id, ended["phase"], ended["generation"], ended.get("error_type"), verdict])
    });
    let mut ends = Vec::new();
    // All at once, so that records share batches.
    for end in futures_util::future::join_all(each).await {
        ends.push(end);
    }
    let view = system.simulation().await.unwrap();
    ends.push(json!([view.launches, view.enclave_launches()]));
    ends
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_traces_end_alike_in_both_shapes() {
    let runs = System::start().await;
    let as_process = go_through(&runs).await;
    runs.destroy_all(&["deployed", "again", "paused"]).await;

    let system = System::without_coordinator(&[], &[]).await;
    let lambda = Lambda::start(&system.cloud, DEPLOYED).await.unwrap();
    assert_eq!(go_through(&system).await, as_process);
    system.destroy_all_but_end(&["deployed", "again", "paused"]).await;
    lambda.end().await;
    system.end().await;
}

/// A stream's record of a write of the web app's.
fn written(sequence: &str, id: &str) -> Value {
    json!({ "eventName": "MODIFY", "eventSource": "aws:dynamodb",
            "dynamodb": { "Keys": { "id": { "S": id } }, "SequenceNumber": sequence } })
}

async fn notes(system: &System) -> Vec<String> {
    let ledger = system.ledger().await.unwrap();
    let keys = ledger.iter().filter_map(|item| item["pk"].as_str());
    keys.filter(|key| key.starts_with("again#")).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_record_in_a_batch_is_acknowledged_noted_and_holds_up_no_other() {
    let system = System::without_coordinator(&[], &[]).await;
    let lambda = Lambda::start(&system.cloud, BY_HAND).await.unwrap();
    let trouble = FaultKind::Error {
        code: "InternalError".to_owned(),
        message: "for a while".to_owned(),
        status: 500,
    };
    system.ec2().inject("RunInstances", 100, trouble).await.unwrap();
    system.put_record(&record("bad", &json!({}))).await.unwrap();
    system.put_record(&record("malformed", &json!({ "cpu_count": "many" }))).await.unwrap();
    let mut unusable = record("x", &json!({}));
    unusable["id"] = "no such id / at all".into();
    system.put_record(&unusable).await.unwrap();

    let batch = json!({ "Records": [
        written("1", "bad"), written("2", "malformed"), { "odd": true },
        written("3", "no such id / at all"), written("4", "absent"),
    ] });
    let answer = lambda.invoke(batch).await;
    assert_eq!(answer, Invoked::Answered(json!({ "batchItemFailures": [] })));
    for id in ["malformed", "no such id / at all"] {
        let failed = system.record(id).await.unwrap().unwrap();
        assert_eq!(failed["error_type"], "InvalidConfiguration", "{failed:?}");
    }
    assert_eq!(notes(&system).await, ["again#bad"]);

    system.ec2().clear_faults().await.unwrap();
    // Each sweep is another invocation; what the host reports comes meanwhile.
    loop {
        assert_eq!(lambda.invoke(scheduled()).await, Invoked::Answered(Value::Null));
        let record = system.record("bad").await.unwrap().unwrap();
        if record["status"] == "DEPLOYED" {
            break;
        }
        assert_eq!(record["status"], "DEPLOYING", "{record:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(notes(&system).await, Vec::<String>::new());
    assert_eq!(system.simulation().await.unwrap().launches, 1);
    lambda.end().await;
    let mut system = system;
    system.cloud.start_coordinator().unwrap();
    system.destroy_all(&["bad"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_given_back_only_when_not_even_a_note_can_be_written() {
    let system = System::with_wire().await;
    let lambda = Lambda::start(&system.cloud, BY_HAND).await.unwrap();
    for id in ["first", "second"] {
        system.put_record(&record(id, &json!({ "cpu_count": "many" }))).await.unwrap();
    }
    let batch = json!({ "Records": [written("7", "nobody"), written("8", "first"), written("9", "second")] });
    let down = |operation: &str| {
        let fault = WireFault::Error(Side::Before, Trouble::InternalError);
        let operation = Some(operation.to_owned());
        WireRule { party: Party::Coordinators, operation, times: 10_000, fault }
    };
    let wire = system.wire().unwrap();
    for operation in ["TransactGetItems", "PutItem"] {
        wire.inject(down(operation));
    }
    let given_back = json!({ "batchItemFailures": [{ "itemIdentifier": "7" }] });
    assert_eq!(lambda.invoke(batch.clone()).await, Invoked::Answered(given_back));
    wire.calm();
    // Only reading fails: both are noted, and the batch is done with.
    wire.inject(down("TransactGetItems"));
    let taken = Invoked::Answered(json!({ "batchItemFailures": [] }));
    assert_eq!(lambda.invoke(batch).await, taken);
    wire.calm();
    let mut noted = notes(&system).await;
    noted.sort();
    assert_eq!(noted, ["again#first", "again#nobody", "again#second"]);
    assert_eq!(lambda.invoke(scheduled()).await, Invoked::Answered(Value::Null));
    for id in ["first", "second"] {
        let failed = system.record(id).await.unwrap().unwrap();
        assert_eq!(failed["error_type"], "InvalidConfiguration", "{failed:?}");
    }
    assert_eq!(notes(&system).await, Vec::<String>::new());
    assert!(figures(&system).contains(&"api_calls".to_owned()), "{:?}", figures(&system));
    lambda.end().await;
    system.end().await;
}

/// The names of the metrics that CloudWatch would make of what the function printed.
fn figures(system: &System) -> Vec<String> {
    let log = std::fs::read_to_string(system.log("coordinator.log")).unwrap();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let metrics = lines.flat_map(|line| {
        let directive = line["_aws"]["CloudWatchMetrics"][0].clone();
        assert_eq!(directive["Namespace"], "Bailey", "{line}");
        directive["Metrics"].as_array().cloned().unwrap_or_default()
    });
    metrics.map(|metric| metric["Name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ec2_and_aws_health_say_of_an_instance_reaches_its_enclave() {
    let system = System::without_coordinator(&[], &[]).await;
    let options = LambdaOptions { sweep_every: None, ..DEPLOYED };
    let lambda = Lambda::start(&system.cloud, options).await.unwrap();
    system.put_record(&seed_record()).await.unwrap();
    let id = "test-enclave-001";
    let deployed = system.reaches(id, "DEPLOYED").await;
    let instance_id = deployed["instance_id"].as_str().unwrap();

    let event = |kind: &str, detail: Value| json!({ "source": "aws.ec2", "detail-type": kind, "detail": detail });
    let warned = json!({ "instance-id": instance_id, "instance-action": "terminate" });
    let warned = event("EC2 Spot Instance Interruption Warning", warned);
    for _ in 0..2 {
        assert_eq!(lambda.invoke(warned.clone()).await, Invoked::Answered(Value::Null));
    }
    let shown = system.record(id).await.unwrap().unwrap();
    let text = "EC2 will terminate the spot instance in two minutes";
    let warnings = shown["deployment"]["warnings"].as_array().unwrap();
    assert_eq!(warnings.iter().filter(|it| **it == text).count(), 1, "{shown:?}");
    assert_eq!(shown["status"], "DEPLOYED");

    let foreign = json!({ "instance-id": "i-0ffffffffffffffff", "state": "terminated" });
    let foreign = event("EC2 Instance State-change Notification", foreign);
    assert_eq!(lambda.invoke(foreign).await, Invoked::Answered(Value::Null));
    system.ec2().fail_instance(instance_id).await.unwrap();
    let gone = json!({ "instance-id": instance_id, "state": "shutting-down" });
    lambda.invoke(event("EC2 Instance State-change Notification", gone)).await;
    let failed = system.reaches(id, "FAILED").await;
    assert_eq!(failed["error_type"], "HostLost");
    lambda.end().await;
    system.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_another_kind_fails_its_invocation_and_says_why() {
    let system = System::without_coordinator(&[], &[]).await;
    let lambda = Lambda::start(&system.cloud, BY_HAND).await.unwrap();
    let Invoked::Failed(reason) = lambda.invoke(json!({ "source": "aws.s3" })).await else {
        panic!("it was taken");
    };
    let message = reason["errorMessage"].as_str().unwrap();
    assert!(message.contains("aws.s3"), "{reason}");
    lambda.end().await;
    system.end().await;
}
