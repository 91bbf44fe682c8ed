//! The lifecycle under random schedules: web app, coordinator, EC2 and host in any order, with
//! crashes and lost answers.

use crate::world::{LaunchFate, World, host_failure, record_with};
use bailey_lifecycle::InstanceState;
use bailey_model::{failure::FailureCode, hosts::HostPhase};
use proptest::prelude::*;
use serde_json::{Value, json};

#[derive(Clone, Copy, Debug)]
enum Event {
    AnnouncesEnd,
    Asks(&'static str),
    CoordinatorDiesInStep,
    CoordinatorSteps,
    HostFails,
    HostRestartsEnclave,
    HostWorks,
    InstanceDies,
    LaunchMeets(LaunchFate),
    StartsAreRefused(bool),
    TimePasses(u64),
    WritesBadRecord,
    WritesOtherRecord,
    WritesRecord,
    DeletesRecord,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        30 => Just(Event::CoordinatorSteps),
        4 => Just(Event::CoordinatorDiesInStep),
        8 => Just(Event::HostWorks),
        2 => Just(Event::WritesRecord),
        1 => Just(Event::WritesOtherRecord),
        1 => Just(Event::WritesBadRecord),
        1 => Just(Event::DeletesRecord),
        2 => prop::sample::select(vec![
            "PENDING_DEPLOY", "PENDING_DESTROY", "PAUSING", "RESUMING", "DEPLOYED", "FAILED", "nonsense",
        ]).prop_map(Event::Asks),
        1 => Just(Event::HostFails),
        1 => Just(Event::HostRestartsEnclave),
        1 => Just(Event::InstanceDies),
        1 => Just(Event::AnnouncesEnd),
        2 => prop::sample::select(vec![
            LaunchFate::AnswerLost, LaunchFate::RequestLost, LaunchFate::Refused,
        ]).prop_map(Event::LaunchMeets),
        1 => any::<bool>().prop_map(Event::StartsAreRefused),
        2 => (1_u64..400).prop_map(Event::TimePasses),
    ]
}

fn happen(world: &mut World, event: Event, record: &Value) {
    match event {
        Event::AnnouncesEnd => world.announces(true),
        Event::Asks(status) => world.ask(status),
        Event::CoordinatorDiesInStep => {
            world.step(true);
        }
        Event::CoordinatorSteps => {
            world.step(false);
        }
        Event::HostFails => world.host_answers(|assignment| {
            assignment.phase = HostPhase::Failed;
            assignment.answer = None;
            assignment.failure = Some(host_failure(FailureCode::EnclaveStopped));
        }),
        Event::HostRestartsEnclave => world.host_answers(|assignment| {
            assignment.restarts += 1;
            assignment.answer = None;
            assignment.phase = HostPhase::Attesting;
        }),
        Event::HostWorks => world.host_works(),
        Event::InstanceDies => {
            for instance in &mut world.instances {
                instance.state = InstanceState::Terminated;
            }
        }
        Event::LaunchMeets(fate) => world.fate = fate,
        Event::StartsAreRefused(refused) => world.can_start = !refused,
        Event::TimePasses(seconds) => world.later(seconds),
        Event::WritesBadRecord => world.write(record_with(&json!({"cpu_count": -1}))),
        Event::WritesOtherRecord => {
            world.write(record_with(&json!({"memory_mib": 2048})));
        }
        Event::WritesRecord => world.write(record.clone()),
        Event::DeletesRecord => world.record = None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// At every instant the rules hold; and once the world calms down, the record comes to rest in
    /// a terminal status, with an instance alive if and only if it says so.
    #[test]
    fn every_schedule_keeps_the_rules_and_comes_to_rest(
        restart in prop::sample::select(vec!["never", "on-failure", "always"]),
        events in prop::collection::vec(event(), 1..120),
    ) {
        let record = record_with(&json!({ "restart": restart }));
        let mut world = World::with_record(record.clone());
        world.config.fallback_types = vec!["m6i.xlarge".parse().unwrap()];
        for event in events {
            happen(&mut world, event, &record);
            world.check();
        }
        world.fate = LaunchFate::Works;
        for _ in 0..12 {
            world.settle();
            world.host_works();
            world.settle();
            world.later(61);
            world.check();
        }
        world.check_history();
        let status = world.status();
        match status.as_str() {
            // Nothing was ever asked for: the web app overwrote its request before it was read.
            _ if world.entry.is_none() => prop_assert_eq!(world.alive(), 0),
            "DEPLOYED" => prop_assert_eq!(world.alive(), 1),
            "PAUSED" => prop_assert_eq!(world.alive(), 0),
            "DESTROYED" | "FAILED" => prop_assert_eq!(world.alive(), 0),
            "" => prop_assert_eq!(world.alive(), 0, "the record is gone"),
            other => prop_assert!(false, "stuck in {}: {:?}", other, world.entry),
        }
    }
}
