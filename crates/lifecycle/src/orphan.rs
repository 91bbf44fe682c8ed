//! Whose an instance is.

use crate::{
    launch::{TAG_ENCLAVE, TAG_GENERATION, TAG_SPARE, client_token, slot_token},
    ledger::{Entry, Host, State},
    spare::{Slot, SlotId, SlotState},
};
use bailey_model::{EnclaveId, Generation};
use std::collections::BTreeMap;

/// An instance that says by its tags for what it was launched.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Claimed {
    /// The instance's id.
    pub instance_id: String,
    /// The token that it was launched with; EC2 says so, nobody can tag it.
    pub client_token: String,
    /// For whom, by its tag.
    pub by: Claimant,
    /// For which accepted request, or as which host of its slot, by its tag.
    pub generation: Generation,
}

/// For whom an instance was launched.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Claimant {
    /// For an enclave.
    Enclave(EnclaveId),
    /// As a spare host.
    Slot(SlotId),
}

impl Claimed {
    /// What an instance claims; none when its tags name neither enclave nor slot, or no generation.
    #[must_use]
    pub fn read(
        instance_id: &str,
        client_token: &str,
        tags: &BTreeMap<String, String>,
    ) -> Option<Self> {
        let by = match (tags.get(TAG_ENCLAVE), tags.get(TAG_SPARE)) {
            (Some(id), _) => Claimant::Enclave(id.parse().ok()?),
            (None, Some(slot)) => Claimant::Slot(SlotId::read(slot)),
            (None, None) => return None,
        };
        Some(Self {
            instance_id: instance_id.to_owned(),
            client_token: client_token.to_owned(),
            by,
            generation: Generation(tags.get(TAG_GENERATION)?.parse().ok()?),
        })
    }
}

/// Whose an instance is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ownership {
    /// The ledger counts on it, or may yet.
    Owned,
    /// Launched by this installation, for an attempt that is over: nobody will ever count on it again.
    Orphaned,
    /// Not to be touched, for this reason.
    Unproven(&'static str),
}

/// More attempts than any generation has.
const MOST_ATTEMPTS: u32 = 1_000;

/// Whose an instance is, by an entry that was read after the instance was seen.
///
/// Tags alone prove nothing: whoever may tag an instance could have it terminated. The token does, for
/// only a launch can set it. And only an entry that has gone on since is proof that nobody counts on
/// the instance: a ledger that was restored from a backup, or is another one, knows too little.
#[must_use]
pub fn ownership(instance: &Claimed, entry: Option<&Entry>, deployment: &str) -> Ownership {
    let (Claimant::Enclave(enclave_id), Some(entry)) = (&instance.by, entry) else {
        return Ownership::Unproven("the ledger does not know its enclave");
    };
    let is_host = entry.state.host().is_some_and(|host| host.instance_id == instance.instance_id);
    if is_host || is_awaited(&entry.state, &instance.client_token) {
        return Ownership::Owned;
    }
    if instance.generation > entry.generation {
        return Ownership::Unproven("the ledger does not know its generation yet");
    }
    let is_present = instance.generation == entry.generation;
    let attempts = if is_present { entry.attempts } else { MOST_ATTEMPTS };
    let is_ours = (1..=attempts.min(MOST_ATTEMPTS)).any(|attempt| {
        let token = client_token(deployment, enclave_id, instance.generation, attempt);
        token == instance.client_token
    });
    if is_ours { Ownership::Orphaned } else { Ownership::Unproven(ANOTHERS_TOKEN) }
}

/// Nobody here made the token.
const ANOTHERS_TOKEN: &str = "no launch that the ledger knows of has its client token";

/// Whose a spare host is, by its slot, and by the entry of the enclave that it was given to; both read
/// after the instance was seen.
#[must_use]
pub fn slot_ownership(
    instance: &Claimed,
    slot: Option<&Slot>,
    taker: Option<&Entry>,
    deployment: &str,
) -> Ownership {
    let (Claimant::Slot(id), Some(slot)) = (&instance.by, slot) else {
        return Ownership::Unproven("the ledger does not know its slot");
    };
    let is_it = |host: Option<&Host>| host.is_some_and(|it| it.instance_id == instance.instance_id);
    let is_awaited = matches!(&slot.state,
        SlotState::Launching { intent } if intent.request.client_token == instance.client_token);
    if is_it(slot.host()) || is_awaited || is_it(taker.and_then(|entry| entry.state.host())) {
        return Ownership::Owned;
    }
    if instance.generation >= slot.generation {
        return Ownership::Unproven("the ledger does not know its generation yet");
    }
    let is_given = slot.given_to(&instance.instance_id).is_some();
    if slot_token(deployment, id, instance.generation) != instance.client_token {
        return Ownership::Unproven(ANOTHERS_TOKEN);
    }
    if !is_given && slot.has_forgotten() {
        return Ownership::Unproven("its slot no longer remembers to whom it was given");
    }
    if is_given && taker.is_none() {
        return Ownership::Unproven("the ledger does not know the enclave that took it");
    }
    Ownership::Orphaned
}

/// Whether an answer is awaited that would name the instance.
fn is_awaited(state: &State, client_token: &str) -> bool {
    matches!(state, State::Launching { intent, .. } if intent.request.client_token == client_token)
}
