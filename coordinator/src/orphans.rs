//! Instances that were launched here and that nobody counts on any more.
//!
//! How one comes about: a coordinator is stopped for minutes between deciding to send a launch and sending
//! it; another one meanwhile took the launch for refused, and the enclave's life went on without it.
//!
//! # Guarantees
//! - Only an instance whose token this installation alone can have made, for an attempt that the ledger
//!   says is over, is terminated. What cannot be proven is left alone, and logged.
//! - It has to be found twice, a grace period apart; its entry is read after that, and written with the
//!   reason before anything is done.
//! - One sweep terminates a few at most: a mistake of ours must not end everything at once.

use crate::{ec2::Listed, store::Written, sweep::SweepError, tick::Coordinator};
use bailey_lifecycle::{
    ledger::Entry,
    orphan::{Claimant, Claimed, Ownership, ownership, slot_ownership},
    outcome,
};
use bailey_model::EnclaveId;
use bailey_runtime::now;
use std::collections::{HashMap, HashSet};

/// How many instances one sweep terminates at most.
const MOST_AT_ONCE: usize = 10;

impl Coordinator {
    /// Terminates what was listed and belongs to nobody.
    pub(crate) async fn end_orphans(&self, listed: &[Listed]) -> Result<(), SweepError> {
        let expected: HashSet<_> = self.memory.expected().into_iter().map(|(id, ..)| id).collect();
        let candidates: HashMap<_, _> = listed
            .iter()
            .filter(|it| !it.state.is_ended() && !expected.contains(&it.instance_id))
            .filter_map(|it| it.claimed.as_ref())
            .map(|claimed| (claimed.instance_id.as_str(), claimed))
            .collect();
        let mut suspects: Vec<_> = candidates.keys().copied().collect();
        suspects.sort_unstable();
        let confirmed = self.suspects.confirmed(&suspects, self.grace, now());
        let (mut ended, mut failed) = (0, None);
        for suspect in confirmed.into_iter().filter_map(|id| candidates.get(id)) {
            if ended == MOST_AT_ONCE {
                log::warn!("more instances belong to nobody; the next sweep goes on");
                break;
            }
            // One that cannot be ended is no reason to leave the others.
            match self.end_orphan(suspect).await {
                Ok(is_ended) => ended += usize::from(is_ended),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Terminates the instance if it belongs to nobody; tells whether it did.
    async fn end_orphan(&self, suspect: &Claimed) -> Result<bool, SweepError> {
        let instance_id = suspect.instance_id.as_str();
        let (ownership, entry) = self.whose(suspect).await?;
        match ownership {
            Ownership::Owned => return Ok(false),
            Ownership::Unproven(reason) => {
                if self.suspects.is_news(instance_id) {
                    log::warn!(
                        instance_id, reason;
                        "an instance with this installation's tags is left alone"
                    );
                }
                return Ok(false);
            }
            Ownership::Orphaned => {}
        }
        if let Some(noted) = entry.and_then(|it| outcome::orphan_ended(&it, instance_id, now())) {
            match self.ledger.save(&noted).await.map_err(SweepError::Ledger)? {
                // It goes on just now; the next sweep looks again.
                Written::Outdated => return Ok(false),
                Written::Done(_) => {}
            }
        }
        log::warn!(
            instance_id, generation = suspect.generation.0;
            "an instance that belongs to nobody is terminated"
        );
        self.ec2.terminate(instance_id).await.map_err(SweepError::Instances)?;
        self.metrics.orphan_ended();
        Ok(true)
    }

    /// Whose an instance is, with the entry of the enclave that has it or had it.
    async fn whose(&self, claimed: &Claimed) -> Result<(Ownership, Option<Entry>), SweepError> {
        let deployment = &self.config.deployment;
        let entry_of =
            async |id: &EnclaveId| self.ledger.read(id).await.map_err(SweepError::Ledger);
        match &claimed.by {
            Claimant::Enclave(id) => {
                let entry = entry_of(id).await?;
                Ok((ownership(claimed, entry.as_ref(), deployment), entry))
            }
            Claimant::Slot(id) => {
                let slots = self.ledger.slots().await.map_err(SweepError::Ledger)?;
                let slot = slots.iter().find(|slot| slot.id == *id);
                let taker = match slot.and_then(|slot| slot.given_to(&claimed.instance_id)) {
                    Some(taker) => entry_of(taker).await?,
                    None => None,
                };
                Ok((slot_ownership(claimed, slot, taker.as_ref(), deployment), taker))
            }
        }
    }
}
