//! Enclaves that share a parent, in the small world.

#![allow(clippy::panic, clippy::unwrap_used, reason = "what is missing here has failed its test")]

use crate::world::{World, record_with};
use bailey_lifecycle::{InstanceState, ledger::State};
use bailey_model::failure::FailureCode;
use serde_json::{Value, json};

fn sharing() -> Value {
    record_with(&json!({ "share_parent": true, "instance_type": "m5.2xlarge" }))
}

#[test]
fn an_enclave_that_shares_is_deployed_and_destroyed_and_its_host_ends_with_it() {
    let mut world = World::with_record(sharing());
    world.deploy();
    assert_eq!((world.status().as_str(), world.alive()), ("DEPLOYED", 1));
    assert_eq!(world.attribute("deployment")["shared_host"], "shared/m5.2xlarge/any/0");
    world.ask("PENDING_DESTROY");
    world.deploy();
    assert_eq!((world.status().as_str(), world.alive()), ("DESTROYED", 0));
    world.check_history();
}

#[test]
fn an_enclave_that_cannot_be_ended_keeps_its_place_until_the_others_have_left() {
    let mut world = World::with_record(sharing());
    world.deploy();
    world.beside_another(None);
    world.ask("PENDING_DESTROY");
    world.settle();
    // Its host never says that it is gone.
    world.later(61);
    world.settle();
    assert!(matches!(world.state(), State::Terminating { .. }), "{:?}", world.state());
    world.later(1_200);
    world.settle();
    assert!(world.entry.as_ref().unwrap().is_overdue());
    assert_eq!((world.status().as_str(), world.alive()), ("DESTROYING", 1));
    world.the_others_leave();
    world.settle();
    assert_eq!((world.status().as_str(), world.alive()), ("DESTROYED", 0));
}

#[test]
fn an_enclave_that_was_shown_as_anothers_already_is_rejected() {
    let mut world = World::with_record(sharing());
    world.settle();
    let instance_id = world.state().host().unwrap().instance_id.clone();
    world.beside_another(Some(format!("{instance_id}-enc0123456789abcdef")));
    world.host_works();
    world.settle();
    assert_eq!(world.failure_code(), Some(FailureCode::AttestationRejected));
    world.host_works();
    world.settle();
    assert_eq!((world.status().as_str(), world.alive()), ("FAILED", 1));
}

#[test]
fn nobody_shares_where_that_is_not_allowed() {
    let mut world = World::with_record(sharing());
    world.config.enclaves_per_parent = 1;
    world.deploy();
    assert_eq!(world.status(), "DEPLOYED");
    assert_eq!(world.state().host().unwrap().slot, None);
}

/// Whoever joins a host may find out only then that it was lost before.
#[test]
fn a_host_that_is_lost_before_it_says_anything_about_an_enclave_is_replaced() {
    let mut world = World::with_record(sharing());
    world.settle();
    let lost = world.state().host().unwrap().instance_id.clone();
    for instance in &mut world.instances {
        instance.state = InstanceState::Terminated;
    }
    world.deploy();
    world.deploy();
    assert_eq!((world.status().as_str(), world.alive()), ("DEPLOYED", 1));
    assert_ne!(world.state().host().unwrap().instance_id, lost);
}

#[test]
fn an_enclave_leaves_a_shared_host_that_aws_takes_away_and_does_not_join_it_again() {
    let always = json!({"share_parent": true, "restart": "always", "instance_type": "m5.2xlarge"});
    let mut world = World::with_record(record_with(&always));
    world.deploy();
    // One that stays keeps the host open to others.
    world.beside_another(None);
    let old = world.attribute("instance_id");
    world.announces(true);
    world.settle();
    assert_eq!(world.attribute("phase"), "MOVING");
    // It ends there, is deployed elsewhere, and answers.
    for _ in 0..3 {
        world.deploy();
    }
    assert_eq!(world.status(), "DEPLOYED");
    assert_ne!(world.attribute("instance_id"), old);
    assert_eq!(
        (world.instances.len(), world.alive()),
        (2, 2),
        "the other one's host is left alone"
    );
}

#[test]
fn a_move_that_a_host_holds_up_does_not_take_the_time_of_the_next_deploy() {
    let always = json!({"share_parent": true, "restart": "always", "instance_type": "m5.2xlarge"});
    let mut world = World::with_record(record_with(&always));
    world.deploy();
    world.beside_another(None);
    world.announces(true);
    world.settle();
    // The host says nothing more; the other one stays, so its instance does, until AWS ends it.
    world.later(3_600);
    world.settle();
    world.instances[0].state = InstanceState::Terminated;
    world.settle();
    world.deploy();
    world.deploy();
    assert_eq!(world.status(), "DEPLOYED");
    assert_eq!(world.instances.len(), 2);
}
