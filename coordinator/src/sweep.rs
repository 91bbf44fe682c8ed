//! The sweep: whatever a stream did not say is found here.

use crate::{
    ec2::Ec2Error,
    queue::{Queue, Work},
    store::{Active, StoreError},
    tick::{Coordinator, DESCRIBE_LAG},
};
use bailey_lifecycle::InstanceState;
use bailey_model::UnixMillis;
use bailey_runtime::now;
use std::time::Duration;
use tokio::time::Instant;

/// Why a sweep is incomplete; what it found is served all the same, and the next does it over.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// EC2 does not know too many instances for that to be believed.
    #[error(
        "EC2 does not know {unknown} of the {all} instances on which enclaves run, which is not \
         believed; are region and credentials those of this installation?"
    )]
    Doubtful {
        /// How many EC2 does not know.
        unknown: usize,
        /// How many there should be.
        all: usize,
    },
    /// EC2 gave no usable answer.
    #[error("cannot list the instances")]
    Instances(#[source] Ec2Error),
    /// The ledger gave no usable answer.
    #[error("cannot list the active entries")]
    Ledger(#[source] StoreError),
    /// The web app's table gave no usable answer.
    #[error("cannot list the records that wait")]
    Records(#[source] StoreError),
}

impl Coordinator {
    /// Wakes every id that may need something: records that wait, entries that are under way or were not
    /// looked at for a while, and enclaves whose instance is gone.
    ///
    /// Each source is asked whatever became of the others.
    pub async fn sweep(&self, queue: &Queue) -> Vec<SweepError> {
        let wake = |id: String| queue.wake(Work::Enclave(id), Duration::ZERO);
        let mut errors = Vec::new();
        match self.ledger.active().await {
            Ok(Active { enclaves, noted }) => {
                self.memory.are_noted(&noted);
                let is_due = |id: &String| !self.memory.rests(id, now());
                enclaves.into_iter().filter(is_due).chain(noted).for_each(wake);
            }
            Err(error) => errors.push(SweepError::Ledger(error)),
        }
        match self.records.unsettled().await {
            Ok(ids) => ids.into_iter().for_each(wake),
            Err(error) => errors.push(SweepError::Records(error)),
        }
        if self.looks.take_turn(Instant::now())
            && let Err(error) = self.look_at_instances().await
        {
            errors.push(error);
        }
        // Those that were called for once are tended too.
        queue.wake(Work::Spares, Duration::ZERO);
        for (owner, state) in self.memory.owners() {
            if state.is_some_and(InstanceState::is_gone) {
                wake(owner.enclave_id.to_string());
            }
        }
        errors
    }

    /// Asks EC2 once for all instances that are not terminated, and again for those that should be among
    /// them and are not: only EC2's word about an instance itself says that it is gone.
    async fn look_at_instances(&self) -> Result<(), SweepError> {
        let listed = self.ec2.instances(&self.config.deployment).await;
        let listed = listed.map_err(SweepError::Instances)?;
        self.memory.set_instances(listed.iter().map(|it| (it.instance_id.clone(), it.state)));
        let mut expected = self.memory.expected();
        let all = expected.len();
        expected.retain(|(_, _, state)| state.is_none());
        let missing: Vec<_> = expected.iter().map(|(id, ..)| id.as_str()).collect();
        let states = self.ec2.states(&missing).await.map_err(SweepError::Instances)?;
        // EC2 may not show yet what was launched just now.
        let is_unknown = |id: &str, launched_at: UnixMillis| {
            !states.contains_key(id) && now().since(launched_at) >= DESCRIBE_LAG
        };
        let unknown: Vec<_> = expected
            .iter()
            .filter(|(id, launched_at, _)| is_unknown(id, *launched_at))
            .map(|(id, ..)| id.as_str())
            .collect();
        for (instance_id, state) in &states {
            self.memory.set_instance(instance_id, *state);
        }
        if is_doubtful(unknown.len(), all) {
            return Err(SweepError::Doubtful { unknown: unknown.len(), all });
        }
        for instance_id in self.unknown.confirmed(&unknown, self.grace, now()) {
            self.memory.set_instance(instance_id, InstanceState::Terminated);
        }
        self.end_orphans(&listed).await
    }
}

/// Whether so many instances are unknown to EC2 that it more likely answers for another account.
///
/// It shows an instance for about an hour after its end; few are missed for longer than that.
fn is_doubtful(unknown: usize, all: usize) -> bool {
    unknown > 3 && unknown.saturating_mul(2) > all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_most_of_the_instances_is_doubted() {
        let cases = [(0, 0), (1, 1), (3, 3), (4, 8), (500, 1_000)];
        assert!(cases.iter().all(|(unknown, all)| !is_doubtful(*unknown, *all)));
        let cases = [(4, 4), (4, 7), (501, 1_000), (1_000, 1_000)];
        assert!(cases.iter().all(|(unknown, all)| is_doubtful(*unknown, *all)));
    }
}
