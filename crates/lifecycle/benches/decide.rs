//! What a decision costs, in CPU time: parsing a record as it was read, and naming the next step.
//!
//! A deploy, a renewal, a pause, a resumption and a destruction are gone through step by step; every
//! decision on the way is made many times, in several laps, and each is given its best round.

#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "a benchmark that meets the unexpected should stop where it does, and the tests' world can more"
)]

#[path = "../tests/lifecycle/world.rs"]
mod world;

use bailey_lifecycle::{Step, ledger::State};
use nix::time::{ClockId, clock_gettime};
use serde_json::json;
use std::{collections::BTreeMap, hint::black_box, process::ExitCode, time::Duration};
use world::{World, record_with};

const LAPS: u32 = 8;
const ROUNDS: u32 = 10;
const CALLS: u32 = 20;

/// The promise: no decision but a judgement, which is a verification, costs more.
const GOAL_US: f64 = 20.0;

/// What each decision of one life cost, in microseconds, in their order.
type Costs = Vec<(&'static str, f64)>;

fn main() -> ExitCode {
    // All laps make the same decisions, so the best of each is free of what else the machine did.
    let mut best = one_life();
    for _ in 1..LAPS {
        let lap = one_life();
        assert!(lap.iter().map(|(kind, _)| kind).eq(best.iter().map(|(kind, _)| kind)));
        for (best, (_, us)) in best.iter_mut().zip(lap) {
            best.1 = best.1.min(us);
        }
    }
    let mut dearest = BTreeMap::<&str, f64>::new();
    for (kind, us) in best {
        let of_kind = dearest.entry(kind).or_default();
        *of_kind = of_kind.max(us);
    }
    for (kind, us) in &dearest {
        println!("{kind:<24} {us:>8.1} us");
    }
    let judgement = dearest.remove(JUDGE).unwrap_or_default();
    let decision = dearest.into_values().fold(0.0, f64::max);
    let verdict = if decision <= GOAL_US { "met" } else { "MISSED" };
    println!("dearest decision {decision:.1} us, at most {GOAL_US}: {verdict}");
    println!("decide: dearest_us={decision:.1} judgement_us={judgement:.1}");
    if decision <= GOAL_US { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A deploy, a renewal, a pause, a resumption and a destruction.
fn one_life() -> Costs {
    let mut world = World::with_record(record_with(&json!({ "debug_mode": false })));
    let mut costs = Costs::new();
    run(&mut world, &mut costs);
    world.later(3_601);
    run(&mut world, &mut costs);
    for request in ["PAUSING", "RESUMING", "PENDING_DESTROY"] {
        world.ask(request);
        run(&mut world, &mut costs);
    }
    assert_eq!(world.status(), "DESTROYED");
    costs
}

const JUDGE: &str = "save (with a judgement)";

/// Goes on until nothing is left to do, with the host doing its part in between.
fn run(world: &mut World, costs: &mut Costs) {
    for _ in 0..4 {
        loop {
            let waited = is_reporting(world);
            let (kind, us) = measured(world);
            let moved = world.step(false);
            let kind = if !waited && is_reporting(world) { JUDGE } else { kind };
            costs.push((kind, us));
            if !moved {
                break;
            }
        }
        world.host_works();
    }
}

/// Whether a judgement was made and its report waits to be stored.
fn is_reporting(world: &World) -> bool {
    world.entry.as_ref().is_some_and(|entry| matches!(entry.state, State::Reporting { .. }))
}

/// What the next step is, and the best time in which it is decided.
fn measured(world: &mut World) -> (&'static str, f64) {
    let mut best_us = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = cpu_time();
        for _ in 0..CALLS {
            let _ = black_box(world.next());
        }
        let spent = cpu_time().saturating_sub(start);
        best_us = best_us.min(spent.as_secs_f64() * 1e6 / f64::from(CALLS));
    }
    (kind(&world.next()), best_us)
}

fn kind(step: &Step) -> &'static str {
    match step {
        Step::Claim(_) => "claim",
        Step::Launch(_) => "launch",
        Step::Project(_) => "project",
        Step::ReadManifest(_) => "read manifest",
        Step::Save(_) => "save",
        Step::Start(_) => "start",
        Step::Stop(_) => "stop",
        Step::StoreReport(_) => "store report",
        Step::Terminate(_) => "terminate",
        Step::Wait(_) => "wait",
        Step::WriteDesired { .. } => "write desired",
    }
}

/// The CPU time of this thread so far.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}
