//! What always holds.

use crate::world::World;
use bailey_lifecycle::{
    InstanceState,
    ledger::{Outcome, State},
    orphan::Ownership,
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
        let asked = self.instances.iter().filter(|instance| {
            let is_asked = |(arn, desired): (&String, &crate::shared::Shared<_>)| {
                let desired: &bailey_model::hosts::Desired = desired;
                arn.ends_with(&instance.id) && !desired.assignments.is_empty()
            };
            instance.state == InstanceState::Running && self.desired.iter().any(is_asked)
        });
        if asked.count() > 1 {
            return Err(Rule::OneHostAtATime);
        }
        if let Some(entry) = &self.entry
            && let State::Deployed { .. } = entry.state
        {
            let report =
                entry.attested.as_ref().and_then(|it| it.report.strip_prefix("s3://reports/"));
            if !report.is_some_and(|key| self.reports.contains_key(key)) {
                return Err(Rule::DeployedMeansReported);
            }
        }
        if self.entry.as_ref().is_some_and(|entry| entry.generation.0 > self.asked) {
            return Err(Rule::NothingIsDeployedUnasked);
        }
        let is_kept = self.record.as_ref().is_none_or(|record| {
            record.get("note").is_some_and(|note| note == "the web app's own")
        });
        if is_kept { Ok(()) } else { Err(Rule::TheWebAppsOwnIsKept) }
    }

    /// The rules for a change.
    pub(crate) fn check_change(&self, before: &Self) -> Result<(), Rule> {
        let generation =
            |world: &Self| world.entry.as_ref().map(|entry| (entry.generation.0, entry.version));
        match (generation(before), generation(self)) {
            (Some(_), None) => Err(Rule::GenerationsGoOn),
            (Some(before), Some(after)) if after < before => Err(Rule::GenerationsGoOn),
            _ => Ok(()),
        }
    }

    /// The rules for a world at rest.
    pub(crate) fn check_rest(&self) -> Result<(), Rule> {
        let live: Vec<_> =
            self.instances.iter().filter(|instance| !instance.state.is_ended()).collect();
        let status = self.record.as_ref().map(|record| {
            record.get("status").and_then(|status| status.as_str()).unwrap_or_default()
        });
        let Some(entry) = &self.entry else {
            // The web app took its request back before anybody read it.
            return if live.is_empty() { Ok(()) } else { Err(Rule::NothingIsLeft) };
        };
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
        if !self.is_last_request_heeded(&entry.state) {
            return Err(Rule::TheLastRequestIsHeeded);
        }
        let expected = match &entry.state {
            State::Deployed { .. } => Some(InstanceState::Running),
            State::Paused { .. } => Some(InstanceState::Stopped),
            _ => None,
        };
        let is_right = match (expected, live.as_slice()) {
            // A paused instance may have been taken away; nothing ran there.
            (None | Some(InstanceState::Stopped), []) => true,
            (Some(state), [one]) => one.state == state && self.ownership(one) == Ownership::Owned,
            _ => false,
        };
        if !is_right {
            return Err(Rule::NothingIsLeft);
        }
        self.check_history()
    }

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

    fn check_history(&self) -> Result<(), Rule> {
        let sha256 = |text: &str| hex::encode(Sha256::digest(text.as_bytes()));
        let mut reports: BTreeMap<String, &str> =
            self.reports.values().map(|text| (sha256(text), text.as_str())).collect();
        let chain = self.entry.as_ref().and_then(|entry| entry.chain.clone());
        let mut head = chain.map(|head| head.sha256);
        while let Some(sha256) = head {
            let report = reports.remove(&sha256);
            let report = report.and_then(|text| serde_json::from_str::<Report>(text).ok());
            head = report.ok_or(Rule::ReportsAreOneChain)?.previous;
        }
        if reports.is_empty() { Ok(()) } else { Err(Rule::ReportsAreOneChain) }
    }
}
