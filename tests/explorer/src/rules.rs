//! What always holds.

use crate::{
    hosts,
    world::{Enclave, Instance, World},
};
use bailey_lifecycle::{
    InstanceState,
    ledger::{Entry, Outcome, State},
    orphan::Ownership,
    shared::seat,
    spare::{Slot, SlotState},
};
use bailey_model::report::Report;
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// A rule that a state broke.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Rule {
    /// Once the world is calm, every request has been answered with a status at which it stays.
    ComesToRest,
    /// `DEPLOYED` implies an accepted document whose report is stored.
    DeployedMeansReported,
    /// A generation is never used again, and an entry never lost.
    GenerationsGoOn,
    /// Once the world is calm, what lives is what the ledger has.
    NothingIsLeft,
    /// At most one live instance is asked to run the enclave.
    OneHostAtATime,
    /// An intent yields at most one instance.
    OneInstanceForAnIntent,
    /// Once the world is calm, nothing contradicts what the web app asked for last.
    TheLastRequestIsHeeded,
    /// A token stands for one request.
    OneTokenOneRequest,
    /// No instance is the host of two enclaves that do not share it, or of an enclave and a slot.
    OneOwner,
    /// A shared host is not ended while anybody stays there.
    NobodyIsEvicted,
    /// What a slot says of its tenants is what their entries say.
    SeatsAgree,
    /// There are no more generations than the web app asked for.
    NothingIsDeployedUnasked,
    /// The stored reports are one chain that ends with the ledger's head.
    ReportsAreOneChain,
    /// A stored report is never another one.
    ReportsNeverChange,
    /// What the web app wrote is kept.
    TheWebAppsOwnIsKept,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl World {
    /// The rules for every instant.
    pub(crate) fn check(&self) -> Result<(), Rule> {
        let tokens: BTreeSet<_> =
            self.instances.iter().map(|it| it.request.client_token.as_str()).collect();
        if tokens.len() < self.instances.len() {
            return Err(Rule::OneInstanceForAnIntent);
        }
        let mut asked = BTreeSet::new();
        let is_running = |it: &&Instance| it.state == InstanceState::Running;
        for instance in self.instances.iter().filter(is_running) {
            let desired = self.desired.get(&hosts::arn(&instance.id));
            for assignment in desired.iter().flat_map(|desired| &desired.assignments) {
                if !asked.insert(&assignment.enclave_id) {
                    return Err(Rule::OneHostAtATime);
                }
            }
        }
        for entry in self.entries().filter(|it| matches!(it.state, State::Deployed { .. })) {
            let report =
                entry.attested.as_ref().and_then(|it| it.report.strip_prefix("s3://reports/"));
            if !report.is_some_and(|key| self.reports.contains_key(key)) {
                return Err(Rule::DeployedMeansReported);
            }
        }
        for enclave in &self.enclaves {
            if enclave.entry.as_ref().is_some_and(|entry| entry.generation.0 > enclave.asked) {
                return Err(Rule::NothingIsDeployedUnasked);
            }
            let is_kept = enclave.record.as_ref().is_none_or(|record| {
                record.get("note").is_some_and(|note| note == "the web app's own")
            });
            if !is_kept {
                return Err(Rule::TheWebAppsOwnIsKept);
            }
        }
        self.check_owners()?;
        self.slots
            .values()
            .filter(|slot| slot.id.is_shared())
            .try_for_each(|it| self.check_seats(it))
    }

    /// Each instance is that of one slot, or of one entry.
    fn check_owners(&self) -> Result<(), Rule> {
        let own = self.entries().filter_map(|entry| entry.state.host());
        let own = own.filter(|host| host.slot.is_none());
        let hosts = own.chain(self.slots.values().filter_map(|slot| slot.host()));
        let mut owned = BTreeSet::new();
        let mut ids = hosts.map(|host| host.instance_id.as_str());
        if ids.all(|id| owned.insert(id)) { Ok(()) } else { Err(Rule::OneOwner) }
    }

    /// Who has a place there says so, and the host is told what the slot says.
    fn check_seats(&self, slot: &Slot) -> Result<(), Rule> {
        for (id, tenant) in &slot.tenants {
            let entry = self.entries().find(|entry| entry.id == *id);
            let has_seat = entry.is_some_and(|entry| {
                seat(entry) == Some(&slot.id) && entry.generation == tenant.generation
            });
            let runs = entry.is_some_and(|entry| {
                matches!(
                    entry.state,
                    State::Deploying { .. } | State::Reporting { .. } | State::Deployed { .. }
                )
            });
            if !has_seat || runs != tenant.assignment.is_some() {
                return Err(Rule::SeatsAgree);
            }
        }
        let SlotState::Shared { host, .. } = &slot.state else { return Ok(()) };
        let told = self.desired.get(&host.instance_arn);
        let told = told.iter().flat_map(|desired| &desired.assignments);
        let is_told =
            told.eq(slot.tenants.values().filter_map(|tenant| tenant.assignment.as_ref()));
        if is_told { Ok(()) } else { Err(Rule::SeatsAgree) }
    }

    /// The rules for a change.
    pub(crate) fn check_change(&self, before: &Self) -> Result<(), Rule> {
        let generation = |enclave: &Enclave| {
            enclave.entry.as_ref().map(|entry| (entry.generation.0, entry.version))
        };
        let mut each = before.enclaves.iter().zip(&self.enclaves);
        let goes_on = |(before, after)| match (generation(before), generation(after)) {
            (Some(_), None) => false,
            (before, after) => before <= after,
        };
        if each.all(goes_on) { Ok(()) } else { Err(Rule::GenerationsGoOn) }
    }

    /// The rules for a world at rest.
    pub(crate) fn check_rest(&self) -> Result<(), Rule> {
        self.enclaves.iter().try_for_each(|enclave| self.check_rest_of(enclave))?;
        // Whoever has a right to an instance is one of these.
        let entries = self.entries().filter(|entry| !matches!(entry.state, State::Ended { .. }));
        let hosts = entries.filter_map(|entry| entry.state.host());
        let slots = self.slots.values().filter(|slot| {
            matches!(slot.state, SlotState::Ready { .. } | SlotState::Shared { .. })
        });
        let owned: BTreeSet<_> = hosts
            .chain(slots.filter_map(|slot| slot.host()))
            .map(|host| host.instance_id.as_str())
            .collect();
        let mut live = self.instances.iter().filter(|instance| !instance.state.is_ended());
        let is_owned = |it: &Instance| {
            owned.contains(it.id.as_str()) && self.ownership(it) == Ownership::Owned
        };
        let is_in_use = |slot: &Slot| !slot.id.is_shared() || !slot.tenants.is_empty();
        let has_come_to_rest = |slot: &Slot| {
            let is_on_its_way = matches!(
                slot.state,
                SlotState::Empty { .. } | SlotState::Ready { .. } | SlotState::Shared { .. }
            );
            is_on_its_way && (slot.host().is_none() || is_in_use(slot))
        };
        if !self.slots.values().all(|slot| has_come_to_rest(slot)) {
            return Err(Rule::ComesToRest);
        }
        if live.all(is_owned) { Ok(()) } else { Err(Rule::NothingIsLeft) }
    }

    fn check_rest_of(&self, enclave: &Enclave) -> Result<(), Rule> {
        let status = enclave.record.as_ref().map(|record| {
            record.get("status").and_then(|status| status.as_str()).unwrap_or_default()
        });
        // The web app may have taken its request back before anybody read it.
        let Some(entry) = &enclave.entry else { return Ok(()) };
        let rests = matches!(
            (&entry.state, status),
            (State::Deployed { .. }, Some("DEPLOYED"))
                | (State::Paused { .. }, Some("PAUSED"))
                | (State::Ended { outcome: Outcome::Destroyed, .. }, None | Some("DESTROYED"))
                | (State::Ended { outcome: Outcome::Failed, .. }, None | Some("FAILED"))
        );
        if !rests {
            return Err(Rule::ComesToRest);
        }
        if !enclave.is_last_request_heeded(&entry.state) {
            return Err(Rule::TheLastRequestIsHeeded);
        }
        let state = entry.state.host().and_then(|host| self.instance(&host.instance_id));
        let is_right = match &entry.state {
            State::Deployed { .. } => state == Some(InstanceState::Running),
            // It gave its place on a shared host up; one of its own may have been taken away, and nothing
            // ran there.
            State::Paused { host } => {
                host.slot.is_some() || state.is_none_or(|state| state != InstanceState::Running)
            }
            _ => true,
        };
        if !is_right {
            return Err(Rule::NothingIsLeft);
        }
        self.check_history(entry)
    }

    fn check_history(&self, entry: &Entry) -> Result<(), Rule> {
        let sha256 = |text: &str| hex::encode(Sha256::digest(text.as_bytes()));
        let its = |key: &&String| key.starts_with(&format!("reports/{}/", entry.id));
        let reports = self.reports.iter().filter(|(key, _)| its(key));
        let mut reports: BTreeMap<String, &str> =
            reports.map(|(_, text)| (sha256(text), text.as_str())).collect();
        let mut head = entry.chain.as_ref().map(|head| head.sha256.clone());
        while let Some(sha256) = head {
            let report = reports.remove(&sha256);
            let report = report.and_then(|text| serde_json::from_str::<Report>(text).ok());
            head = report.ok_or(Rule::ReportsAreOneChain)?.previous;
        }
        if reports.is_empty() { Ok(()) } else { Err(Rule::ReportsAreOneChain) }
    }
}

impl Enclave {
    /// Whether an entry may be at rest in this state after what the web app wrote last.
    fn is_last_request_heeded(&self, state: &State) -> bool {
        let destroyed = matches!(state, State::Ended { outcome: Outcome::Destroyed, .. });
        match self.wrote {
            // A record that is gone asks for the end.
            None => matches!(state, State::Ended { .. }),
            Some("PENDING_DESTROY") => destroyed,
            // It may have failed.
            Some("PENDING_DEPLOY") => !destroyed && !matches!(state, State::Paused { .. }),
            // It may have been refused, for nothing was paused.
            Some("RESUMING") => !matches!(state, State::Paused { .. }),
            // It may have been refused, for nothing was running; a result is nobody's request.
            Some(_) => true,
        }
    }
}
