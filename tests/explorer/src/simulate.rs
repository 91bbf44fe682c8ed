//! Random ways, further than every order could be gone through.

use crate::{
    action::Action,
    explore::Violation,
    world::{Enclave, Scope, World},
};

/// What a simulation found.
#[derive(Clone, Debug)]
pub struct Simulated {
    /// How many schedules were gone through.
    pub schedules: u64,
    /// How many steps they had together.
    pub steps: u64,
    /// How many came to rest with an enclave deployed.
    pub deployed: u64,
    /// The first that broke a rule: its seed, and what happened.
    pub violation: Option<(u64, Violation)>,
}

/// Much may happen in one schedule.
pub const WIDE: Scope = Scope::own(3, 6, 10, 8);

/// Goes through the schedules with the seeds from `seed` on, each of so many steps at most, and
/// brings each to rest.
#[must_use]
pub fn simulate(start: &World, seed: u64, schedules: u64, steps: u64) -> Simulated {
    let mut simulated = Simulated { schedules: 0, steps: 0, deployed: 0, violation: None };
    for seed in seed..seed.saturating_add(schedules) {
        let mut random = Random(seed);
        let mut world = start.clone();
        let mut way = Vec::new();
        let broken = loop {
            let actions = world.actions();
            let Some(action) = random.one_of(&actions).filter(|_| way.len() < to_usize(steps))
            else {
                break world.rested().map(|rested| {
                    let is_deployed = |enclave: &&Enclave| {
                        let status = enclave.record.as_ref().and_then(|it| it.get("status"));
                        status.is_some_and(|status| status == "DEPLOYED")
                    };
                    let deployed = rested.enclaves.iter().filter(is_deployed).count();
                    simulated.deployed += u64::try_from(deployed).unwrap_or(u64::MAX);
                });
            };
            way.push(action);
            match world.after(action) {
                Ok(next) => world = next,
                Err(rule) => break Err(rule),
            }
        };
        simulated.schedules += 1;
        simulated.steps += way.len().try_into().unwrap_or(u64::MAX);
        if let Err(rule) = broken {
            simulated.violation = Some((seed, Violation { rule, way }));
            return simulated;
        }
    }
    simulated
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The generator `SplitMix64`: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// One of them. Coordinators and hosts go on more often than something goes wrong, or nothing
    /// would ever be deployed.
    fn one_of(&mut self, actions: &[Action]) -> Option<Action> {
        let weight = |action: &Action| match action {
            Action::ReadEntry(..) | Action::ReadRecord(_) | Action::Step(_) => 40,
            Action::ReadSlot(..) | Action::HostWorks(_) => 20,
            Action::SweepEnds(_) => 10,
            Action::Tick => 2,
            _ => 1,
        };
        let total: u64 = actions.iter().map(weight).sum();
        let mut left = self.next().checked_rem(total)?;
        actions.iter().copied().find(|action| {
            let weight = weight(action);
            let found = left < weight;
            left = left.saturating_sub(weight);
            found
        })
    }
}
