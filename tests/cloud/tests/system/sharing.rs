//! Parents that several enclaves share.

use crate::system::{System, record};
use bailey_local_cloud::{local::Record, wire::Side};
use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};

/// A record whose enclave may share an `m5.2xlarge`, on which there is room for three like it.
fn sharing(id: &str) -> Value {
    record(id, &json!({ "share_parent": true, "instance_type": "m5.2xlarge" }))
}

async fn put(system: &System, ids: &[&str]) {
    for id in ids {
        system.put_record(&sharing(id)).await.unwrap();
    }
}

/// The instances of the enclaves, once all are deployed.
async fn hosts(system: &System, ids: &[&str]) -> BTreeSet<String> {
    let mut hosts = BTreeSet::new();
    for id in ids {
        let deployed = system.reaches(id, "DEPLOYED").await;
        hosts.insert(deployed["instance_id"].as_str().unwrap().to_owned());
    }
    hosts
}

/// The slots of shared hosts that are in use.
async fn slots_in_use(system: &System) -> Vec<Record> {
    let ledger = system.ledger().await.unwrap();
    let is_used = |item: &Record| {
        let name = item["sk"].as_str().unwrap_or_default();
        item["pk"] == "spares" && name.starts_with("shared/") && item["state"]["name"] != "EMPTY"
    };
    ledger.into_iter().filter(is_used).collect()
}

