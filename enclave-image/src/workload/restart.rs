//! What happens when the workload ends, as a pure decision.

use super::WorkloadError;
use serde::{Deserialize, Serialize};
use std::{str::FromStr, time::Duration};

/// When a workload that ended is started again, and how often.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Restart {
    /// After which ends it is started again.
    pub policy: RestartPolicy,
    /// How often in a row; a run of at least `stable_ms` starts the count anew.
    pub max_in_a_row: u32,
    /// The pause before the first restart in a row, in milliseconds; it doubles with each.
    pub pause_ms: u32,
    /// The longest pause, in milliseconds.
    pub max_pause_ms: u32,
    /// How long a run has to be to count as a good one, in milliseconds.
    pub stable_ms: u32,
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            policy: RestartPolicy::default(),
            max_in_a_row: 5,
            pause_ms: 1_000,
            max_pause_ms: 60_000,
            stable_ms: 60_000,
        }
    }
}

/// After which ends a workload is started again.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// After every end.
    Always,
    /// After a signal, a code other than 0, and a failed start.
    OnFailure,
    /// Never. The default: an enclave that ends is started again by its parent, afresh and with a
    /// new attestation.
    #[default]
    Never,
}

impl FromStr for RestartPolicy {
    type Err = UnknownPolicy;

    fn from_str(text: &str) -> Result<Self, UnknownPolicy> {
        match text {
            "always" => Ok(Self::Always),
            "on-failure" => Ok(Self::OnFailure),
            "never" => Ok(Self::Never),
            other => Err(UnknownPolicy { found: other.to_owned() }),
        }
    }
}

/// The text names no policy.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("unknown restart policy `{found}`, there are always, on-failure and never")]
pub struct UnknownPolicy {
    found: String,
}

impl Restart {
    /// The pause before the next start, or `None` when there is none.
    ///
    /// `in_a_row` is how many restarts there were since the last good run.
    #[must_use]
    pub fn pause(&self, succeeded: bool, in_a_row: u32) -> Option<Duration> {
        let wanted = match self.policy {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => !succeeded,
            RestartPolicy::Never => false,
        };
        if !wanted || in_a_row >= self.max_in_a_row {
            return None;
        }
        let doubled =
            1_u32.checked_shl(in_a_row).and_then(|factor| self.pause_ms.checked_mul(factor));
        let pause_ms = doubled.unwrap_or(u32::MAX).min(self.max_pause_ms);
        Some(Duration::from_millis(pause_ms.into()))
    }

    /// Whether a run of this length was a good one.
    #[must_use]
    pub fn was_stable(&self, run: Duration) -> bool {
        run >= Duration::from_millis(self.stable_ms.into())
    }

    pub(super) fn check(&self) -> Result<(), WorkloadError> {
        let longest = 3_600_000;
        let pauses = (1..=longest).contains(&self.pause_ms) && self.max_pause_ms <= longest;
        if pauses && self.pause_ms <= self.max_pause_ms {
            Ok(())
        } else {
            Err(WorkloadError::RestartPause)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restart(policy: RestartPolicy) -> Restart {
        Restart { policy, max_in_a_row: 40, pause_ms: 100, max_pause_ms: 1_000, stable_ms: 10 }
    }

    #[test]
    fn each_policy_answers_success_and_failure() {
        let again = |policy, succeeded| restart(policy).pause(succeeded, 0).is_some();
        assert!(again(RestartPolicy::Always, true) && again(RestartPolicy::Always, false));
        assert!(!again(RestartPolicy::OnFailure, true) && again(RestartPolicy::OnFailure, false));
        assert!(!again(RestartPolicy::Never, true) && !again(RestartPolicy::Never, false));
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_end_with_the_bound() {
        let restart = restart(RestartPolicy::Always);
        let pauses: Vec<_> = (0..6).filter_map(|count| restart.pause(true, count)).collect();
        let expected = [100, 200, 400, 800, 1_000, 1_000].map(Duration::from_millis);
        assert_eq!(pauses, expected);
        assert_eq!(restart.pause(true, 39), Some(Duration::from_secs(1)));
        assert_eq!(restart.pause(true, 40), None);
    }

    #[test]
    fn a_run_is_stable_from_its_bound_on() {
        let restart = restart(RestartPolicy::Always);
        assert!(restart.was_stable(Duration::from_millis(10)));
        assert!(!restart.was_stable(Duration::from_millis(9)));
    }

    #[test]
    fn policies_are_read_as_they_are_written() {
        for (text, policy) in [
            ("always", RestartPolicy::Always),
            ("on-failure", RestartPolicy::OnFailure),
            ("never", RestartPolicy::Never),
        ] {
            assert_eq!(text.parse(), Ok(policy));
            assert_eq!(serde_json::to_value(policy).unwrap(), text);
        }
        assert!("sometimes".parse::<RestartPolicy>().is_err());
    }
}
