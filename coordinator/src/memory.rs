//! What a running coordinator remembers to spare calls. Nothing depends on it.

use crate::backoff;
use bailey_lifecycle::{InstanceState, ledger::Host};
use bailey_model::{EnclaveId, UnixMillis};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// What a running coordinator remembers.
#[derive(Debug)]
pub struct Memory {
    /// When this process began: whatever an earlier one did was before.
    began: UnixMillis,
    /// For how long an enclave at rest is not looked at, at most.
    longest_rest: Duration,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// The newest version of each `desired` item that was written.
    desired: HashMap<String, u64>,
    /// What EC2 said at the last sweep.
    instances: HashMap<String, InstanceState>,
    /// Whose enclaves each host runs, by the host's ARN.
    owners: HashMap<String, Vec<Owner>>,
    /// The host of each enclave, by its ARN: `owners` read the other way round.
    hosts: HashMap<EnclaveId, String>,
    /// Tokens that nobody but this process can have sent, and never without a clear answer.
    unsent: HashSet<String>,
    /// When each token was last sent by this process.
    sent: HashMap<String, UnixMillis>,
    /// Ids whose last step failed.
    troubles: HashMap<String, Trouble>,
    /// The spare hosts.
    spares: Vec<Host>,
    /// Ids that are noted in the ledger for the sweep.
    noted: HashSet<String>,
    /// Enclaves that need nothing until the given time, unless something happens.
    resting: HashMap<String, UnixMillis>,
    /// Whose turn it is to tend a slot, by its name.
    turns: HashMap<String, Arc<tokio::sync::Mutex<()>>>,
}

/// Whose enclave a host runs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Owner {
    /// The enclave.
    pub enclave_id: EnclaveId,
    /// The host's instance.
    pub instance_id: String,
    /// When EC2 named it.
    pub launched_at: UnixMillis,
    /// Whether other enclaves may run there too.
    pub is_shared: bool,
}

/// Steps that fail one after the other.
#[derive(Clone, Debug)]
struct Trouble {
    times: u32,
    /// What could not be done. While it stays the same, so does the reason that is shown, although
    /// its details, such as the number of a request, differ each time.
    what: String,
    reason: String,
}

/// What is known of sends of a token before the present one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SentBefore {
    /// It may have been sent, at this time or earlier, by this process or another.
    At(UnixMillis),
    /// This process wrote the intent and has not sent it.
    Never,
}

impl Memory {
    /// The memory of a process that begins now, and that looks at an enclave at rest after this time at
    /// the latest.
    #[must_use]
    pub fn beginning(now: UnixMillis, longest_rest: Duration) -> Self {
        Self { began: now, longest_rest, inner: Mutex::default() }
    }

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
    pub fn set_instances(&self, instances: impl Iterator<Item = (String, InstanceState)>) {
        self.lock().instances = instances.collect();
    }

    /// Notes what EC2 said about one instance.
    pub fn set_instance(&self, instance_id: &str, state: InstanceState) {
        self.lock().instances.insert(instance_id.to_owned(), state);
    }

    /// Notes the host on which an enclave runs, none when it has none.
    ///
    /// Any other host that it was on is no longer its: another coordinator may have ended it, and
    /// then nobody else would forget it here.
    pub fn runs_on(&self, enclave_id: &EnclaveId, host: Option<&Host>) {
        let mut inner = self.lock();
        inner.leave(enclave_id);
        if let Some(host) = host {
            let owner = Owner {
                enclave_id: enclave_id.clone(),
                instance_id: host.instance_id.clone(),
                launched_at: host.launched_at,
                is_shared: host.slot.is_some(),
            };
            let Inner { owners, hosts, .. } = &mut *inner;
            let present = owners.entry(host.instance_arn.clone()).or_default();
            // A host is one enclave's, unless several share it.
            for before in present.extract_if(.., |it| !(it.is_shared && owner.is_shared)) {
                hosts.remove(&before.enclave_id);
            }
            present.push(owner);
            inner.hosts.insert(enclave_id.clone(), host.instance_arn.clone());
        }
    }