/// Destroys the enclaves and checks that no shared host is left.
async fn end(system: System, ids: &[&str]) {
    system.destroy_all_but_end(ids).await;
    system.simulation_becomes("nothing is left", |view| view.live().count() == 0).await;
    let emptied = async {
        while !slots_in_use(&system).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(crate::system::LIMIT, emptied).await.expect("the slots are empty");
    system.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_enclaves_share_a_parent_and_each_lives_its_own_life() {
    let system = System::start().await;
    put(&system, &["one", "two", "three"]).await;
    system.put_record(&record("alone", &json!({ "instance_type": "m5.2xlarge" }))).await.unwrap();
    let shared = hosts(&system, &["one", "two", "three"]).await;
    assert_eq!(shared.len(), 1, "{shared:?}");
    let alone = hosts(&system, &["alone"]).await;
    assert!(shared.is_disjoint(&alone), "{shared:?} {alone:?}");
    assert_eq!(system.simulation().await.unwrap().launches, 2);

    // Each has a proof of its own, and says where it is.
    let mut reports = BTreeSet::new();
    for id in ["one", "two", "three"] {
        let deployed = system.reaches(id, "DEPLOYED").await;
        // In the best zone, where the installation knows zones.
        let host = deployed["deployment"]["shared_host"].as_str().unwrap();
        assert!(host.starts_with("shared/m5.2xlarge/") && host.ends_with("/0"), "{host}");
        assert!(deployed["deployment"].get("warnings").is_none(), "{deployed:?}");
        reports.insert(deployed["attestation"]["report"].as_str().unwrap().to_owned());
    }
    assert_eq!(reports.len(), 3, "{reports:?}");

    // One is destroyed; the others stay deployed, where they are.
    system.set_status("one", "PENDING_DESTROY").await.unwrap();
    system.reaches("one", "DESTROYED").await;
    assert_eq!(hosts(&system, &["two", "three"]).await, shared);

    // One of them ends by itself and attests anew; the other's enclave is the same as before.
    let proofs = async || {
        let mut proofs = BTreeSet::new();
        for id in ["two", "three"] {
            let deployed = system.reaches(id, "DEPLOYED").await;
            proofs.insert(deployed["attestation"]["report"].as_str().unwrap().to_owned());
        }
        proofs
    };
    let before = proofs().await;
    let deployed = system.reaches("two", "DEPLOYED").await;
    let host = deployed["deployment"]["host"].as_str().unwrap().to_owned();
    kill(system.responder_of(&deployed), Signal::SIGKILL).unwrap();
    let restarted = |observed: &bailey_model::hosts::Observed| {
        observed.assignments.iter().filter(|it| it.restarts == 1).count() == 1
    };
    system.reports(&host, "one is started again", restarted).await;
    let after = async {
        loop {
            let after = proofs().await;
            if after != before {
                return after;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let after = tokio::time::timeout(crate::system::LIMIT, after).await.expect("it attests anew");
    assert_eq!(before.intersection(&after).count(), 1, "{before:?} {after:?}");

    // The place that became free is taken by another.
    put(&system, &["four"]).await;
    assert_eq!(hosts(&system, &["four"]).await, shared);
    let observed = system.observed(&host).await.unwrap().unwrap();
    let ids: BTreeSet<_> =
        observed.assignments.iter().map(|it| it.enclave_id.to_string()).collect();
    assert_eq!(ids, ["four", "three", "two"].map(str::to_owned).into());

    system.destroy_all_but_end(&["two", "three", "four"]).await;
    system
        .simulation_becomes("the shared host is gone", |view| {
            view.live().all(|it| !shared.contains(&it.id))
        })
        .await;
    assert_eq!(hosts(&system, &["alone"]).await, alone);
    end(system, &["alone"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_takes_no_more_than_it_has_room_for() {
    let system = System::start().await;
    let ids = ["a", "b", "c", "d"];
    put(&system, &ids).await;
    assert_eq!(hosts(&system, &ids).await.len(), 2);
    assert_eq!(system.simulation().await.unwrap().launches, 2);
    end(system, &ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_coordinators_at_once_share_one_parent() {
    let system = System::start().await;
    let mut second = system.another_coordinator().unwrap();
    let ids = ["a", "b", "c"];
    put(&system, &ids).await;
    assert_eq!(hosts(&system, &ids).await.len(), 1);
    assert_eq!(system.simulation().await.unwrap().launches, 1);
    system.set_status("b", "PENDING_DESTROY").await.unwrap();
    system.reaches("b", "DESTROYED").await;
    assert_eq!(hosts(&system, &["a", "c"]).await.len(), 1);
    second.kill().await.unwrap();
    end(system, &["a", "c"]).await;
}

/// At each of these the coordinator is killed, and another one goes on: when so many have passed.
const KILLS: [(&str, u64, Side); 7] = [
    ("TransactWriteItems bailey-ledger JOINING", 0, Side::After),
    ("RunInstances", 0, Side::Before),
    ("RunInstances", 0, Side::After),
    ("PutItem bailey-ledger SHARED", 0, Side::Before),
    ("TransactWriteItems bailey-ledger DEPLOYING", 1, Side::Before),
    ("TransactWriteItems bailey-ledger ENDED", 0, Side::After),
    ("TerminateInstances", 0, Side::Before),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_killed_between_the_writes_of_a_shared_parent_finishes_the_work() {
    let mut system = System::with_wire().await;
    system.cloud.start_coordinator().unwrap();
    for (number, (step, passing, side)) in KILLS.into_iter().enumerate() {
        let held = system.wire().unwrap().hold_write(Some(step), passing, side);
        let ids = ["a", "b"].map(|name| format!("{name}-{number}"));
        let ids = [ids[0].as_str(), ids[1].as_str()];
        let killed = tokio::spawn(held);
        put(&system, &ids).await;
        let ends = number >= 5;
        if ends {
            hosts(&system, &ids).await;
            for id in ids {
                system.set_status(id, "PENDING_DESTROY").await.unwrap();
            }
        }
        let held = tokio::time::timeout(crate::system::LIMIT, killed).await;
        let held = held.unwrap_or_else(|_| panic!("{step} never comes")).unwrap().unwrap();
        system.cloud.kill_coordinator().await;
        drop(held);
        system.cloud.start_coordinator().unwrap();
        if !ends {
            assert_eq!(hosts(&system, &ids).await.len(), 1, "{side:?} {step}");
        }
        system.destroy_all_but_end(&ids).await;
        system.simulation_becomes("nothing is left", |view| view.live().count() == 0).await;
        let launches = system.simulation().await.unwrap().launches;
        assert_eq!(launches, u64::try_from(number).unwrap() + 1, "{side:?} {step}");
    }
    end(system, &[]).await;
}

/// A paused enclave gives its place up; the last one that is paused ends the parent.
#[tokio::test(flavor = "multi_thread")]
async fn a_paused_enclave_leaves_the_parent_to_the_others_and_resumes_where_there_is_room() {
    let system = System::start().await;
    put(&system, &["a", "b"]).await;
    let first = hosts(&system, &["a", "b"]).await;
    assert_eq!(first.len(), 1);
    system.set_status("a", "PAUSING").await.unwrap();
    system.reaches("a", "PAUSED").await;
    assert_eq!(hosts(&system, &["b"]).await, first);
    system.set_status("a", "RESUMING").await.unwrap();
    assert_eq!(hosts(&system, &["a", "b"]).await, first);
    for id in ["a", "b"] {
        system.set_status(id, "PAUSING").await.unwrap();
        system.reaches(id, "PAUSED").await;
    }
    system.simulation_becomes("nothing is left", |view| view.live().count() == 0).await;
    system.set_status("b", "RESUMING").await.unwrap();
    assert!(hosts(&system, &["b"]).await.is_disjoint(&first));
    end(system, &["a", "b"]).await;
}

/// A lost host ends all of its places; those who are to run always go on together elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_shared_parent_that_is_lost_is_replaced_for_all_who_are_to_run_always() {
    let system = System::start().await;
    for id in ["a", "b"] {
        let mut record = sharing(id);
        record["configuration"]["restart"] = "always".into();
        system.put_record(&record).await.unwrap();
    }
    let first = hosts(&system, &["a", "b"]).await;
    let lost = first.first().unwrap().clone();
    system.ec2().fail_instance(&lost).await.unwrap();
    let mut next = BTreeSet::new();
    for id in ["a", "b"] {
        let moved = system
            .becomes(id, "it runs elsewhere", |record| {
                record["status"] == "DEPLOYED" && record["instance_id"] != lost.as_str()
            })
            .await;
        next.insert(moved["instance_id"].as_str().unwrap().to_owned());
    }
    assert_eq!(next.len(), 1, "{next:?}");
    assert_eq!(system.simulation().await.unwrap().launches, 2);
    end(system, &["a", "b"]).await;
}
