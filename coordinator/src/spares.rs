//! Carrying out the steps of the slots for spare and shared hosts.

use crate::{
    ec2::LaunchAnswer,
    queue::{Queue, Work},
    store::{Written, WrittenTogether},
    tick::{Coordinator, DESCRIBE_LAG, TickError},
};
use bailey_lifecycle::{
    InstanceState,
    ledger::Host,
    spare::{self, Slot, SlotId, SlotState, SlotStep, SlotView, next_slot_step},
};
use bailey_model::UnixMillis;
use bailey_runtime::{chain, now};
use std::time::Duration;

/// A slot is filled in about six steps; more than these mean that something works against us.
const STEP_LIMIT: usize = 50;

impl Coordinator {
    /// Takes the steps that are due for every slot, and sees to it that they are looked at again.
    pub(crate) async fn tend_spares(&self, queue: &Queue) -> Result<(), TickError> {
        let present = self.ledger.slots().await.map_err(TickError::Store)?;
        let (mut hosts, mut failed) = (Vec::new(), None);
        for (slot, is_wanted) in spare::slots(&self.config.spares, present) {
            // One slot's trouble is not another's.
            match self.tend(slot, is_wanted).await {
                Ok((host, until)) => {
                    hosts.extend(host);
                    let pause = until.map(|until| until.since(now()) + Duration::from_millis(1));
                    if let Some(pause) = pause {
                        queue.wake(Work::Spares, pause);
                    }
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        self.memory.set_spares(hosts);
        failed.map_or(Ok(()), Err)
    }

    /// Takes the steps that are due for a shared host's slot, which those who wait for the host do as well
    /// as the sweep.
    ///
    /// One at a time in this process: whoever sends a launch for the first time believes a refusal.
    pub(crate) async fn tend_shared(&self, id: &SlotId) -> Result<Option<Slot>, TickError> {
        let turn = self.memory.turn_of(id.as_str());
        let _turn = turn.lock().await;
        let Some(slot) = self.ledger.slot(id).await.map_err(TickError::Store)? else {
            return Ok(None);
        };
        self.tend_in_turn(slot, false).await?;
        self.ledger.slot(id).await.map_err(TickError::Store)
    }

    async fn tend(
        &self,
        slot: Slot,
        is_wanted: bool,
    ) -> Result<(Option<Host>, Option<UnixMillis>), TickError> {
        let turn = self.memory.turn_of(slot.id.as_str());
        let _turn = turn.lock().await;
        self.tend_in_turn(slot, is_wanted).await
    }

    /// Takes the steps that are due for a slot; gives its host, and when it is to be looked at again.
    async fn tend_in_turn(
        &self,
        mut slot: Slot,
        is_wanted: bool,
    ) -> Result<(Option<Host>, Option<UnixMillis>), TickError> {
        // Whether its host was told to wait.
        let mut was_told = false;
        for _ in 0..STEP_LIMIT {
            let observed = match slot.host().filter(|_| !slot.id.is_shared()) {
                Some(host) => {
                    self.hosts.read(&host.instance_arn).await.map_err(TickError::Store)?.observed
                }
                None => None,
            };
            let view = SlotView {
                now: now(),
                is_wanted,
                observed: observed.as_ref(),
                instance: slot.host().and_then(|host| self.memory.instance(&host.instance_id)),
                is_told: was_told,
            };
            let next = match next_slot_step(&slot, &view, &self.config) {
                SlotStep::Wait(until) => return Ok((slot.host().cloned(), until)),
                SlotStep::Save(next) => *next,
                SlotStep::WriteDesired(instance_arn, desired) => {
                    let written = self.hosts.write_desired(&instance_arn, &desired).await;
                    written.map_err(TickError::Store)?;
                    was_told = true;
                    continue;
                }
                SlotStep::Launch(intent) => {
                    let (answer, _) = self.sent(&intent).await?;
                    let next = match answer {
                        LaunchAnswer::Launched(launched) => spare::launched(&slot, launched, now()),
                        LaunchAnswer::Refused(refused) => {
                            if refused.is_short() {
                                self.shortages.note(intent.place(), now());
                            }
                            spare::launch_refused(&slot, &refused, now())
                        }
                    };
                    self.memory.answered(&intent.request.client_token);
                    next
                }
                SlotStep::Terminate(host) => {
                    let state = self.ec2.terminate(&host.instance_id).await;
                    let state = state.map_err(TickError::Ec2)?;
                    // Just after a launch EC2 may not know its own instance yet.
                    let is_old = now().since(host.launched_at) >= DESCRIBE_LAG;
                    let is_gone = state.map_or(is_old, InstanceState::is_gone);
                    if !is_gone {
                        return Ok((Some(host), Some(now().plus(Duration::from_secs(1)))));
                    }
                    let removed = self.hosts.removal_in_transaction(&host.instance_arn);
                    let removed = removed.map_err(TickError::Store)?;
                    let ended = spare::terminated(&slot, now());
                    let written = self.ledger.save_slot_with(&ended, removed).await;
                    match written.map_err(TickError::Store)? {
                        WrittenTogether::Done(next) => {
                            self.memory.forget(&host.instance_arn, &host.instance_id);
                            slot = changed(&slot, next);
                            continue;
                        }
                        _ => return Ok((None, Some(now()))),
                    }
                }
            };
            match self.ledger.save_slot(&next).await.map_err(TickError::Store)? {
                Written::Done(next) => {
                    if let SlotState::Launching { intent } = &next.state {
                        self.memory.intent_is_new(&intent.request.client_token);
                    }
                    slot = changed(&slot, next);
                }
                // Somebody else tends it, or has taken its host.
                Written::Outdated => return Ok((None, Some(now().plus(CONTENTION_PAUSE)))),
            }
        }
        Err(TickError::Restless)
    }

    /// Tends the slots, and tries again later when that fails.
    pub(crate) async fn tend_spares_and_log(&self, queue: &Queue) -> bool {
        const WHAT: &str = "spare hosts";
        match self.tend_spares(queue).await {
            Ok(()) => {
                self.memory.succeeded(WHAT);
                true
            }
            Err(error) => {
                let reason = chain(&error);
                log::warn!(error = reason.as_str(); "spare hosts are not as they should be");
                queue.wake(
                    Work::Spares,
                    self.memory.failed_by_chance(WHAT, error.to_string(), reason),
                );
                false
            }
        }
    }
}

/// How long to wait for somebody else's write.
const CONTENTION_PAUSE: Duration = Duration::from_millis(100);

fn changed(before: &Slot, after: Slot) -> Slot {
    if before.name() != after.name() {
        let why = match &after.state {
            SlotState::Empty { why: Some(why), .. } | SlotState::Terminating { why, .. } => {
                why.as_str()
            }
            _ => "-",
        };
        let instance_id = after.host().map_or("-", |host| host.instance_id.as_str());
        log::info!(
            slot = after.id.as_str(), phase = after.name(), instance_id, why;
            "host of a slot changed phase"
        );
    }
    after
}
