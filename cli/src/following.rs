//! Which events to tell next.
//!
//! Pure: looks at an entry's events go in, those that were not told come out.

use bailey_lifecycle::ledger::Event;

/// How far the events of an enclave have been told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Following {
    /// The number of the newest event that was told.
    last: Option<u64>,
}

/// What is new.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct News {
    /// How many events came and went before anybody looked.
    pub(crate) missed: u64,
    /// The events, oldest first.
    pub(crate) events: Vec<Event>,
}

impl Following {
    /// Whether anything was told yet.
    pub(crate) fn has_begun(self) -> bool {
        self.last.is_some()
    }

    /// What is new in these events, which are kept in the order of their numbers.
    pub(crate) fn observe(&mut self, kept: Vec<Event>) -> News {
        let told = self.last.unwrap_or_default();
        let is_first = self.last.is_none();
        let events: Vec<_> =
            // What has no number is older than everything that has one.
            kept.into_iter().filter(|event| event.number > told || is_first).collect();
        let newest = events.iter().map(|event| event.number).max();
        self.last = Some(newest.unwrap_or(told).max(told));
        let missed = match events.first() {
            Some(Event { number: 0, .. }) | None => 0,
            Some(first) => first.number.saturating_sub(told).saturating_sub(1),
        };
        News { missed, events }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bailey_model::{Generation, UnixMillis};

    fn event(number: u64) -> Event {
        let at = UnixMillis(number);
        Event { number, at, generation: Generation(1), text: "again".to_owned() }
    }

    fn events(numbers: impl IntoIterator<Item = u64>) -> Vec<Event> {
        numbers.into_iter().map(event).collect()
    }

    #[test]
    fn each_event_is_told_once() {
        let mut following = Following::default();
        assert_eq!(following.observe(events(1..=3)), News { missed: 0, events: events(1..=3) });
        assert_eq!(following.observe(events(1..=3)), News { missed: 0, events: Vec::new() });
        assert_eq!(following.observe(events(2..=5)), News { missed: 0, events: events(4..=5) });
    }

    #[test]
    fn events_that_came_and_went_between_two_looks_are_counted() {
        let mut following = Following::default();
        assert_eq!(following.observe(events(4..=6)).missed, 3, "before the first look");
        assert_eq!(following.observe(events(6..=7)).missed, 0);
        let news = following.observe(events(10..=11));
        assert_eq!(news, News { missed: 2, events: events(10..=11) });
    }

    #[test]
    fn events_without_numbers_are_told_with_the_first_look_only() {
        let mut following = Following::default();
        let old = events([0, 0, 3]);
        assert_eq!(following.observe(old.clone()), News { missed: 0, events: old });
        assert_eq!(
            following.observe(events([0, 0, 3, 4])),
            News { missed: 0, events: events([4]) }
        );
        let mut following = Following::default();
        following.observe(events([0, 0]));
        assert_eq!(following.observe(events([0, 0, 3])).events, events([3]));
    }

    #[test]
    fn an_enclave_of_which_nothing_happened_yet_is_told_from_its_start() {
        let mut following = Following::default();
        assert_eq!(following.observe(Vec::new()), News { missed: 0, events: Vec::new() });
        assert_eq!(following.observe(events(1..=2)), News { missed: 0, events: events(1..=2) });
    }
}
