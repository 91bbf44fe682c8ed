//! Whose an instance is.

#![allow(clippy::unwrap_used, reason = "what is missing here has failed its test")]

use crate::world::{LaunchFate, World, record_with};
use bailey_lifecycle::{
    launch::LaunchRequest,
    ledger::State,
    orphan::{Claimant, Claimed, Ownership, ownership},
    outcome,
};
use bailey_model::Generation;
use serde_json::json;

const OTHERS: &str = "no launch that the ledger knows of has its client token";

/// An instance that was launched by this request.
fn launched(request: &LaunchRequest) -> Claimed {
    Claimed::read("i-late", &request.client_token, &request.tags).unwrap()
}

fn whose(world: &World, instance: &Claimed) -> Ownership {
    ownership(instance, world.entry.as_ref(), &world.config.deployment)
}

/// A world whose launch is under way, and its request.
fn launching() -> (World, LaunchRequest) {
    let record = record_with(&json!({ "availability_zones": ["eu-west-1a", "eu-west-1b"] }));
    let mut world = World::with_record(record);
    loop {
        if let Some(State::Launching { intent, .. }) = world.entry.as_ref().map(|e| &e.state) {
            let request = intent.request.clone();
            return (world, request);
        }
        assert!(world.step(false));
    }
}

#[test]
fn an_instance_of_the_launch_under_way_is_owned_until_the_launch_is_over() {
    let (mut world, request) = launching();
    let late = launched(&request);
    assert_eq!(whose(&world, &late), Ownership::Owned);
    world.fate = LaunchFate::Refused;
    while world.entry.as_ref().unwrap().attempts == 1 {
        assert!(world.step(false));
    }
    // Another attempt is under way; a launch of the first that EC2 did after all is nobody's.
    assert_eq!(whose(&world, &late), Ownership::Orphaned);
    world.settle();
    assert_eq!(whose(&world, &late), Ownership::Orphaned);
}

#[test]
fn the_instance_that_the_ledger_names_is_owned() {
    let (mut world, request) = launching();
    world.deploy();
    let host = world.state().host().unwrap().clone();
    let mut instance = launched(&request);
    assert_eq!(whose(&world, &instance), Ownership::Orphaned);
    instance.instance_id = host.instance_id;
    assert_eq!(whose(&world, &instance), Ownership::Owned);
}

#[test]
fn an_instance_of_an_earlier_generation_is_orphaned() {
    let (mut world, request) = launching();
    let late = launched(&request);
    world.ask("PENDING_DESTROY");
    world.settle();
    world.ask("PENDING_DEPLOY");
    world.deploy();
    assert_eq!(world.entry.as_ref().unwrap().generation, Generation(2));
    assert_eq!(whose(&world, &late), Ownership::Orphaned);
}

#[test]
fn what_the_ledger_cannot_prove_is_left_alone() {
    let (mut world, request) = launching();
    world.deploy();
    let real = launched(&request);
    let tagged_by_hand = Claimed { client_token: "made up".to_owned(), ..real.clone() };
    assert_eq!(whose(&world, &tagged_by_hand), Ownership::Unproven(OTHERS));
    let of_another = Claimed { by: Claimant::Enclave("another".parse().unwrap()), ..real.clone() };
    assert_eq!(whose(&world, &of_another), Ownership::Unproven(OTHERS));
    let later = Claimed { generation: Generation(2), ..real.clone() };
    let unknown = "the ledger does not know its generation yet";
    assert_eq!(whose(&world, &later), Ownership::Unproven(unknown));
    world.entry = None;
    let unknown = "the ledger does not know its enclave";
    assert_eq!(whose(&world, &real), Ownership::Unproven(unknown));
}

#[test]
fn an_instance_of_another_installation_is_left_alone() {
    let (mut world, request) = launching();
    world.deploy();
    "another".clone_into(&mut world.config.deployment);
    assert_eq!(whose(&world, &launched(&request)), Ownership::Unproven(OTHERS));
}

#[test]
fn an_orphans_end_is_noted_with_its_enclave() {
    let (world, _) = launching();
    let ended = |entry| outcome::orphan_ended(entry, "i-late", world.now);
    let noted = ended(world.entry.as_ref().unwrap()).unwrap();
    let event = noted.events.last().unwrap();
    assert_eq!(event.text, "i-late was launched and belongs to nobody: it is terminated");
    assert_eq!(noted.state, *world.state());
    assert_eq!(ended(&noted), None);
}