    /// Whose enclaves a host runs, as far as this process has seen their entries.
    #[must_use]
    pub fn owners_of(&self, instance_arn: &str) -> Vec<Owner> {
        self.lock().owners.get(instance_arn).cloned().unwrap_or_default()
    }

    /// The host on which an enclave was when this process last saw its entry.
    #[must_use]
    pub fn host_of(&self, enclave_id: &EnclaveId) -> Option<String> {
        self.lock().hosts.get(enclave_id).cloned()
    }

    /// Every known host's owner, with what EC2 said last about its instance.
    #[must_use]
    pub fn owners(&self) -> Vec<(Owner, Option<InstanceState>)> {
        let inner = self.lock();
        let state = |owner: &Owner| inner.instances.get(&owner.instance_id).copied();
        inner.owners.values().flatten().map(|owner| (owner.clone(), state(owner))).collect()
    }

    /// Replaces what is known of spare hosts.
    pub fn set_spares(&self, hosts: Vec<Host>) {
        self.lock().spares = hosts;
    }

    /// Every instance that should be there, with when EC2 named it and what EC2 said last about it: those
    /// of enclaves and the spare ones.
    #[must_use]
    pub fn expected(&self) -> Vec<(String, UnixMillis, Option<InstanceState>)> {
        let inner = self.lock();
        let owned = inner.owners.values().flatten().map(|it| (&it.instance_id, it.launched_at));
        let spare = inner.spares.iter().map(|it| (&it.instance_id, it.launched_at));
        let state = |id: &String| inner.instances.get(id).copied();
        // A shared one is named by its slot and by each enclave.
        let all: BTreeMap<_, _> = owned.chain(spare).collect();
        all.into_iter().map(|(id, at)| (id.clone(), at, state(id))).collect()
    }

    /// Notes that this process wrote the intent with this token, and has not sent it.
    pub fn intent_is_new(&self, client_token: &str) {
        self.lock().unsent.insert(client_token.to_owned());
    }

    /// Notes that the token is about to be sent; tells what is known of sends before this one.
    #[must_use]
    pub fn send(&self, client_token: &str, now: UnixMillis) -> SentBefore {
        let mut inner = self.lock();
        let last = inner.sent.insert(client_token.to_owned(), now);
        match last {
            Some(at) => SentBefore::At(at),
            None if inner.unsent.remove(client_token) => SentBefore::Never,
            None => SentBefore::At(self.began),
        }
    }

    /// Notes that the token was refused, after these sends before: a clear refusal launched nothing, so
    /// what is to be waited for are earlier sends alone.
    pub fn refused(&self, client_token: &str, before: SentBefore) {
        let mut inner = self.lock();
        match before {
            SentBefore::At(at) => inner.sent.insert(client_token.to_owned(), at),
            SentBefore::Never => inner.sent.remove(client_token),
        };
    }

    /// Forgets a token whose answer is known and noted.
    pub fn answered(&self, client_token: &str) {
        let mut inner = self.lock();
        inner.sent.remove(client_token);
        inner.unsent.remove(client_token);
    }

    /// Forgets a host that is gone.
    pub fn forget(&self, instance_arn: &str, instance_id: &str) {
        let mut inner = self.lock();
        inner.desired.remove(instance_arn);
        for owner in inner.owners.remove(instance_arn).unwrap_or_default() {
            inner.leave(&owner.enclave_id);
        }
        inner.instances.remove(instance_id);
    }

    /// Notes that an enclave needs nothing until `until`, unless something happens; none when it is
    /// under way, or over.
    pub fn set_rest(&self, id: &str, until: Option<UnixMillis>, now: UnixMillis) {
        let mut inner = self.lock();
        match until {
            Some(until) => {
                inner.resting.insert(id.to_owned(), until.min(now.plus(self.longest_rest)));
            }
            None => {
                inner.resting.remove(id);
            }
        }
    }

    /// Whether nothing is expected of an enclave now.
    #[must_use]
    pub fn rests(&self, id: &str, now: UnixMillis) -> bool {
        self.lock().resting.get(id).is_some_and(|until| now < *until)
    }

