//! The wire between our programs and AWS: what it does to calls, and what a deploy makes of that.

use crate::system::System;
use aws_sdk_dynamodb::types::AttributeValue;
use bailey_local_cloud::{
    chaos::{LIMIT, WebApp, comes_to_rest},
    local::Clients,
    wire::{Party, Side, Trouble, WireFault, WireRule},
};
use bailey_model::{S3Location, Status};
use std::time::Duration;

/// More than the SDK tries.
const ALWAYS: u32 = 10;

fn rule(operation: &str, fault: WireFault, times: u32) -> WireRule {
    let operation = Some(operation.to_owned());
    WireRule { party: Party::Coordinators, operation, times, fault }
}

/// Makes an item that must not be there yet, over the wire; gives the error's code, if there is one
/// from the service.
async fn make(system: &System, id: &str) -> Result<(), Option<String>> {
    use aws_sdk_dynamodb::error::ProvideErrorMetadata as _;
    let clients = Clients::new(system.wire().unwrap().coordinators_url());
    let put = clients.dynamodb().put_item().table_name(&system.names().enclaves_table);
    let put = put.item("id", AttributeValue::S(id.to_owned()));
    let put = put.condition_expression("attribute_not_exists(id)");
    put.send().await.map(drop).map_err(|error| error.code().map(str::to_owned))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_on_the_wire_strikes_before_or_after_the_effect() {
    use Side::{After, Before};
    use Trouble::{InternalError, Throttling};
    let system = System::with_wire().await;
    let wire = system.wire().unwrap();
    let code = |code: &str| Err(Some(code.to_owned()));
    for (number, (fault, answer, takes_effect)) in [
        (WireFault::Drop(Before), Err(None), false),
        // The tries after the first find what that has written.
        (WireFault::Drop(After), Err(None), true),
        (WireFault::Error(Before, Throttling), code("ThrottlingException"), false),
        (WireFault::Error(After, InternalError), code("InternalServerError"), true),
        (WireFault::Duplicate, code("ConditionalCheckFailedException"), true),
        (WireFault::Delay(Before, Duration::from_millis(1)), Ok(()), true),
        (WireFault::Delay(After, Duration::from_millis(1)), Ok(()), true),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("item-{number}");
        wire.inject(rule("PutItem", fault, ALWAYS));
        assert_eq!(make(&system, &id).await, answer, "{fault:?}");
        assert_eq!(system.record(&id).await.unwrap().is_some(), takes_effect, "{fault:?}");
        wire.calm();
    }
    assert_eq!(make(&system, "item").await, Ok(()), "nothing is left of the faults");
    system.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_held_is_lost_or_goes_on_before_or_after_its_effect() {
    let system = System::with_wire().await;
    for (id, side) in [("before", Side::Before), ("after", Side::After)] {
        let held = system.wire().unwrap().hold_write(None, 0, side);
        let held = tokio::select! {
            held = held => held.unwrap(),
            made = make(&system, id) => panic!("it was answered: {made:?}"),
        };
        assert_eq!(held.call.to_string(), "PutItem bailey-enclaves");
        drop(held);
        assert_eq!(system.record(id).await.unwrap().is_some(), side == Side::After);
        let held = system.wire().unwrap().hold_write(None, 0, side);
        let again = format!("{id}-again");
        let (made, ()) = tokio::join!(make(&system, &again), async { held.await.unwrap().pass() });
        assert_eq!(made, Ok(()), "it goes on when it is let");
    }
    system.end().await;
}

/// Larger than any buffer on the way, up and down.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_object_passes_the_wire_unchanged() {
    let system = System::with_wire().await;
    let clients = Clients::new(system.wire().unwrap().coordinators_url());
    let (bucket, key) = (system.names().eif_bucket.clone(), "large".to_owned());
    let content: Vec<u8> = (0..4_u32 << 20).flat_map(u32::to_le_bytes).collect();
    let location = S3Location { bucket: bucket.clone(), key };
    clients.put_object(&location, content.clone()).await.unwrap();
    assert!(system.object(&location).await.unwrap() == content, "it went up unchanged");
    let part =
        clients.s3().get_object().bucket(&bucket).key("large").range("bytes=1000000-8999999");
    let part = part.send().await.unwrap().body.collect().await.unwrap().into_bytes();
    assert!(part == content[1_000_000..9_000_000], "a part came down unchanged");
    system.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_and_a_destroy_survive_each_fault_at_every_kind_of_call() {
    let mut system = System::with_wire().await;
    let faults = [
        WireFault::Drop(Side::Before),
        WireFault::Drop(Side::After),
        WireFault::Duplicate,
        WireFault::Error(Side::Before, Trouble::Throttling),
        WireFault::Error(Side::After, Trouble::InternalError),
    ];
    system.cloud.start_coordinator().unwrap();
    let mut web_app = WebApp::default();
    for (number, fault) in faults.into_iter().enumerate() {
        for operation in [
            "PutItem",
            "PutObject",
            "RunInstances",
            "TerminateInstances",
            "TransactGetItems",
            "TransactWriteItems",
            "UpdateItem",
        ] {
            system.wire().unwrap().inject(rule(operation, fault, 1));
        }
        let of_agents = WireRule { party: Party::Agents, operation: None, times: 3, fault };
        system.wire().unwrap().inject(of_agents);
        let id = format!("faulty-{number}");
        web_app.deploy(&system.cloud, &id).await.unwrap();
        let rest = comes_to_rest(&system.cloud, &web_app, 1, LIMIT).await.unwrap();
        assert_eq!((rest.violations, rest.deployed), (vec![], 1), "{fault:?}");
        web_app.ask(&system.cloud, &id, Status::PendingDestroy).await.unwrap();
        let rest = comes_to_rest(&system.cloud, &web_app, 1, LIMIT).await.unwrap();
        assert_eq!((rest.violations, rest.deployed), (vec![], 0), "{fault:?}");
        system.wire().unwrap().calm();
    }
    assert_eq!(system.simulation().await.unwrap().launches, 5);
    system.end().await;
}
