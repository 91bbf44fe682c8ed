//! A line in the log for each refusal, but no flood of them: whoever is inside may ask without end.

use crate::workload::Running;
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// The most lines of one enclave in a [`PERIOD`].
const LINES: u32 = 20;
const PERIOD: Duration = Duration::from_secs(1);

/// Tells of one enclave's refusals.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Pace>);

#[derive(Debug, Default)]
struct Pace {
    since: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl Refusals {
    /// Tells what was refused and why, and how many refusals were not told since the last line.
    pub(super) fn tell(&self, running: &Running, destination: &str, reason: &str) {
        let allowed = self.0.lock().unwrap_or_else(PoisonError::into_inner).allow(Instant::now());
        if let Some(left_out) = allowed {
            let (enclave_id, generation) = (running.enclave_id.as_str(), running.generation.0);
            log::warn!(enclave_id, generation, destination, reason, left_out; "egress refused");
        }
    }
}

impl Pace {
    /// Whether a line may be written, and then how many were left out before it.
    fn allow(&mut self, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| now.duration_since(since) >= PERIOD) {
            (self.since, self.lines) = (Some(now), 0);
        }
        if self.lines >= LINES {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_in_a_few_lines_and_its_size_in_the_next() {
        let (mut pace, begun) = (Pace::default(), Instant::now());
        let told = (0..1_000).filter(|_| pace.allow(begun) == Some(0)).count();
        assert_eq!(told, 20);
        assert_eq!(pace.allow(begun + PERIOD), Some(980));
        assert_eq!(pace.allow(begun + PERIOD), Some(0));
    }
}
