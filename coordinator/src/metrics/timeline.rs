//! How long an enclave was in each phase.

use bailey_lifecycle::ledger::Entry;
use bailey_model::UnixMillis;
use std::{collections::BTreeMap, time::Duration};

/// The phases that came to an end with this change of an entry, and how long each took.
///
/// A phase that is entered again in the same generation keeps the time of its first entry and is told
/// once. The times of a host's phases are its own word: those that lie outside of what the ledger saw
/// are left out.
pub(super) fn completed(before: Option<&Entry>, after: &Entry) -> Vec<(String, Duration)> {
    let before = before.filter(|before| before.generation == after.generation);
    let known = before.map(|before| &before.entered);
    let phases = timeline(after);
    let pairs = phases.iter().zip(phases.iter().skip(1));
    pairs
        .filter(|(_, (_, next))| known.is_none_or(|known| !known.contains_key(*next)))
        .map(|((began, phase), (ended, _))| ((*phase).clone(), ended.since(*began)))
        .collect()
}

/// The phases in the order of their times.
fn timeline(entry: &Entry) -> Vec<(UnixMillis, &String)> {
    let newest = entry.entered.get(entry.state.name()).copied();
    let oldest = oldest(&entry.entered);
    let is_seen = |at: UnixMillis| {
        oldest.is_none_or(|oldest| at >= oldest) && newest.is_none_or(|newest| at <= newest)
    };
    let mut phases: Vec<_> = entry
        .entered
        .iter()
        .map(|(phase, at)| (*at, phase))
        .filter(|(at, _)| is_seen(*at))
        .collect();
    phases.sort();
    phases
}

/// When the generation began, as the ledger saw it.
fn oldest(entered: &BTreeMap<String, UnixMillis>) -> Option<UnixMillis> {
    ["ACCEPTED", "REFUSED"].into_iter().find_map(|first| entered.get(first)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn entry(generation: u64, state: &Value, entered: &Value) -> Entry {
        serde_json::from_value(json!({
            "id": "enc_1", "version": 1, "generation": generation, "accepted_at": 0,
            "entered": entered, "events": [], "state": state,
        }))
        .unwrap()
    }

    fn accepted() -> Entry {
        entry(1, &json!({"name": "ACCEPTING"}), &json!({"ACCEPTED": 1_000}))
    }

    fn ended(entered: &Value) -> Entry {
        entry(1, &json!({"name": "ENDED", "outcome": "FAILED", "host": null}), entered)
    }

    fn told(before: Option<&Entry>, after: &Entry) -> Vec<(String, u128)> {
        let told = completed(before, after).into_iter();
        told.map(|(phase, took)| (phase, took.as_millis())).collect()
    }

    #[test]
    fn a_phase_is_told_when_the_next_one_begins_and_only_then() {
        let times = json!({"ACCEPTED": 1_000, "FAILED": 3_500});
        assert_eq!(told(None, &accepted()), []);
        assert_eq!(told(Some(&accepted()), &ended(&times)), [("ACCEPTED".to_owned(), 2_500)]);
        assert_eq!(told(Some(&ended(&times)), &ended(&times)), []);
    }

    #[test]
    fn the_phases_of_a_host_are_told_as_far_as_they_can_be_true() {
        let times = json!({
            "ACCEPTED": 1_000, "BOOTING": 2_000, "FETCHING": 2_500, "STARTING": 99_000,
            "ATTESTING": 7, "FAILED": 4_000,
        });
        let told = told(Some(&accepted()), &ended(&times));
        let expected = [("ACCEPTED", 1_000), ("BOOTING", 500), ("FETCHING", 1_500)];
        assert_eq!(told, expected.map(|(phase, ms)| (phase.to_owned(), ms)));
    }

    #[test]
    fn a_new_generation_has_a_timeline_of_its_own() {
        let before = ended(&json!({"ACCEPTED": 1_000, "FAILED": 3_500}));
        let state = json!({"name": "ACCEPTING"});
        let after = entry(2, &state, &json!({"ACCEPTED": 9_000}));
        assert_eq!(told(Some(&before), &after), []);
    }
}
