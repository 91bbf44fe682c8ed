//! Working off the queue, in both shapes of the coordinator.

use crate::{
    events::InstanceNews,
    queue::{Queue, Work},
    store::Written,
    subject::Subject,
    sweep::SweepError,
    tick::{Coordinator, Next, TickError},
};
use bailey_lifecycle::{orphan::Claimant, outcome};
use bailey_model::{EnclaveId, hosts::Announcement};
use bailey_runtime::{chain, now};
use std::{collections::BTreeSet, time::Duration};

/// Ids that are worked on at the same time. Most of a step is waiting for an answer.
pub(crate) const WORKERS: usize = 32;

impl Coordinator {
    /// Wakes whom a change is about.
    ///
    /// What a host reported wakes the enclave that the ledger put there, as far as this process knows.
    /// Of a host that it does not know, the host's own claims are looked at: whose enclave is where is
    /// read anew in any case, so a parent can have somebody looked at in vain, and no more.
    pub(crate) fn wake(&self, subject: Subject, queue: &Queue) -> Vec<String> {
        let (ids, pause) = match subject {
            Subject::Record(id) => (vec![id], Duration::ZERO),
            Subject::Host { instance_arn, claims, pause } => {
                (self.concerned(&instance_arn, claims), pause)
            }
        };
        // A host that runs nothing may be a spare one.
        if ids.is_empty() && !self.config.spares.is_empty() {
            queue.wake(Work::Spares, pause);
        }
        for id in &ids {
            queue.wake(Work::Enclave(id.clone()), pause);
        }
        ids
    }

    /// Whom a host's report concerns. Of a shared host this process may know some enclaves and not others,
    /// so its claims are looked at as well.
    fn concerned(&self, instance_arn: &str, claims: Vec<String>) -> Vec<String> {
        let owners = self.memory.owners_of(instance_arn);
        let more = if owners.iter().all(|owner| owner.is_shared) { claims } else { Vec::new() };
        let owners = owners.iter().map(|owner| owner.enclave_id.to_string());
        owners.chain(more).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Takes the steps that are due for `id`, and sees to it that it is looked at again in time.
    pub(crate) async fn serve(&self, id: &str, queue: &Queue) -> Result<(), TickError> {
        let wake = |delay| queue.wake(Work::Enclave(id.to_owned()), delay);
        // Taken back before anything is read: what is noted after this is not covered by it.
        if self.memory.is_noted(id) {
            self.ledger.forget(id).await.map_err(TickError::Store)?;
            self.memory.note_is_gone(id);
        }
        match self.tick(id).await {
            Ok(next) => {
                // The record may still show the trouble that is over.
                if self.memory.succeeded(id) {
                    wake(Duration::ZERO);
                } else if let Next::After(delay) = next {
                    wake(delay);
                }
                Ok(())
            }
            Err(error) => {
                let reason = chain(&error);
                self.metrics.retried();
                log::warn!(enclave_id = id, error = reason.as_str(); "step failed and will be retried");
                wake(self.memory.failed_by_chance(id, error.to_string(), reason));
                Err(error)
            }
        }
    }

    /// Sweeps; what is incomplete is logged, and given back.
    pub(crate) async fn sweep_and_log(&self, queue: &Queue) -> Vec<SweepError> {
        let errors = self.sweep(queue).await;
        self.metrics.swept(errors.is_empty());
        for error in &errors {
            log::warn!(error = chain(error); "sweep is incomplete");
        }
        errors
    }

    /// Takes in what EC2 or AWS Health says of an instance: asks EC2 itself, notes the notice, and wakes
    /// whom it concerns.
    pub(crate) async fn hear(&self, news: &InstanceNews, queue: &Queue) -> Result<(), TickError> {
        let InstanceNews { instance_id, notice } = news;
        let listed = self.ec2.listed(instance_id, &self.config.deployment).await;
        // Most instances of an account are not ours.
        let Some(listed) = listed.map_err(TickError::Ec2)? else { return Ok(()) };
        self.memory.set_instance(instance_id, listed.state);
        let concerned = match listed.claimed.map(|claimed| claimed.by) {
            None => return Ok(()),
            Some(Claimant::Enclave(id)) => vec![id],
            Some(Claimant::Slot(slot)) => {
                let slots = self.ledger.slots().await.map_err(TickError::Store)?;
                let slot = slots.iter().find(|it| it.id == slot);
                let taker = slot.and_then(|slot| slot.given_to(instance_id));
                if taker.is_none() {
                    queue.wake(Work::Spares, Duration::ZERO);
                }
                let tenants = slot.into_iter().flat_map(|slot| slot.tenants.keys());
                taker.into_iter().chain(tenants).cloned().collect()
            }
        };
        for enclave_id in concerned {
            if let Some(notice) = notice {
                self.note(&enclave_id, instance_id, notice).await?;
            }
            queue.wake(Work::Enclave(enclave_id.to_string()), Duration::ZERO);
        }
        Ok(())
    }

    /// Notes what AWS announced about the enclave's instance.
    async fn note(
        &self,
        id: &EnclaveId,
        instance_id: &str,
        notice: &Announcement,
    ) -> Result<(), TickError> {
        loop {
            let entry = self.ledger.read(id).await.map_err(TickError::Store)?;
            let noticed = entry.and_then(|e| outcome::noticed(&e, instance_id, notice, now()));
            let Some(noticed) = noticed else { return Ok(()) };
            // Each other write that comes between is progress of somebody's.
            match self.ledger.save(&noticed).await.map_err(TickError::Store)? {
                Written::Done(_) => return Ok(()),
                Written::Outdated => {}
            }
        }
    }
}
