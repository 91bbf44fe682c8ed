//! `bailey-explorer`: the model check and the simulation, as programs.

use bailey_explorer::{
    Scope, World, explore,
    explore::{Limits, Violation},
    simulate,
    simulate::WIDE,
    world::Hosting,
};
use clap::{Parser, Subcommand, ValueEnum};
use std::{process::ExitCode, thread};

/// Holds the rules of the lifecycle against everything that may happen.
///
/// Exit codes: 0 no rule was broken, 1 one was; what happened is printed.
#[derive(Debug, Parser)]
#[command(name = "bailey-explorer")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Every order of events within the scopes that are checked with every change, or within larger ones.
    Model {
        /// The larger scopes, up to 11 million states: minutes, and 16 GB of memory.
        #[arg(long)]
        large: bool,
    },
    /// Every order of events within a scope.
    Explore {
        /// Coordinators at work.
        #[arg(long, default_value_t = 2)]
        coordinators: usize,
        /// Enclaves that the web app asks for.
        #[arg(long, default_value_t = 1)]
        enclaves: usize,
        /// On which hosts they run.
        #[arg(long, value_enum, default_value_t = Hosts::Own)]
        hosting: Hosts,
        /// What the web app does besides its first request.
        #[arg(long, default_value_t = 1)]
        requests: u8,
        /// What may go wrong.
        #[arg(long, default_value_t = 1)]
        faults: u8,
        /// How often time passes.
        #[arg(long, default_value_t = 1)]
        ticks: u8,
        /// The most states to visit.
        #[arg(long, default_value_t = usize::MAX)]
        states: usize,
        /// One state in so many is brought to rest.
        #[arg(long, default_value_t = 64)]
        rest_every: u64,
    },
    /// Random schedules, each from a seed of its own.
    Simulate {
        /// The first seed.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How many schedules.
        #[arg(long, default_value_t = 10_000)]
        schedules: u64,
        /// The most steps of one.
        #[arg(long, default_value_t = 200)]
        steps: u64,
        /// Enclaves that the web app asks for.
        #[arg(long, default_value_t = 1)]
        enclaves: usize,
        /// On which hosts they run.
        #[arg(long, value_enum, default_value_t = Hosts::Own)]
        hosting: Hosts,
    },
}

/// On which hosts enclaves run.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Hosts {
    /// Each has a host of its own.
    Own,
    /// So too, and one host is booted before anybody asks.
    Spare,
    /// They share a host.
    Shared,
}

impl From<Hosts> for Hosting {
    fn from(hosts: Hosts) -> Self {
        match hosts {
            Hosts::Own => Self::Own,
            Hosts::Spare => Self::Spare,
            Hosts::Shared => Self::Shared,
        }
    }
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Model { large } => {
            let scopes = if large { &LARGE[..] } else { &USUAL };
            let limits = Limits { states: 5_500_000, rest_every: 256 };
            model(scopes, limits)
        }
        Command::Explore {
            coordinators,
            enclaves,
            hosting,
            requests,
            faults,
            ticks,
            states,
            rest_every,
        } => {
            let scope = Scope {
                enclaves,
                hosting: hosting.into(),
                ..Scope::own(coordinators, requests, faults, ticks)
            };
            model(&[scope], Limits { states, rest_every })
        }
        Command::Simulate { seed, schedules, steps, enclaves, hosting } => {
            let scope = Scope { enclaves, hosting: hosting.into(), ..WIDE };
            let simulated = simulate(&World::new(scope), seed, schedules, steps);
            let violation = simulated.violation.as_ref();
            if let Some((seed, _)) = violation {
                println!("seed {seed}");
            }
            let violations = show(World::new(scope), violation.map(|(_, violation)| violation));
            println!(
                "simulation: schedules={} steps={} deployed={} violations={violations}",
                simulated.schedules, simulated.steps, simulated.deployed
            );
            exit(violations)
        }
    }
}

/// What is checked with every change.
const USUAL: [Scope; 8] = [
    Scope::own(1, 1, 1, 1),
    Scope::own(1, 2, 1, 0),
    Scope::own(2, 1, 0, 0),
    Scope::own(2, 2, 0, 0),
    Scope { enclaves: 1, ..Scope::own(1, 1, 0, 0).two(Hosting::Spare) },
    Scope { enclaves: 1, ..Scope::own(1, 1, 0, 0).two(Hosting::Shared) },
    Scope::own(1, 0, 0, 0).two(Hosting::Spare),
    Scope::own(1, 0, 0, 0).two(Hosting::Shared),
];

/// What takes longer.
const LARGE: [Scope; 5] = [
    Scope::own(2, 1, 1, 1),
    Scope::own(1, 3, 2, 1),
    Scope::own(1, 0, 1, 1).two(Hosting::Spare),
    Scope::own(1, 0, 1, 1).two(Hosting::Shared),
    Scope::own(1, 1, 0, 0).two(Hosting::Shared),
];

fn model(scopes: &[Scope], limits: Limits) -> ExitCode {
    // Each by itself: most of the time is spent in one of them.
    let all: Vec<_> = thread::scope(|threads| {
        let explore = |scope: Scope| {
            let mut tell = |states, depth| eprintln!("  {scope:?}: {states} states, depth {depth}");
            explore(World::new(scope), limits, &mut tell)
        };
        let spawned: Vec<_> =
            scopes.iter().map(|scope| threads.spawn(move || explore(*scope))).collect();
        spawned.into_iter().map(thread::ScopedJoinHandle::join).collect()
    });
    let (mut states, mut depth, mut violations, mut cut) = (0, 0, 0, "");
    for (scope, explored) in scopes.iter().zip(all) {
        let Ok(explored) = explored else {
            println!("{scope:?}: the exploration itself failed");
            violations += 1;
            continue;
        };
        println!("{scope:?}: {} states, depth {}", explored.states, explored.depth);
        states += explored.states;
        depth = depth.max(explored.depth);
        violations += show(World::new(*scope), explored.violation.as_ref());
        if explored.is_cut {
            cut = " (cut)";
        }
    }
    println!("model: states={states} depth={depth} violations={violations}{cut}");
    exit(violations)
}

/// Prints a violation and what the world became on the way to it; gives how many there are.
fn show(start: World, violation: Option<&Violation>) -> usize {
    let Some(Violation { rule, way }) = violation else { return 0 };
    println!("{rule} does not hold after:");
    let mut world = Some(start);
    for action in way {
        // The last one may be what broke the rule.
        world = world.and_then(|world| world.after(*action).ok());
        println!("  {action}: {}", world.as_ref().map(World::brief).unwrap_or_default());
    }
    1
}

fn exit(violations: usize) -> ExitCode {
    if violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
