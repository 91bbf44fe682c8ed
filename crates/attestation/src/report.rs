//! The checks that were made, and how each came out.

use serde::{Deserialize, Serialize};

use crate::policy::{Policy, VerifyTime};
use crate::rules::Rule;
use crate::{Rejection, VerifiedDocument};

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The document is refused for it.
    Failed,
    /// An earlier check failed first.
    NotChecked,
    /// It is as it must be.
    Passed,
    /// The policy asks nothing here; what was found is shown all the same.
    Waived,
}

/// One check, in the order in which it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// A name that stays the same from version to version.
    pub name: String,
    /// How it came out.
    pub outcome: Outcome,
    /// What was wanted, for people.
    pub expected: String,
    /// What was found, for people; `None` when the check was not made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
}

/// The judgement on a document: every check, and the result.
#[derive(Debug, Clone)]
pub struct Verification {
    /// Every check that the policy leads to, made or not, in order.
    pub checks: Vec<Check>,
    /// The verified document, or the reason why it is refused.
    pub result: Result<VerifiedDocument, Rejection>,
}

/// The checks that every document goes through, in order, before the policy's rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Structure,
    Root,
    Certificates,
    ChainNames,
    ChainConstraints,
    ChainValidity,
    ChainSignatures,
    DocumentSignature,
}

impl Stage {
    const ALL: [Self; 8] = [
        Self::Structure,
        Self::Root,
        Self::Certificates,
        Self::ChainNames,
        Self::ChainConstraints,
        Self::ChainValidity,
        Self::ChainSignatures,
        Self::DocumentSignature,
    ];

    /// Those that depend on the certificates and the trusted roots alone, and on the time.
    const CHAIN: [Self; 6] = [
        Self::Root,
        Self::Certificates,
        Self::ChainNames,
        Self::ChainConstraints,
        Self::ChainValidity,
        Self::ChainSignatures,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Structure => "structure",
            Self::Root => "root",
            Self::Certificates => "certificates",
            Self::ChainNames => "chain_names",
            Self::ChainConstraints => "chain_constraints",
            Self::ChainValidity => "chain_validity",
            Self::ChainSignatures => "chain_signatures",
            Self::DocumentSignature => "document_signature",
        }
    }

    fn expected(self, policy: &Policy) -> String {
        match self {
            Self::Structure => "a COSE_Sign1 with ES384 around an attestation document".to_owned(),
            Self::Root => policy.roots.to_string(),
            Self::Certificates => "X.509 certificates with keys on P-384".to_owned(),
            Self::ChainNames => "each certificate issued by the one before it".to_owned(),
            Self::ChainConstraints => "authorities down to a leaf that signs documents".to_owned(),
            Self::ChainValidity => match policy.time {
                VerifyTime::At(at_ms) => format!("all valid at {at_ms}"),
                VerifyTime::DocumentsOwn => "all valid at the document's own time".to_owned(),
            },
            Self::ChainSignatures => "each certificate signed by the one before it".to_owned(),
            Self::DocumentSignature => "signed by the leaf's key".to_owned(),
        }
    }
}

/// The checks as they are being made.
#[derive(Debug)]
pub(crate) struct Ledger {
    checks: Vec<Check>,
}

impl Ledger {
    /// Every check that `policy` leads to, none of them made yet.
    pub(crate) fn planned(policy: &Policy, rules: &[Rule<'_>]) -> Self {
        let stages = Stage::ALL.iter().map(|stage| (stage.name(), stage.expected(policy)));
        let rules = rules.iter().map(|rule| (rule.name.as_str(), rule.expected.clone()));
        let planned = |(name, expected): (&str, String)| Check {
            name: name.to_owned(),
            outcome: Outcome::NotChecked,
            expected,
            found: None,
        };
        Self { checks: stages.chain(rules).map(planned).collect() }
    }

    /// Makes a stage's check; `step` returns what it yields and what was found.
    pub(crate) fn stage<T>(
        &mut self,
        stage: Stage,
        step: impl FnOnce() -> Result<(T, String), Rejection>,
    ) -> Result<T, Rejection> {
        let result = step();
        let (outcome, found) = match &result {
            Ok((_, found)) => (Outcome::Passed, found.clone()),
            Err(rejection) => (Outcome::Failed, rejection.to_string()),
        };
        self.note(stage.name(), outcome, found);
        result.map(|(yielded, _)| yielded)
    }

    /// What the checks of the certificates found.
    pub(crate) fn chain_findings(&self) -> Vec<(Stage, String)> {
        let found = |stage: &Stage| {
            let made = self.checks.iter().find(|check| check.name == stage.name())?;
            Some((*stage, made.found.clone()?))
        };
        Stage::CHAIN.iter().filter_map(found).collect()
    }

    /// Notes checks of the certificates that were made before, and passed.
    pub(crate) fn note_findings(&mut self, findings: &[(Stage, String)]) {
        for (stage, found) in findings {
            self.note(stage.name(), Outcome::Passed, found.clone());
        }
    }

    /// Notes how a rule came out.
    pub(crate) fn rule(
        &mut self,
        rule: &Rule<'_>,
        result: Result<String, Rejection>,
    ) -> Result<(), Rejection> {
        match result {
            Ok(found) => {
                let outcome = if rule.waived { Outcome::Waived } else { Outcome::Passed };
                self.note(&rule.name, outcome, found);
                Ok(())
            }
            Err(rejection) => {
                self.note(&rule.name, Outcome::Failed, rejection.to_string());
                Err(rejection)
            }
        }
    }

    pub(crate) fn into_checks(self) -> Vec<Check> {
        self.checks
    }

    /// Two rules may have one name (two for one register); each is noted once, in order.
    fn note(&mut self, name: &str, outcome: Outcome, found: String) {
        let planned = self
            .checks
            .iter_mut()
            .find(|check| check.name == name && check.outcome == Outcome::NotChecked);
        if let Some(check) = planned {
            check.outcome = outcome;
            check.found = Some(found);
        }
    }
}
