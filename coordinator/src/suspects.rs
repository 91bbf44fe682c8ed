//! What has to be seen twice, a while apart, before anything is done about it.

use bailey_model::UnixMillis;
use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Instances of which something is suspected, and since when. Losing it only starts the while anew.
#[derive(Debug, Default)]
pub struct Suspects(Mutex<HashMap<String, Suspicion>>);

#[derive(Clone, Copy, Debug)]
struct Suspicion {
    since: UnixMillis,
    /// Whether a person was told.
    is_told: bool,
}

impl Suspects {
    /// Takes in the suspects of a look, and gives those that have been suspect for `grace` without a
    /// break, in the same order: never one that is seen for the first time.
    #[must_use]
    pub fn confirmed<'a>(
        &self,
        suspects: &[&'a str],
        grace: Duration,
        now: UnixMillis,
    ) -> Vec<&'a str> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let present: HashSet<&str> = suspects.iter().copied().collect();
        known.retain(|id, _| present.contains(id.as_str()));
        let is_confirmed = |id: &&&str| {
            let first = Suspicion { since: now, is_told: false };
            let since = known.entry((**id).to_owned()).or_insert(first).since;
            since < now && now.since(since) >= grace
        };
        suspects.iter().filter(is_confirmed).copied().collect()
    }

    /// Whether nobody was told yet of this suspect; from now on somebody is.
    #[must_use]
    pub fn is_news(&self, id: &str) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get_mut(id).is_some_and(|it| !std::mem::replace(&mut it.is_told, true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_suspect_for_a_while_without_a_break_is_confirmed() {
        let suspects = Suspects::default();
        let grace = Duration::from_mins(2);
        let confirmed = |seen: &[&str], at| suspects.confirmed(seen, grace, UnixMillis(at)).len();
        assert_eq!(confirmed(&["i-1"], 0), 0);
        assert_eq!(confirmed(&["i-1", "i-2"], 119_999), 0);
        assert_eq!(confirmed(&["i-1", "i-2"], 120_000), 1);
        assert_eq!(confirmed(&[], 130_000), 0);
        assert_eq!(confirmed(&["i-1"], 140_000), 0);
    }

    #[test]
    fn one_look_is_never_enough() {
        let suspects = Suspects::default();
        let confirmed = |at| suspects.confirmed(&["i-1"], Duration::ZERO, UnixMillis(at)).len();
        assert_eq!([confirmed(5), confirmed(5), confirmed(6)], [0, 0, 1]);
    }

    #[test]
    fn a_suspect_is_news_once() {
        let suspects = Suspects::default();
        let _ = suspects.confirmed(&["i-1"], Duration::ZERO, UnixMillis(5));
        assert!(suspects.is_news("i-1"));
        assert!(!suspects.is_news("i-1"));
        assert!(!suspects.is_news("i-2"));
    }
}
