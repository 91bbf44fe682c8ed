//! When an enclave that ended by itself is started again.

use bailey_model::{UnixMillis, record::RestartPolicy};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The pause before the first restart; each further one within [`WINDOW`] doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// No pause is longer, so that an enclave whose trouble has passed comes back within a minute.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// Crashes older than this are forgiven.
const WINDOW: Duration = Duration::from_mins(10);
/// More restarts than this within [`WINDOW`] mean that restarting does not help.
const MOST_IN_WINDOW: usize = 5;

/// The restarts of one enclave that still count.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct RestartHistory(Vec<UnixMillis>);

/// What to do about an enclave that ended by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Start it again, not before this instant.
    RestartAt(UnixMillis),
    /// The record's policy says that it is not to be started again after such an end.
    NotWanted,
    /// It ended too often.
    TooOften {
        /// How often it was restarted within the window.
        restarts: usize,
        /// The window.
        within: Duration,
    },
}

impl RestartHistory {
    /// Judges an end that was noticed at `now`, and remembers the restart that it leads to.
    ///
    /// nitro-cli does not tell how an enclave ended: each end counts as a failure, unless its workload said
    /// before that it `succeeded`.
    pub fn judge(&mut self, policy: RestartPolicy, succeeded: bool, now: UnixMillis) -> Verdict {
        if policy == RestartPolicy::Never || (policy == RestartPolicy::OnFailure && succeeded) {
            return Verdict::NotWanted;
        }
        self.0.retain(|at| now.since(*at) < WINDOW);
        let restarts = self.0.len();
        if restarts >= MOST_IN_WINDOW {
            return Verdict::TooOften { restarts, within: WINDOW };
        }
        self.0.push(now);
        Verdict::RestartAt(now.plus(pause(restarts)))
    }
}

fn pause(earlier_restarts: usize) -> Duration {
    let doublings = u32::try_from(earlier_restarts).unwrap_or(u32::MAX);
    let factor = 2_u32.checked_pow(doublings).unwrap_or(u32::MAX);
    FIRST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_000_000_000);

    #[test]
    fn pauses_double_and_the_sixth_crash_in_ten_minutes_is_the_last() {
        let mut history = RestartHistory::default();
        for seconds in [1, 2, 4, 8, 16] {
            let expected = Verdict::RestartAt(NOW.plus(Duration::from_secs(seconds)));
            assert_eq!(history.judge(RestartPolicy::OnFailure, false, NOW), expected);
        }
        let expected = Verdict::TooOften { restarts: 5, within: WINDOW };
        assert_eq!(history.judge(RestartPolicy::OnFailure, false, NOW), expected);
    }

    #[test]
    fn old_crashes_are_forgiven() {
        let mut history = RestartHistory::default();
        for _ in 0..5 {
            history.judge(RestartPolicy::Always, false, NOW);
        }
        let later = NOW.plus(WINDOW);
        let expected = Verdict::RestartAt(later.plus(FIRST_PAUSE));
        assert_eq!(history.judge(RestartPolicy::Always, false, later), expected);
    }

    #[test]
    fn never_means_never() {
        let verdict = RestartHistory::default().judge(RestartPolicy::Never, false, NOW);
        assert_eq!(verdict, Verdict::NotWanted);
    }

    #[test]
    fn work_that_is_done_is_done_again_only_always() {
        let judge = |policy| RestartHistory::default().judge(policy, true, NOW);
        assert_eq!(judge(RestartPolicy::OnFailure), Verdict::NotWanted);
        assert_eq!(judge(RestartPolicy::Always), Verdict::RestartAt(NOW.plus(FIRST_PAUSE)));
    }

    #[test]
    fn a_pause_never_exceeds_a_minute() {
        assert_eq!(pause(6), LONGEST_PAUSE);
        assert_eq!(pause(usize::MAX), LONGEST_PAUSE);
    }
}
