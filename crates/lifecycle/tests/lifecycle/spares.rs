//! Slots for spare hosts, and deploys that take them.

#![allow(clippy::panic, clippy::unwrap_used, reason = "what is missing here has failed its test")]

use crate::world::{Instance, World, record_with};
use bailey_lifecycle::{
    Config, InstanceState, SpareHosts, Step,
    launch::{LaunchIntent, LaunchRefused, Launched, Place},
    ledger::State,
    orphan::{Claimed, Ownership, slot_ownership},
    spare::{self, Claim, Slot, SlotState, SlotStep, SlotView, next_slot_step, slots},
};
use bailey_model::{Generation, UnixMillis, hosts::Observed};
use serde_json::json;
use std::time::Duration;

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

fn place() -> Place {
    Place { instance_type: "m5.xlarge".parse().unwrap(), availability_zone: None }
}

fn view() -> SlotView<'static> {
    SlotView { now: NOW, is_wanted: true, observed: None, instance: None, is_told: true }
}

fn config() -> Config {
    World::new().config
}

fn saved(slot: &Slot, view: &SlotView<'_>) -> Slot {
    match next_slot_step(slot, view, &config()) {
        SlotStep::Save(next) => *next,
        step => panic!("{step:?}"),
    }
}

fn launched() -> Launched {
    Launched {
        instance_id: "i-spare".to_owned(),
        instance_arn: "arn/i-spare".to_owned(),
        availability_zone: "eu-west-1a".to_owned(),
    }
}

fn launching() -> (Slot, LaunchIntent) {
    let slot = saved(&Slot::new(&place(), 0), &view());
    let SlotStep::Launch(intent) = next_slot_step(&slot, &view(), &config()) else {
        panic!("{slot:?}");
    };
    (slot, intent)
}

fn booting() -> Slot {
    spare::launched(&launching().0, launched(), NOW)
}

fn ready() -> Slot {
    let observed = Observed::default();
    saved(&booting(), &SlotView { observed: Some(&observed), ..view() })
}

#[test]
fn a_wanted_slot_is_filled_and_its_host_told_to_wait() {
    let booting = booting();
    let told = next_slot_step(&booting, &SlotView { is_told: false, ..view() }, &config());
    let SlotStep::WriteDesired(arn, desired) = told else { panic!("{told:?}") };
    assert_eq!((arn.as_str(), desired.version, desired.drain), ("arn/i-spare", 1, false));
    assert!(desired.assignments.is_empty());
    assert_eq!(ready().name(), "READY");
    assert_eq!(next_slot_step(&ready(), &view(), &config()), SlotStep::Wait(None));
}

#[test]
fn an_intent_is_resent_verbatim_also_when_its_slot_is_no_longer_wanted() {
    let (slot, intent) = launching();
    let unwanted = SlotView { is_wanted: false, ..view() };
    assert_eq!(next_slot_step(&slot, &unwanted, &config()), SlotStep::Launch(intent));
    let launched = spare::launched(&slot, launched(), NOW);
    assert_eq!(saved(&launched, &unwanted).name(), "TERMINATING");
}

#[test]
fn a_refused_slot_pauses_and_its_next_host_has_another_token() {
    let (slot, intent) = launching();
    let refused = LaunchRefused {
        code: "InsufficientInstanceCapacity".to_owned(),
        message: "none".to_owned(),
    };
    let empty = spare::launch_refused(&slot, &refused, NOW);
    let until = NOW.plus(Duration::from_mins(3));
    assert_eq!(next_slot_step(&empty, &view(), &config()), SlotStep::Wait(Some(until)));
    let again = saved(&empty, &SlotView { now: until, ..view() });
    let SlotState::Launching { intent: next } = &again.state else { panic!("{again:?}") };
    assert_ne!(next.request.client_token, intent.request.client_token);
}

#[test]
fn a_host_that_never_reports_is_terminated_and_one_that_is_lost_replaced_later() {
    let late = NOW.plus(config().host_timeout);
    assert_eq!(saved(&booting(), &SlotView { now: late, ..view() }).name(), "TERMINATING");
    let gone = SlotView { instance: Some(InstanceState::ShuttingDown), ..view() };
    for slot in [booting(), ready()] {
        let ending = saved(&slot, &gone);
        assert_eq!(ending.name(), "TERMINATING");
        let empty = spare::terminated(&ending, NOW);
        let why = Some("instance i-spare is gone".to_owned());
        let until = NOW.plus(Duration::from_mins(3));
        assert_eq!(empty.state, SlotState::Empty { until, why });
        assert_eq!(empty.generation, slot.generation.next());
    }
}

