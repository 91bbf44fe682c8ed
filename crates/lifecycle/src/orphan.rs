//! Whose an instance is.

use crate::{
    launch::{TAG_ENCLAVE, TAG_GENERATION, client_token},
    ledger::{Entry, State},
};
use bailey_model::{EnclaveId, Generation};
use std::collections::BTreeMap;

/// An instance that says by its tags that it was launched for an enclave.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Claimed {
    /// The instance's id.
    pub instance_id: String,
    /// The token that it was launched with; EC2 says so, nobody can tag it.
    pub client_token: String,
    /// Whose enclave, by its tag.
    pub enclave_id: EnclaveId,
    /// For which accepted request, by its tag.
    pub generation: Generation,
}

impl Claimed {
    /// What an instance claims; none when its tags name no enclave or no generation.
    #[must_use]
    pub fn read(
        instance_id: &str,
        client_token: &str,
        tags: &BTreeMap<String, String>,
    ) -> Option<Self> {
        Some(Self {
            instance_id: instance_id.to_owned(),
            client_token: client_token.to_owned(),
            enclave_id: tags.get(TAG_ENCLAVE)?.parse().ok()?,
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
    let Some(entry) = entry else {
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
        let Claimed { enclave_id, generation, client_token: token, .. } = instance;
        client_token(deployment, enclave_id, *generation, attempt) == *token
    });
    if is_ours {
        Ownership::Orphaned
    } else {
        Ownership::Unproven("no launch that the ledger knows of has its client token")
    }
}

/// Whether an answer is awaited that would name the instance.
fn is_awaited(state: &State, client_token: &str) -> bool {
    matches!(state, State::Launching { intent, .. } if intent.request.client_token == client_token)
}
