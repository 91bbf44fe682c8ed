//! Every order of events within a scope.

use crate::{action::Action, rules::Rule, world::World};
use std::collections::{HashSet, VecDeque};

/// What an exploration found.
#[derive(Clone, Debug)]
pub struct Explored {
    /// Different states.
    pub states: usize,
    /// The longest shortest way to one.
    pub depth: usize,
    /// Whether there were more states than were asked for.
    pub is_cut: bool,
    /// The first state that broke a rule, by a shortest way.
    pub violation: Option<Violation>,
}

/// A broken rule, and how it came about.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// What happened, in order.
    pub way: Vec<Action>,
}

/// How far to go.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most states to visit.
    pub states: usize,
    /// One state in so many is brought to rest.
    pub rest_every: u64,
}

/// Goes through every state that a world may come to, breadth first, until one breaks a rule.
#[must_use]
pub fn explore(start: World, limits: Limits, tell: &mut dyn FnMut(usize, usize)) -> Explored {
    let mut known = HashSet::from([start.fingerprint()]);
    // How each state was reached: from which other, by what.
    let mut ways: Vec<(usize, Action)> = vec![(0, Action::Tick)];
    let mut waiting = VecDeque::from([(start, 0_usize, 0_usize)]);
    let mut explored = Explored { states: 1, depth: 0, is_cut: false, violation: None };
    while let Some((world, number, depth)) = waiting.pop_front() {
        explored.depth = explored.depth.max(depth);
        if world.fingerprint().is_multiple_of(limits.rest_every)
            && let Err(rule) = world.rested()
        {
            explored.violation = Some(broken(rule, &ways, number, None));
            return explored;
        }
        for action in world.actions() {
            let next = match world.after(action) {
                Ok(next) => next,
                Err(rule) => {
                    explored.violation = Some(broken(rule, &ways, number, Some(action)));
                    return explored;
                }
            };
            if known.len() >= limits.states {
                explored.is_cut = true;
                return explored;
            }
            if known.insert(next.fingerprint()) {
                ways.push((number, action));
                explored.states = known.len();
                if known.len().is_multiple_of(50_000) {
                    tell(known.len(), depth);
                }
                waiting.push_back((next, ways.len() - 1, depth + 1));
            }
        }
    }
    explored
}

fn broken(rule: Rule, ways: &[(usize, Action)], number: usize, last: Option<Action>) -> Violation {
    let mut way = way_to(ways, number);
    way.extend(last);
    Violation { rule, way }
}

/// The way to a state, from the beginning.
fn way_to(ways: &[(usize, Action)], number: usize) -> Vec<Action> {
    let mut way = Vec::new();
    let mut at = number;
    while at != 0 {
        let Some((from, action)) = ways.get(at) else { break };
        way.push(*action);
        at = *from;
    }
    way.reverse();
    way
}