#[test]
fn hosts_that_are_not_called_for_or_of_an_old_template_are_ended() {
    assert_eq!(saved(&ready(), &SlotView { is_wanted: false, ..view() }).name(), "TERMINATING");
    let mut newer = config();
    newer.template.version += 1;
    let SlotStep::Save(ending) = next_slot_step(&ready(), &view(), &newer) else { panic!() };
    let SlotStep::Terminate(host) = next_slot_step(&ending, &view(), &newer) else { panic!() };
    assert_eq!(host.instance_id, "i-spare");
    assert_eq!(spare::terminated(&ending, NOW).name(), "EMPTY");
}

#[test]
fn the_settings_make_slots_and_what_is_there_without_them_is_unwanted() {
    let wanted = [SpareHosts { place: place(), count: 2 }];
    let present = vec![ready(), Slot::new(&place(), 5)];
    let found: Vec<_> = slots(&wanted, present)
        .into_iter()
        .map(|(slot, is_wanted)| (slot.id.to_string(), slot.name(), is_wanted))
        .collect();
    let twice = [1, 1].map(|count| SpareHosts { place: place(), count });
    let numbers: Vec<_> = slots(&twice, Vec::new()).into_iter().map(|(it, _)| it.id).collect();
    assert_eq!(numbers, [0, 1].map(|number| Slot::new(&place(), number).id));
    let named = |n: u32, name, is_wanted| (format!("m5.xlarge/any/{n}"), name, is_wanted);
    assert_eq!(found, [named(0, "READY", true), named(1, "EMPTY", true), named(5, "EMPTY", false)]);
}

/// The claim of a deploy with these changes to its configuration, where these slots are.
fn claim(changes: &serde_json::Value, slots: &[Slot], template_version: u64) -> Option<Claim> {
    let mut world = World::with_record(record_with(changes));
    world.config.template.version = template_version;
    world.spares = slots.to_vec();
    loop {
        match world.next() {
            Step::Claim(claim) => return Some(*claim),
            Step::Save(next) if matches!(next.state, State::Launching { .. }) => return None,
            _ => assert!(world.step(false)),
        }
    }
}

fn plain() -> serde_json::Value {
    json!({ "instance_type": "m5.xlarge" })
}

#[test]
fn a_deploy_takes_a_ready_host_and_the_slot_is_free_for_the_next() {
    let claim = claim(&plain(), &[booting(), ready()], 1).unwrap();
    let State::Deploying { host, nonce, .. } = &claim.entry.state else { panic!("{claim:?}") };
    assert_eq!((host.instance_id.as_str(), host.desired_version), ("i-spare", 2));
    assert_eq!((nonce.sequence, nonce.bytes.as_slice().len()), (1, 32));
    assert_eq!(claim.entry.attempts, 0);
    assert_eq!(claim.slot.name(), "EMPTY");
    assert_eq!(claim.slot.given_to("i-spare"), Some(&claim.entry.id));
    assert_eq!(claim.slot.generation, Generation(2));
}

#[test]
fn a_host_of_another_type_zone_or_template_is_left() {
    for changes in [
        json!({ "instance_type": "m5.2xlarge" }),
        json!({ "instance_type": "m5.xlarge", "availability_zones": ["eu-west-1b"] }),
    ] {
        assert_eq!(claim(&changes, &[ready()], 1), None, "{changes}");
    }
    assert_eq!(claim(&plain(), &[ready()], 2), None);
}

