//! What a running coordinator remembers to spare calls. Nothing depends on it.

use bailey_lifecycle::InstanceState;
use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// What a running coordinator remembers.
#[derive(Debug, Default)]
pub struct Memory {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// The newest version of each `desired` item that was written.
    desired: HashMap<String, u64>,
    /// What EC2 said at the last sweep.
    instances: HashMap<String, InstanceState>,
    /// Tokens that nobody but this process can have sent, and never without a clear answer.
    unsent: HashSet<String>,
    /// Ids whose last step failed: how often in a row, and why.
    troubles: HashMap<String, (u32, String)>,
}

/// The first pause after a failed step; it doubles up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(30);

impl Memory {
    /// The newest version of the host's `desired` item that this process wrote; 0 for none.
    #[must_use]
    pub fn desired_written(&self, instance_arn: &str) -> u64 {
        self.lock().desired.get(instance_arn).copied().unwrap_or(0)
    }

    /// Notes that a version was written.
    pub fn desired_is_written(&self, instance_arn: &str, version: u64) {
        self.lock().desired.insert(instance_arn.to_owned(), version);
    }

    /// What EC2 said about an instance at the last sweep.
    #[must_use]
    pub fn instance(&self, instance_id: &str) -> Option<InstanceState> {
        self.lock().instances.get(instance_id).copied()
    }

    /// Replaces what EC2 said about all instances.
    pub fn set_instances(&self, instances: HashMap<String, InstanceState>) {
        self.lock().instances = instances;
    }

    /// Notes that this process wrote the intent with this token, and has not sent it.
    pub fn intent_is_new(&self, client_token: &str) {
        self.lock().unsent.insert(client_token.to_owned());
    }

    /// Notes that the token is about to be sent; tells whether this is certainly the first time.
    #[must_use]
    pub fn is_first_send(&self, client_token: &str) -> bool {
        self.lock().unsent.remove(client_token)
    }

    /// Forgets a host that is gone.
    pub fn forget(&self, instance_arn: &str, instance_id: &str) {
        let mut inner = self.lock();
        inner.desired.remove(instance_arn);
        inner.instances.remove(instance_id);
    }

    /// Why the last step for an id failed, when it did.
    #[must_use]
    pub fn trouble(&self, id: &str) -> Option<String> {
        self.lock().troubles.get(id).map(|(_, reason)| reason.clone())
    }

    /// Notes a failed step and gives the pause before the next try.
    pub fn failed(&self, id: &str, reason: String) -> Duration {
        let mut inner = self.lock();
        let times = inner.troubles.get(id).map_or(0, |(times, _)| times.saturating_add(1));
        inner.troubles.insert(id.to_owned(), (times, reason));
        FIRST_PAUSE.saturating_mul(1_u32.checked_shl(times).unwrap_or(u32::MAX)).min(LAST_PAUSE)
    }

    /// Notes that steps succeed again; tells whether they had failed before.
    pub fn succeeded(&self, id: &str) -> bool {
        self.lock().troubles.remove(id).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it holds the lock; if it did, the maps would still be usable.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_start_anew_after_a_success() {
        let memory = Memory::default();
        let pauses: Vec<_> =
            (0..8).map(|_| memory.failed("a", String::new()).as_millis()).collect();
        assert_eq!(pauses, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
        assert!(memory.succeeded("a"));
        assert!(!memory.succeeded("a"));
        assert_eq!(memory.failed("a", String::new()), FIRST_PAUSE);
    }
}
