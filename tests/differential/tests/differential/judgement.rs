//! What each verifier says of a document, and whether they say the same.

use std::collections::BTreeMap;
use std::fmt;

use bailey_attestation::{VerifiedDocument, verify};
use serde::Deserialize;

use crate::index::Terms;
use crate::second::SecondVerifier;

/// A document and the terms that it is judged by.
pub(crate) struct Case {
    pub(crate) what: String,
    pub(crate) document: Vec<u8>,
    pub(crate) terms: Terms,
}

impl Case {
    /// Asks for nothing but authenticity, under the local root.
    pub(crate) fn authentic(what: impl Into<String>, document: Vec<u8>) -> Self {
        Self { what: what.into(), document, terms: Terms::authentic() }
    }
}

/// The answer of either verifier.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Judgement {
    Accepted(Claims),
    /// Of the second verifier: what the specifications allow, Nitro has no use for and a reader may
    /// refuse.
    Optional {
        claims: Claims,
        #[serde(rename = "for")]
        oddity: String,
    },
    /// The reason, in the verifier's own words.
    Rejected(String),
}

/// What an accepted document says; bytes are hex.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Claims {
    module_id: String,
    timestamp: u64,
    pcrs: BTreeMap<u8, String>,
    nonce: Option<String>,
    user_data: Option<String>,
    public_key: Option<String>,
    debug: bool,
}

impl Claims {
    fn of(document: &VerifiedDocument) -> Self {
        let pcrs = document.pcrs().iter();
        Self {
            module_id: document.module_id().to_owned(),
            timestamp: document.timestamp_ms(),
            pcrs: pcrs.map(|(index, value)| (*index, hex::encode(value))).collect(),
            nonce: document.nonce().map(hex::encode),
            user_data: document.user_data().map(hex::encode),
            public_key: document.public_key().map(hex::encode),
            debug: document.is_debug(),
        }
    }
}

/// How many documents both verifiers accepted and rejected, and how many ours alone refused for what
/// a reader may refuse.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) accepted: usize,
    pub(crate) rejected: usize,
    pub(crate) optional: usize,
}

impl Counts {
    /// A test in which one answer does not occur has tested nothing.
    #[track_caller]
    pub(crate) fn assert_at_least(&self, accepted: usize, rejected: usize) {
        assert!(self.accepted >= accepted && self.rejected >= rejected, "{self:?}");
    }
}

/// Has both verifiers judge every case, and fails with all the differences there are.
#[track_caller]
pub(crate) fn assert_agreement(cases: &[Case]) -> Counts {
    let mut counts = Counts::default();
    let mut differences = Vec::new();
    SecondVerifier::start().judge(cases, |case, theirs| {
        let ours = match verify(&case.document, &case.terms.policy()).result {
            Ok(verified) => Judgement::Accepted(Claims::of(&verified)),
            Err(rejection) => Judgement::Rejected(rejection.to_string()),
        };
        match (&ours, &theirs) {
            (Judgement::Rejected(_), Judgement::Rejected(_)) => counts.rejected += 1,
            (Judgement::Accepted(ours), Judgement::Accepted(theirs)) if ours == theirs => {
                counts.accepted += 1;
            }
            (Judgement::Rejected(_), Judgement::Optional { .. }) => counts.optional += 1,
            (Judgement::Accepted(ours), Judgement::Optional { claims, .. }) if ours == claims => {
                counts.accepted += 1;
            }
            _ => differences.push(described(case, &ours, &theirs)),
        }
    });
    println!("{counts:?}");
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
    counts
}

fn described(case: &Case, ours: &Judgement, theirs: &Judgement) -> String {
    let Case { what, document, .. } = case;
    format!("{what}\n  ours: {ours}\n  second: {theirs}\n  document: {}", hex::encode(document))
}

impl fmt::Display for Judgement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted(claims) => write!(formatter, "accepted, {claims:?}"),
            Self::Optional { claims, oddity } => {
                write!(formatter, "accepted although there is {oddity}, {claims:?}")
            }
            Self::Rejected(reason) => write!(formatter, "rejected, {reason}"),
        }
    }
}
