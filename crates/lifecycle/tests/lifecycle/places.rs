//! Falling back to other places when EC2 is short of capacity.

#![allow(clippy::unwrap_used, reason = "what is missing here has failed its test")]

use crate::world::{LaunchFate, World, record_with};
use bailey_lifecycle::{Subnet, Subnets, launch::Place, ledger::State};
use bailey_model::failure::FailureCode;
use serde_json::json;

/// A world with two zones and a second type.
fn world() -> World {
    let mut world = World::with_record(record_with(&json!({
        "instance_type": "m5.xlarge", "availability_zones": ["eu-west-1a", "eu-west-1b"],
    })));
    // The second cannot host this enclave and is passed over.
    world.config.fallback_types =
        ["m6i.2xlarge", "m5.large"].map(|name| name.parse().unwrap()).to_vec();
    world
}

fn place(instance_type: &str, zone: &str) -> Place {
    Place {
        instance_type: instance_type.parse().unwrap(),
        availability_zone: Some(zone.to_owned()),
    }
}

/// The place of the intent that is under way.
fn intended(world: &mut World) -> Place {
    loop {
        if let Some(State::Launching { intent, .. }) = world.entry.as_ref().map(|e| &e.state) {
            return intent.place();
        }
        assert!(world.step(false));
    }
}

/// EC2 refuses the intent under way.
fn refuse(world: &mut World) {
    let attempts = world.entry.as_ref().unwrap().attempts;
    world.fate = LaunchFate::Refused;
    while world.entry.as_ref().unwrap().attempts == attempts
        && matches!(world.state(), State::Launching { .. })
    {
        assert!(world.step(false));
    }
}

#[test]
fn the_next_zone_then_the_next_type_is_tried_each_under_a_token_of_its_own() {
    let mut world = world();
    let mut tokens = Vec::new();
    for expected in [
        place("m5.xlarge", "eu-west-1a"),
        place("m5.xlarge", "eu-west-1b"),
        place("m6i.2xlarge", "eu-west-1a"),
        place("m6i.2xlarge", "eu-west-1b"),
    ] {
        assert_eq!(intended(&mut world), expected);
        let State::Launching { intent, .. } = world.state() else { unreachable!() };
        tokens.push(intent.request.client_token.clone());
        refuse(&mut world);
    }
    world.settle();
    assert_eq!((world.status().as_str(), world.instances.len()), ("FAILED", 0));
    assert_eq!(world.failure_code(), Some(FailureCode::CapacityUnavailable));
    let message = world.attribute("error_message").as_str().unwrap().to_owned();
    assert!(
        message.contains("m6i.2xlarge in eu-west-1b: InsufficientInstanceCapacity"),
        "{message}"
    );
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len(), 4);
}

#[test]
fn what_is_tried_shows_in_the_record_and_ends_deployed() {
    let mut world = world();
    intended(&mut world);
    refuse(&mut world);
    world.fate = LaunchFate::RequestLost;
    world.step(false);
    let warnings = world.attribute("deployment")["warnings"].to_string();
    assert!(
        warnings.contains("m5.xlarge in eu-west-1a: InsufficientInstanceCapacity; trying"),
        "{warnings}"
    );
    world.deploy();
    assert_eq!(world.status(), "DEPLOYED");
    assert_eq!(world.instances.len(), 1);
    assert_eq!(
        world.instances.first().unwrap().request.availability_zone.as_deref(),
        Some("eu-west-1b")
    );
}

#[test]
fn a_place_that_was_short_for_another_enclave_is_tried_last() {
    let mut world = world();
    world.short = vec![place("m5.xlarge", "eu-west-1a"), place("m5.xlarge", "eu-west-1b")];
    assert_eq!(intended(&mut world), place("m6i.2xlarge", "eu-west-1a"));
    refuse(&mut world);
    assert_eq!(intended(&mut world), place("m6i.2xlarge", "eu-west-1b"));
    refuse(&mut world);
    assert_eq!(intended(&mut world), place("m5.xlarge", "eu-west-1a"), "better than nothing");
}

