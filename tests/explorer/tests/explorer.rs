//! The rules hold, and each of them would be missed.

#![allow(clippy::panic, reason = "what is missing here has failed its test")]

use bailey_explorer::{
    Scope, World, action::Action, explore, explore::Limits, rules::Rule, simulate, simulate::WIDE,
    world::Mutation,
};

const LIMITS: Limits = Limits { states: 150_000, rest_every: 128 };

#[test]
fn every_order_of_events_in_a_small_world_keeps_the_rules() {
    for (coordinators, requests, faults, ticks) in [(1, 1, 1, 0), (2, 1, 0, 0), (1, 2, 0, 0)] {
        let scope = Scope::own(coordinators, requests, faults, ticks);
        let explored = explore(World::new(scope), LIMITS, &mut |_, _| {});
        assert!(explored.violation.is_none(), "{scope:?}: {explored:?}");
        assert!(!explored.is_cut && explored.states > 2_000, "{scope:?}: {}", explored.states);
    }
}

#[test]
fn random_schedules_keep_the_rules() {
    let simulated = simulate(&World::new(WIDE), 1, 150, 200);
    assert!(simulated.violation.is_none(), "{:?}", simulated.violation);
    assert!(simulated.deployed >= 10, "{} came to be deployed", simulated.deployed);
}

#[test]
fn a_schedule_is_the_same_whenever_its_seed_is() {
    let one = simulate(&World::new(WIDE), 7, 5, 100);
    let other = simulate(&World::new(WIDE), 7, 5, 100);
    assert_eq!((one.steps, one.deployed), (other.steps, other.deployed));
}

/// A coordinator stands still between deciding to launch and launching; another one takes the launch for
/// refused, and goes on. It takes a sweep to end what the first then launches and dies over.
#[test]
fn a_launch_that_comes_too_late_is_left_without_a_sweep() {
    let left = |mutation| {
        let scope = Scope::own(2, 0, 2, 0);
        let mut world = World { mutation, ..World::new(scope) };
        let mut take = |actions: &[Action]| {
            for action in actions {
                world = world.after(*action).unwrap_or_else(|rule| panic!("{action}: {rule}"));
            }
            world.entry(0).map(|entry| entry.state.name())
        };
        let read = |number| [Action::ReadEntry(number, 0), Action::ReadRecord(number)];
        take(&read(0));
        while take(&[Action::Step(0)]) != Some("LAUNCHING") {}
        // Both have decided to launch.
        take(&read(1));
        take(&[Action::StepRefused(1), Action::StepAndCrash(0)]);
        world.rested().err()
    };
    assert_eq!(left(Some(Mutation::NoSweep)), Some(Rule::NothingIsLeft));
    assert_eq!(left(None), None);
}

/// What finds it, within so many random schedules.
fn found(mutation: Mutation) -> Option<Rule> {
    let broken = World { mutation: Some(mutation), ..World::new(WIDE) };
    simulate(&broken, 1, 2_000, 200).violation.map(|(_, violation)| violation.rule)
}

#[test]
fn what_is_broken_on_purpose_is_noticed_by_the_rule_for_it() {
    let mut missed = Vec::new();
    for (mutation, rules) in [
        (Mutation::ForgottenTokens, &[Rule::OneInstanceForAnIntent][..]),
        (Mutation::ForgottenEntry, &[Rule::GenerationsGoOn]),
        (Mutation::ForgottenReport, &[Rule::ReportsAreOneChain]),
        (Mutation::LooseAnswer, &[Rule::TheLastRequestIsHeeded]),
        (Mutation::NeverDrained, &[Rule::ComesToRest]),
        (Mutation::RecordFirst, &[Rule::NothingIsDeployedUnasked]),
        (Mutation::ReplacedRecord, &[Rule::TheWebAppsOwnIsKept]),
        (Mutation::RewrittenReport, &[Rule::ReportsNeverChange, Rule::ReportsAreOneChain]),
        (Mutation::SkippedReport, &[Rule::DeployedMeansReported]),
        (Mutation::SkippedTermination, &[Rule::NothingIsLeft, Rule::OneHostAtATime]),
        (Mutation::UnstableIntent, &[Rule::OneTokenOneRequest]),
        // Whoever is overwritten may have stored another report meanwhile.
        (Mutation::UnconditionalSave, &[Rule::GenerationsGoOn, Rule::ReportsNeverChange]),
    ] {
        let found = found(mutation);
        if !found.is_some_and(|rule| rules.contains(&rule)) {
            missed.push((mutation, found));
        }
    }
    assert!(missed.is_empty(), "{missed:?}");
}