#[test]
fn a_spare_host_belongs_to_its_slot_then_to_who_took_it_and_then_to_nobody() {
    let (slot, intent) = launching();
    let request = &intent.request;
    let seen = Claimed::read("i-spare", &request.client_token, &request.tags).unwrap();
    let whose = |slot: &Slot, taker: Option<&bailey_lifecycle::ledger::Entry>| {
        slot_ownership(&seen, Some(slot), taker, &config().deployment)
    };
    for owner in [slot.clone(), booting(), ready()] {
        assert_eq!(whose(&owner, None), Ownership::Owned);
    }
    let claim = claim(&plain(), &[ready()], 1).unwrap();
    assert_eq!(whose(&claim.slot, Some(&claim.entry)), Ownership::Owned);
    let unknown = "the ledger does not know the enclave that took it";
    assert_eq!(whose(&claim.slot, None), Ownership::Unproven(unknown));
    let mut ended = claim.entry.clone();
    ended.state = State::Accepting;
    assert_eq!(whose(&claim.slot, Some(&ended)), Ownership::Orphaned);
    let elsewhere = Claimed { client_token: "made up".to_owned(), ..seen.clone() };
    let found = slot_ownership(&elsewhere, Some(&claim.slot), Some(&ended), &config().deployment);
    assert!(matches!(found, Ownership::Unproven(_)), "{found:?}");
}

/// The host was lost before it was taken, and EC2 says so only later.
#[test]
fn a_taken_host_that_turns_out_to_be_lost_is_replaced() {
    let mut world = World::with_record(record_with(&plain()));
    world.spares = vec![ready()];
    while !matches!(world.entry.as_ref().map(|e| &e.state), Some(State::Deploying { .. })) {
        assert!(world.step(false));
    }
    world.instances.push(Instance {
        id: "i-spare".to_owned(),
        state: InstanceState::Terminated,
        request: launching().1.request,
    });
    world.deploy();
    let host = world.state().host().unwrap();
    assert_ne!(host.instance_id, "i-spare");
    assert!(matches!(world.state(), State::Deployed { .. }), "{:?}", world.state());
}

/// Its agent reported while it was spare, and has died since.
#[test]
fn a_taken_host_whose_agent_does_not_take_its_work_up_is_replaced() {
    let mut world = World::with_record(record_with(&plain()));
    world.spares = vec![ready()];
    while !matches!(world.entry.as_ref().map(|e| &e.state), Some(State::Deploying { .. })) {
        assert!(world.step(false));
    }
    let running = Instance {
        id: "i-spare".to_owned(),
        state: InstanceState::Running,
        request: launching().1.request,
    };
    world.instances.push(running);
    world.observed.insert("arn/i-spare".to_owned(), Observed::default());
    world.settle();
    assert!(matches!(world.state(), State::Deploying { .. }));
    world.later(301);
    world.deploy();
    assert_ne!(world.state().host().unwrap().instance_id, "i-spare");
}

/// A slot that has given more hosts than it remembers says of none that it is nobody's.
#[test]
fn a_slot_that_may_have_forgotten_proves_nothing() {
    let (slot, intent) = launching();
    let seen = Claimed::read("i-old", &intent.request.client_token, &intent.request.tags).unwrap();
    let given = |n: u32| spare::Given {
        instance_id: format!("i-{n}"),
        enclave_id: format!("enc_{n}").parse().unwrap(),
    };
    let later = |remembered: u32| Slot {
        generation: Generation(1_000),
        state: SlotState::Empty { until: NOW, why: None },
        given: (0..remembered).map(given).collect(),
        ..slot.clone()
    };
    let whose = |slot: &Slot| slot_ownership(&seen, Some(slot), None, &config().deployment);
    assert_eq!(whose(&later(499)), Ownership::Orphaned);
    assert!(matches!(whose(&later(500)), Ownership::Unproven(_)));
}

#[test]
fn a_spare_host_that_aws_takes_away_is_given_to_nobody_and_replaced() {
    let observed = Observed { is_taken_away: true, ..Observed::default() };
    let view = SlotView { observed: Some(&observed), ..view() };
    for slot in [booting(), ready()] {
        let ending = saved(&slot, &view);
        assert_eq!(ending.name(), "TERMINATING");
        let empty = spare::terminated(&ending, NOW);
        let SlotState::Empty { until, .. } = empty.state else { panic!("{empty:?}") };
        assert!(until > NOW, "hosts that all say so are not launched without a pause");
        let later = SlotView { now: until, ..view };
        assert_eq!(saved(&empty, &later).name(), "LAUNCHING", "another one is booted");
    }
}