#[test]
fn a_lost_answer_is_asked_for_again_at_the_same_place() {
    let mut world = world();
    intended(&mut world);
    world.fate = LaunchFate::AnswerLost;
    world.settle();
    world.fate = LaunchFate::Refused;
    world.deploy();
    assert_eq!(world.instances.len(), 1);
    assert_eq!(world.status(), "DEPLOYED");
}

const SUBNETS: [(&str, &str); 2] =
    [("eu-west-1b", "subnet-0bbbbbbbbbbbbbbbb"), ("eu-west-1a", "subnet-0aaaaaaaaaaaaaaaa")];

fn subnets(of: &[(&str, &str)]) -> Subnets {
    let subnet = |(zone, id): &(&str, &str)| Subnet {
        availability_zone: (*zone).to_owned(),
        subnet_id: (*id).to_owned(),
    };
    Subnets::new(of.iter().map(subnet).collect()).unwrap()
}

/// Place and subnet of the intent under way.
fn intended_subnet(world: &mut World) -> (Place, Option<String>) {
    let place = intended(world);
    let State::Launching { intent, .. } = world.state() else { unreachable!() };
    (place, intent.request.subnet_id.clone())
}

#[test]
fn whoever_names_no_zone_gets_each_that_has_a_subnet_and_its_subnet() {
    let mut world = World::with_record(record_with(&json!({ "instance_type": "m5.xlarge" })));
    world.config.subnets = subnets(&SUBNETS);
    for (zone, subnet) in SUBNETS {
        let expected = (place("m5.xlarge", zone), Some(subnet.to_owned()));
        assert_eq!(intended_subnet(&mut world), expected);
        refuse(&mut world);
    }
    world.settle();
    assert_eq!(world.failure_code(), Some(FailureCode::CapacityUnavailable));
}

#[test]
fn an_answer_is_asked_for_again_with_the_subnet_that_was_asked_for_first() {
    let mut world = World::with_record(record_with(&json!({ "instance_type": "m5.xlarge" })));
    world.config.subnets = subnets(&SUBNETS);
    let (_, subnet) = intended_subnet(&mut world);
    world.fate = LaunchFate::AnswerLost;
    world.step(false);
    world.config.subnets = subnets(&[("eu-west-1b", "subnet-0cccccccccccccccc")]);
    world.fate = LaunchFate::Works;
    world.deploy();
    let launched: Vec<_> = world.instances.iter().map(|it| it.request.subnet_id.clone()).collect();
    assert_eq!((launched, world.status().as_str()), (vec![subnet], "DEPLOYED"));
}

#[test]
fn a_zone_without_a_subnet_is_refused_with_those_that_have_one() {
    let mut world = world();
    world.config.subnets = subnets(&SUBNETS[1..]);
    world.settle();
    assert_eq!(world.failure_code(), Some(FailureCode::InvalidConfiguration));
    let message = world.attribute("error_message").as_str().unwrap().to_owned();
    let expected = "configuration.availability_zones: `eu-west-1b` has no subnet here; those with one: eu-west-1a";
    assert!(message.contains(expected), "{message}");
}

#[test]
fn a_zone_that_loses_its_subnet_is_not_tried() {
    let mut world = world();
    world.config.subnets = subnets(&SUBNETS);
    assert_eq!(intended(&mut world), place("m5.xlarge", "eu-west-1a"));
    world.config.subnets = subnets(&SUBNETS[1..]);
    refuse(&mut world);
    assert_eq!(intended(&mut world), place("m6i.2xlarge", "eu-west-1a"));
}

#[test]
fn destroy_ends_the_search() {
    let mut world = world();
    intended(&mut world);
    world.ask("PENDING_DESTROY");
    world.step(false);
    refuse(&mut world);
    world.settle();
    assert_eq!((world.status().as_str(), world.instances.len()), ("DESTROYED", 0));
}
