//! Pausing and resuming.

#![allow(clippy::unwrap_used, reason = "what is missing here has failed its test")]

use crate::world::{LaunchFate, World, record_with, seed_record};
use bailey_lifecycle::{InstanceState, ledger::State};
use bailey_model::{failure::FailureCode, report::Report};
use serde_json::json;

fn deployed() -> World {
    let mut world = World::with_record(seed_record());
    world.deploy();
    assert_eq!(world.status(), "DEPLOYED");
    world
}

fn paused() -> World {
    let mut world = deployed();
    world.ask("PAUSING");
    world.deploy();
    assert_eq!(world.status(), "PAUSED");
    world
}

fn states(world: &World) -> Vec<InstanceState> {
    world.instances.iter().map(|instance| instance.state).collect()
}

#[test]
fn pausing_ends_the_enclave_and_stops_its_instance() {
    let mut world = deployed();
    world.ask("PAUSING");
    world.settle();
    assert_eq!((world.status().as_str(), world.attribute("phase")), ("PAUSING", json!("PAUSING")));
    assert_eq!(states(&world), [InstanceState::Running], "its host is asked first");
    assert!(world.desired.values().all(|desired| desired.drain));
    world.deploy();
    assert_eq!((world.status().as_str(), world.attribute("phase")), ("PAUSED", json!("PAUSED")));
    assert_eq!(states(&world), [InstanceState::Stopped]);
    assert_eq!(world.attribute("attestation"), json!(null), "nothing is proven of what comes next");
}

#[test]
fn resuming_starts_the_same_instance_and_is_deployed_only_after_a_new_attestation() {
    let mut world = paused();
    world.ask("RESUMING");
    world.settle();
    assert_eq!(world.status(), "DEPLOYING");
    assert_eq!(states(&world), [InstanceState::Running]);
    world.deploy();
    assert_eq!(world.status(), "DEPLOYED");
    assert_eq!(world.attribute("generation"), json!(1));
    let reports: Vec<Report> =
        world.reports.values().map(|text| serde_json::from_str(text).unwrap()).collect();
    let sequences: Vec<_> = reports.iter().map(|report| report.sequence).collect();
    assert_eq!(sequences, [1, 2], "the nonce follows the one before");
    assert!(reports.iter().all(|report| report.rejection.is_none()));
    assert!(reports.last().unwrap().previous.is_some(), "the chain goes on");
}

#[test]
fn an_instance_that_cannot_be_started_is_replaced_when_it_is_gone() {
    let mut world = paused();
    world.can_start = false;
    world.ask("RESUMING");
    world.deploy();
    world.deploy();
    assert_eq!(world.status(), "DEPLOYED");
    assert_eq!(states(&world), [InstanceState::Terminated, InstanceState::Running]);
    assert_eq!(world.reports.len(), 2, "each with a place of its own");
}

#[test]
fn a_paused_instance_that_ec2_took_away_is_replaced() {
    let mut world = paused();
    for instance in &mut world.instances {
        instance.state = InstanceState::Terminated;
    }
    world.settle();
    assert_eq!(world.status(), "PAUSED", "nothing ran there");
    world.ask("RESUMING");
    world.deploy();
    world.deploy();
    assert_eq!(world.status(), "DEPLOYED");
}

/// From the first step of pausing and of resuming to the last.
#[test]
fn destroy_wins_over_pausing_and_resuming_at_every_step() {
    for request in ["PAUSING", "RESUMING"] {
        for steps in 0..14 {
            let mut world = if request == "PAUSING" { deployed() } else { paused() };
            world.can_start = steps % 2 == 0;
            world.ask(request);
            for step in 0..steps {
                world.step(false);
                if step % 3 == 2 {
                    world.host_works();
                }
            }
            world.ask("PENDING_DESTROY");
            world.settle();
            world.host_works();
            world.settle();
            assert_eq!(world.status(), "DESTROYED", "{request}, after {steps} steps");
            assert!(states(&world).iter().all(|state| state.is_ended()));
            world.check();
        }
    }
}

#[test]
fn resuming_while_pausing_waits_until_it_is_paused() {
    let mut world = deployed();
    world.ask("PAUSING");
    world.settle();
    world.ask("RESUMING");
    world.settle();
    assert_eq!(world.status(), "RESUMING", "the request stays");
    assert!(matches!(world.state(), State::Pausing { .. }));
    world.deploy();
    world.deploy();
    assert_eq!(world.status(), "DEPLOYED");
    assert_eq!(world.reports.len(), 2);
}

#[test]
fn pausing_while_resuming_stops_the_instance_again() {
    let mut world = paused();
    world.ask("RESUMING");
    while !matches!(world.state(), State::Resuming { .. }) {
        assert!(world.step(false));
    }
    world.ask("PAUSING");
    world.settle();
    assert_eq!(world.status(), "PAUSED");
    assert_eq!(states(&world), [InstanceState::Stopped]);
}

