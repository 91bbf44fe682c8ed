//! How often something may be done at most.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Something that is done no more often than once an interval, however often it is asked for.
#[derive(Debug)]
pub struct Pace {
    interval: Duration,
    last: Mutex<Option<Instant>>,
}

impl Pace {
    /// A pace at which the first time is now.
    #[must_use]
    pub fn once_per(interval: Duration) -> Self {
        Self { interval, last: Mutex::new(None) }
    }

    /// Whether it may be done now; who is told so has taken this turn.
    #[must_use]
    pub fn take_turn(&self, now: Instant) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = last.is_none_or(|last| now.saturating_duration_since(last) >= self.interval);
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    #[test]
    fn sweeps_of_every_length_ask_at_most_once_a_minute() {
        let start = Instant::now();
        for sweep_s in [1, 7, 30, 45, 60, 61, 90] {
            let pace = Pace::once_per(MINUTE);
            let times = (0..3_600 / sweep_s).map(|n| Duration::from_secs(n * sweep_s));
            let asked: Vec<_> = times.filter(|at| pace.take_turn(start + *at)).collect();
            assert!(
                asked.windows(2).all(|pair| pair[1].saturating_sub(pair[0]) >= MINUTE),
                "{sweep_s}"
            );
            assert!(asked.len() <= 60, "{sweep_s}: {}", asked.len());
        }
    }

    #[test]
    fn the_first_turn_is_at_once_and_the_next_after_the_interval() {
        let (pace, start) = (Pace::once_per(MINUTE), Instant::now());
        let asked = [0, 30, 59, 60, 90, 119, 120].map(|s| start + Duration::from_secs(s));
        assert_eq!(
            asked.map(|at| pace.take_turn(at)),
            [true, false, false, true, false, false, true]
        );
    }
}
