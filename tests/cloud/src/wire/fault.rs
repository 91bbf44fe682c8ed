//! What may happen to calls on the wire, and to which it does.

use super::call::{Call, Party};
use crate::random::Random;
use std::time::Duration;

/// On which side of a call's effect something happens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// Before it reaches the service.
    Before,
    /// When the service has answered.
    After,
}

/// What a service may answer that is in trouble itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Trouble {
    /// Status 500.
    InternalError,
    /// Too many requests, in the words of the service.
    Throttling,
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WireFault {
    /// It, or its answer, takes so long.
    Delay(Side, Duration),
    /// The connection ends without an answer.
    Drop(Side),
    /// It reaches the service twice, and is answered for the second time: what a retry after a lost
    /// answer comes to.
    Duplicate,
    /// It is answered with an error, without effect or although it took effect.
    Error(Side, Trouble),
}

/// A fault for the next calls of one operation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WireRule {
    /// Whose calls.
    pub party: Party,
    /// Which operation; every one when absent.
    pub operation: Option<String>,
    /// How many calls it strikes.
    pub times: u32,
    /// What happens to them.
    pub fault: WireFault,
}

/// Faults at random.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Noise {
    /// Decides which calls are struck, and by what.
    pub seed: u64,
    /// One call in so many is struck.
    pub one_in: u64,
}

/// What is to strike, and what may.
#[derive(Debug, Default)]
pub(super) struct Rules {
    waiting: Vec<WireRule>,
    noise: Option<(Random, u64)>,
}

/// A call is not held up for longer than the EC2 client waits for an answer, nor for so long that
/// `DescribeInstances` would have shown what came of it.
const LONGEST_DELAY_MS: u64 = 1_500;

impl Rules {
    pub(super) fn add(&mut self, rule: WireRule) {
        self.waiting.push(rule);
    }

    pub(super) fn disturb(&mut self, noise: Noise) {
        self.noise = Some((Random::new(noise.seed), noise.one_in));
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The fault that strikes this call.
    pub(super) fn strike(&mut self, call: &Call) -> Option<WireFault> {
        self.waiting.retain(|rule| rule.times > 0);
        let applies = |rule: &&mut WireRule| {
            rule.party == call.party
                && rule.operation.as_ref().is_none_or(|operation| *operation == call.operation)
        };
        if let Some(rule) = self.waiting.iter_mut().find(applies) {
            rule.times -= 1;
            return Some(rule.fault);
        }
        let (random, one_in) = self.noise.as_mut()?;
        (random.below(*one_in) == 0).then(|| WireFault::any(random))
    }
}

impl WireFault {
    /// Any fault.
    pub fn any(random: &mut Random) -> Self {
        let side = if random.below(2) == 0 { Side::Before } else { Side::After };
        match random.below(5) {
            0 => Self::Delay(side, Duration::from_millis(random.below(LONGEST_DELAY_MS))),
            1 => Self::Drop(side),
            2 => Self::Duplicate,
            3 => Self::Error(side, Trouble::InternalError),
            _ => Self::Error(side, Trouble::Throttling),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::call::Protocol;

    fn call(party: Party, operation: &str) -> Call {
        let (operation, subject) = (operation.to_owned(), String::new());
        Call { party, operation, subject, enclave_id: None, protocol: Protocol::Json }
    }

    #[test]
    fn a_rule_strikes_its_own_operation_of_its_own_party_as_often_as_asked() {
        let mut rules = Rules::default();
        let fault = WireFault::Drop(Side::After);
        let operation = Some("PutItem".to_owned());
        rules.add(WireRule { party: Party::Coordinators, operation, times: 2, fault });
        let puts = call(Party::Coordinators, "PutItem");
        assert_eq!(rules.strike(&call(Party::Agents, "PutItem")), None);
        assert_eq!(rules.strike(&call(Party::Coordinators, "GetItem")), None);
        let struck: Vec<_> = (0..3).map(|_| rules.strike(&puts)).collect();
        assert_eq!(struck, [Some(fault), Some(fault), None]);
    }

    #[test]
    fn noise_is_what_its_seed_makes_it_and_ends_when_it_is_cleared() {
        let heard = |seed| {
            let mut rules = Rules::default();
            rules.disturb(Noise { seed, one_in: 4 });
            let any = call(Party::Agents, "GetItem");
            let struck: Vec<_> = (0..100).map(|_| rules.strike(&any)).collect();
            rules.clear();
            assert!((0..100).all(|_| rules.strike(&any).is_none()));
            struck
        };
        assert_eq!(heard(1), heard(1));
        assert_ne!(heard(1), heard(2));
        let struck = heard(1).iter().flatten().count();
        assert!((10..45).contains(&struck), "{struck} of 100");
    }
}