    /// Held by whoever tends the slot.
    #[must_use]
    pub fn turn_of(&self, slot: &str) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(self.lock().turns.entry(slot.to_owned()).or_default())
    }

    /// Notes the ids that the ledger has for the sweep.
    pub fn are_noted(&self, ids: &[String]) {
        self.lock().noted = ids.iter().cloned().collect();
    }

    /// Whether the ledger has a note for the sweep about an id.
    #[must_use]
    pub fn is_noted(&self, id: &str) -> bool {
        self.lock().noted.contains(id)
    }

    /// Notes that there is no such note any more.
    pub fn note_is_gone(&self, id: &str) {
        self.lock().noted.remove(id);
    }

    /// Why the last step for an id failed, when it did.
    #[must_use]
    pub fn trouble(&self, id: &str) -> Option<String> {
        self.lock().troubles.get(id).map(|trouble| trouble.reason.clone())
    }

    /// Notes a failed step, as what could not be done and why, and gives the pause before the next
    /// try, of which a part is as long as `random` says.
    pub fn failed(&self, id: &str, what: String, reason: String, random: u32) -> Duration {
        let mut inner = self.lock();
        let trouble = match inner.troubles.remove(id) {
            Some(before) if before.what == what => {
                Trouble { times: before.times.saturating_add(1), ..before }
            }
            _ => Trouble { times: 0, what, reason },
        };
        let pause = backoff::pause(trouble.times, random);
        inner.troubles.insert(id.to_owned(), trouble);
        pause
    }

    /// As [`Self::failed`], with a number by chance.
    pub fn failed_by_chance(&self, id: &str, what: String, reason: String) -> Duration {
        let mut bytes = [u8::MAX; 4];
        // Without any chance to be had, the pause is the longest.
        let _ = aws_lc_rs::rand::fill(&mut bytes);
        self.failed(id, what, reason, u32::from_le_bytes(bytes))
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

impl Inner {
    /// Notes that the enclave is on no host.
    fn leave(&mut self, enclave_id: &EnclaveId) {
        let Some(arn) = self.hosts.remove(enclave_id) else { return };
        let Some(owners) = self.owners.get_mut(&arn) else { return };
        owners.retain(|owner| owner.enclave_id != *enclave_id);
        if owners.is_empty() {
            self.owners.remove(&arn);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bailey_lifecycle::{launch::Place, spare::SlotId};

    #[test]
    fn pauses_double_and_start_anew_after_a_success() {
        let memory = Memory::beginning(UnixMillis(0), Duration::from_mins(10));
        let fail = || memory.failed("a", "write".to_owned(), String::new(), u32::MAX);
        let pauses: Vec<_> = (0..4).map(|_| fail().as_millis()).collect();
        assert_eq!(pauses, [500, 1_000, 2_000, 4_000]);
        assert!(memory.succeeded("a"));
        assert!(!memory.succeeded("a"));
        assert_eq!(fail().as_millis(), 500);
    }

    #[test]
    fn what_rests_is_left_alone_until_its_time_and_ten_minutes_at_most() {
        let memory = Memory::beginning(UnixMillis(0), Duration::from_mins(10));
        assert!(!memory.rests("a", UnixMillis(0)));
        memory.set_rest("a", Some(UnixMillis(1_000)), UnixMillis(0));
        assert!(memory.rests("a", UnixMillis(999)));
        assert!(!memory.rests("a", UnixMillis(1_000)));
        memory.set_rest("a", Some(UnixMillis(9_000_000)), UnixMillis(0));
        assert!(memory.rests("a", UnixMillis(599_999)));
        assert!(!memory.rests("a", UnixMillis(600_000)));
        memory.set_rest("a", None, UnixMillis(0));
        assert!(!memory.rests("a", UnixMillis(0)));
    }

    #[test]
    fn the_reason_that_is_shown_stays_while_the_same_thing_fails() {
        let memory = Memory::beginning(UnixMillis(0), Duration::from_mins(10));
        memory.failed("a", "write".to_owned(), "request 1".to_owned(), 0);
        memory.failed("a", "write".to_owned(), "request 2".to_owned(), 0);
        assert_eq!(memory.trouble("a").as_deref(), Some("request 1"));
        memory.failed("a", "read".to_owned(), "request 3".to_owned(), 0);
        assert_eq!(memory.trouble("a").as_deref(), Some("request 3"));
    }

    #[test]
    fn a_host_that_another_coordinator_ended_is_forgotten_with_the_next_look() {
        let memory = Memory::beginning(UnixMillis(0), Duration::from_mins(10));
        let id = "enc_1".parse().unwrap();
        let host = |name: &str| Host {
            instance_id: name.to_owned(),
            instance_arn: format!("arn/{name}"),
            instance_type: "m5.xlarge".parse().unwrap(),
            availability_zone: String::new(),
            launched_at: UnixMillis(0),
            desired_version: 1,
            slot: None,
        };
        let owner = |arn| memory.owners_of(arn).into_iter().map(|it| it.enclave_id).next();
        memory.runs_on(&id, Some(&host("i-1")));
        assert_eq!(owner("arn/i-1"), Some(id.clone()));
        assert_eq!(memory.host_of(&id).as_deref(), Some("arn/i-1"));
        memory.runs_on(&id, Some(&host("i-2")));
        assert_eq!(owner("arn/i-1"), None);
        assert_eq!(memory.host_of(&id).as_deref(), Some("arn/i-2"));
        // What is forgotten of a host that it left earlier takes nothing from it.
        memory.forget("arn/i-1", "i-1");
        assert_eq!(memory.host_of(&id).as_deref(), Some("arn/i-2"));
        memory.runs_on(&id, None);
        assert_eq!(memory.owners(), []);
        assert_eq!(memory.host_of(&id), None);
    }

    #[test]
    fn a_shared_host_has_several_owners_and_each_leaves_by_itself() {
        let memory = Memory::beginning(UnixMillis(0), Duration::from_mins(10));
        let place = Place { instance_type: "m5.xlarge".parse().unwrap(), availability_zone: None };
        let host = Host {
            instance_id: "i-1".to_owned(),
            instance_arn: "arn/i-1".to_owned(),
            instance_type: place.instance_type.clone(),
            availability_zone: String::new(),
            launched_at: UnixMillis(0),
            desired_version: 1,
            slot: Some(SlotId::shared(&place, 0)),
        };
        let ids = ["enc_1", "enc_2"].map(|id| id.parse().unwrap());
        for id in &ids {
            memory.runs_on(id, Some(&host));
            memory.runs_on(id, Some(&host));
        }
        let owners = || -> Vec<_> {
            memory.owners_of("arn/i-1").into_iter().map(|it| it.enclave_id).collect()
        };
        assert_eq!(owners(), ids);
        assert_eq!(memory.expected(), [("i-1".to_owned(), UnixMillis(0), None)]);
        memory.runs_on(&ids[0], None);
        assert_eq!(owners(), ids[1..]);
        memory.forget("arn/i-1", "i-1");
        assert_eq!((owners(), memory.host_of(&ids[1])), (vec![], None));
    }

    #[test]
    fn refusals_do_not_put_off_when_an_earlier_send_is_settled() {
        let memory = Memory::beginning(UnixMillis(7), Duration::from_mins(10));
        for at in [UnixMillis(30_000), UnixMillis(60_000)] {
            let before = memory.send("found", at);
            assert_eq!(before, SentBefore::At(UnixMillis(7)));
            memory.refused("found", before);
        }
        // This one has no clear answer.
        assert_eq!(memory.send("found", UnixMillis(90_000)), SentBefore::At(UnixMillis(7)));
        assert_eq!(memory.send("found", UnixMillis(95_000)), SentBefore::At(UnixMillis(90_000)));
    }

    #[test]
    fn only_an_intent_of_this_process_is_known_never_to_have_been_sent() {
        let memory = Memory::beginning(UnixMillis(0), Duration::from_mins(10));
        let now = UnixMillis(1);
        memory.intent_is_new("own");
        assert_eq!(memory.send("own", now), SentBefore::Never);
        assert_eq!(memory.send("own", UnixMillis(2)), SentBefore::At(now));
        assert_eq!(memory.send("found", now), SentBefore::At(UnixMillis(0)));
    }
}
