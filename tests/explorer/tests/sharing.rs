//! Spare and shared hosts: the rules hold, and each of them would be missed.

use bailey_explorer::{
    Scope, World, explore,
    explore::Limits,
    rules::Rule,
    simulate,
    simulate::WIDE,
    world::{Hosting, Mutation},
};

const LIMITS: Limits = Limits { states: 150_000, rest_every: 128 };

#[test]
fn every_order_of_events_with_spare_and_shared_hosts_keeps_the_rules() {
    for hosting in [Hosting::Spare, Hosting::Shared] {
        for enclaves in [1, 2] {
            let requests = u8::from(enclaves == 1);
            let scope = Scope { enclaves, hosting, ..Scope::own(1, requests, 0, 0) };
            let explored = explore(World::new(scope), LIMITS, &mut |_, _| {});
            assert!(explored.violation.is_none(), "{scope:?}: {explored:?}");
            assert!(!explored.is_cut && explored.states > 500, "{scope:?}: {}", explored.states);
        }
    }
}

#[test]
fn random_schedules_with_spare_and_shared_hosts_keep_the_rules() {
    for hosting in [Hosting::Spare, Hosting::Shared] {
        let simulated = simulate(&World::new(WIDE.two(hosting)), 1, 100, 300);
        assert!(simulated.violation.is_none(), "{hosting:?}: {:?}", simulated.violation);
        assert!(simulated.deployed >= 10, "{hosting:?}: {} deployed", simulated.deployed);
    }
}

#[test]
fn what_is_broken_on_purpose_with_spare_and_shared_hosts_is_noticed_by_the_rule_for_it() {
    for (hosting, mutation, rules) in [
        (Hosting::Spare, Mutation::LooseClaim, &[Rule::OneOwner][..]),
        (Hosting::Shared, Mutation::LooseSeat, &[Rule::SeatsAgree]),
        (Hosting::Shared, Mutation::HastyEnd, &[Rule::NobodyIsEvicted]),
    ] {
        let broken = World { mutation: Some(mutation), ..World::new(WIDE.two(hosting)) };
        let found = simulate(&broken, 1, 2_000, 300).violation;
        let found = found.map(|(_, violation)| violation.rule);
        assert!(found.is_some_and(|rule| rules.contains(&rule)), "{mutation:?}: {found:?}");
    }
}