#[test]
fn an_enclave_can_be_paused_before_it_ever_answered() {
    let mut world = World::with_record(seed_record());
    world.settle();
    world.ask("PAUSING");
    world.deploy();
    assert_eq!(world.status(), "PAUSED");
    world.ask("RESUMING");
    world.deploy();
    assert_eq!(world.status(), "DEPLOYED");
}

#[test]
fn asking_again_for_what_is_so_changes_nothing() {
    let mut world = paused();
    let before = world.entry.clone();
    world.ask("PAUSING");
    world.settle();
    assert_eq!((world.status().as_str(), &world.entry), ("PAUSED", &before));
    let mut world = deployed();
    let before = world.entry.clone();
    world.ask("RESUMING");
    world.settle();
    assert_eq!((world.status().as_str(), &world.entry), ("DEPLOYED", &before));
}

#[test]
fn a_request_to_deploy_what_is_paused_resumes_it_and_another_configuration_is_refused() {
    let mut world = paused();
    world.ask("PENDING_DEPLOY");
    world.deploy();
    assert_eq!(world.status(), "DEPLOYED");
    assert_eq!(world.attribute("generation"), json!(1));

    let mut world = paused();
    world.write(record_with(&json!({ "memory_mib": 2048 })));
    world.settle();
    assert_eq!(world.status(), "PAUSED");
    assert_eq!(world.attribute("error_type"), "ConfigurationChangeRefused");
}

#[test]
fn what_cannot_be_paused_or_resumed_says_so() {
    let mut world = World::with_record(seed_record());
    world.fate = LaunchFate::AnswerLost;
    let is_launching = |world: &World| {
        world.entry.as_ref().is_some_and(|entry| matches!(entry.state, State::Launching { .. }))
    };
    while !is_launching(&world) {
        assert!(world.step(false));
    }
    world.ask("PAUSING");
    assert!(world.step(false));
    assert_eq!(
        world.entry.as_ref().unwrap().refused.as_ref().unwrap().code,
        FailureCode::RequestRefused
    );

    let mut ended = deployed();
    ended.ask("PENDING_DESTROY");
    ended.deploy();
    ended.ask("RESUMING");
    ended.settle();
    assert_eq!(ended.status(), "DESTROYED");
    let refused = ended.entry.as_ref().unwrap().refused.clone().unwrap();
    assert_eq!(refused.message, "RESUMING was asked for in the phase DESTROYED");
}

#[test]
fn a_record_that_is_deleted_while_paused_ends_its_instance() {
    let mut world = paused();
    world.record = None;
    world.settle();
    world.later(61);
    world.settle();
    assert_eq!(states(&world), [InstanceState::Terminated]);
}

#[test]
fn a_lost_instance_is_replaced_when_the_record_says_always_and_only_so_often() {
    let mut world = World::with_record(record_with(&json!({ "restart": "always" })));
    world.deploy();
    for lost in 1..=10 {
        assert_eq!(world.status(), "DEPLOYED", "after {lost} instances");
        for instance in &mut world.instances {
            instance.state = InstanceState::Terminated;
        }
        world.deploy();
        world.check();
    }
    assert_eq!(world.status(), "FAILED");
    assert_eq!((world.failure_code(), world.instances.len()), (Some(FailureCode::HostLost), 10));
    assert_eq!(world.reports.len(), 10, "each instance attested for itself");
}

#[test]
fn an_instance_that_somebody_stopped_is_started_again_and_attests_anew() {
    let mut world = deployed();
    for instance in &mut world.instances {
        instance.state = InstanceState::Stopped;
    }
    world.settle();
    assert_eq!(world.status(), "DEPLOYING");
    assert_eq!(world.attribute("attestation"), json!(null));
    world.deploy();
    assert_eq!((world.status().as_str(), world.reports.len()), ("DEPLOYED", 2));
    assert_eq!(states(&world), [InstanceState::Running]);
}

#[test]
fn an_instance_that_is_stopped_again_and_again_ends_in_a_failure() {
    let mut world = deployed();
    for _ in 0..20 {
        for instance in world.instances.iter_mut().filter(|i| !i.state.is_ended()) {
            instance.state = InstanceState::Stopped;
        }
        world.deploy();
    }
    assert_eq!(
        (world.status().as_str(), world.failure_code()),
        ("FAILED", Some(FailureCode::HostLost))
    );
}

#[test]
fn a_stopped_instance_is_a_lost_host_when_the_enclave_is_never_restarted() {
    let mut world = World::with_record(record_with(&json!({ "restart": "never" })));
    world.deploy();
    for instance in &mut world.instances {
        instance.state = InstanceState::Stopped;
    }
    world.settle();
    assert_eq!(
        (world.status().as_str(), world.failure_code()),
        ("FAILED", Some(FailureCode::HostLost))
    );
}

/// A call to start it, made before it was paused again, arrives late.
#[test]
fn an_instance_that_runs_although_it_is_paused_is_stopped_again() {
    let mut world = paused();
    for instance in &mut world.instances {
        instance.state = InstanceState::Running;
    }
    world.settle();
    assert_eq!(world.status(), "PAUSED");
    assert_eq!(states(&world), [InstanceState::Stopped]);
}
