//! The judgement on a document.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::cache::ChainKey;
use crate::chain::{Chain, VerifiedChain, trusted_root};
use crate::document::{AttestationDocument, Claims};
use crate::envelope::Envelope;
use crate::policy::{Policy, VerifyTime};
use crate::report::{Ledger, Stage};
use crate::{CertificateSummary, ChainCache, PcrValue, Rejection, Verification, rules};

/// Judges a document, a COSE_Sign1, by `policy`.
///
/// Checks are made in the order of [`Verification::checks`] and stop at the first that fails. What
/// the document says about its enclave is looked at only after its signature was found good.
#[must_use]
pub fn verify(bytes: &[u8], policy: &Policy) -> Verification {
    judge(bytes, policy, None)
}

/// [`verify()`] with the chains that were verified before: checks and result are the same.
///
/// A document whose certificates are in `cache` costs one signature; one with others costs as much
/// as without it, and its certificates are in the cache afterwards if they were found good.
#[must_use]
pub fn verify_cached(bytes: &[u8], policy: &Policy, cache: &ChainCache) -> Verification {
    judge(bytes, policy, Some(cache))
}

/// A document that passed [`verify()`] or [`verify_cached()`], and can be made by them alone.
///
/// What it proves is what the policy asked: see [`Verification::checks`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedDocument {
    claims: Claims,
    certificates: Vec<CertificateSummary>,
}

impl VerifiedDocument {
    /// The module's name, `<instance id>-enc<hex>`.
    #[must_use]
    pub fn module_id(&self) -> &str {
        &self.claims.module_id
    }

    /// When the module made the document, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn timestamp_ms(&self) -> u64 {
        self.claims.timestamp_ms
    }

    /// The locked registers.
    #[must_use]
    pub fn pcrs(&self) -> &BTreeMap<u8, PcrValue> {
        &self.claims.pcrs
    }

    /// The enclave's public key; `Some` of nothing when the field is there and empty.
    #[must_use]
    pub fn public_key(&self) -> Option<&[u8]> {
        self.claims.public_key.as_deref()
    }

    /// The enclave's own data; `Some` of nothing when the field is there and empty.
    #[must_use]
    pub fn user_data(&self) -> Option<&[u8]> {
        self.claims.user_data.as_deref()
    }

    /// The verifier's nonce; `Some` of nothing when the field is there and empty.
    #[must_use]
    pub fn nonce(&self) -> Option<&[u8]> {
        self.claims.nonce.as_deref()
    }

    /// Whether the enclave runs in debug mode: PCR0, PCR1 and PCR2 are zero.
    #[must_use]
    pub fn is_debug(&self) -> bool {
        self.claims.is_debug()
    }

    /// The certificates from the root to the leaf.
    #[must_use]
    pub fn certificates(&self) -> &[CertificateSummary] {
        &self.certificates
    }

    /// All of it in a form for reports.
    #[must_use]
    pub fn summary(&self) -> DocumentSummary {
        let Claims { module_id, timestamp_ms, pcrs, public_key, user_data, nonce } = &self.claims;
        DocumentSummary {
            module_id: module_id.clone(),
            timestamp_ms: *timestamp_ms,
            debug: self.is_debug(),
            pcrs: pcrs.iter().map(|(index, value)| (*index, hex::encode(value))).collect(),
            public_key: public_key.as_ref().map(hex::encode),
            user_data: user_data.as_ref().map(hex::encode),
            nonce: nonce.as_ref().map(hex::encode),
            certificates: self.certificates.clone(),
        }
    }
}

/// What a verified document says, for reports; byte strings are hex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentSummary {
    /// The module's name.
    pub module_id: String,
    /// When the module made the document, in milliseconds since the Unix epoch.
    pub timestamp_ms: u64,
    /// Whether the enclave runs in debug mode.
    pub debug: bool,
    /// The locked registers, by index.
    pub pcrs: BTreeMap<u8, String>,
    /// The enclave's public key.
    pub public_key: Option<String>,
    /// The enclave's own data.
    pub user_data: Option<String>,
    /// The verifier's nonce.
    pub nonce: Option<String>,
    /// The certificates from the root to the leaf.
    pub certificates: Vec<CertificateSummary>,
}

fn judge(bytes: &[u8], policy: &Policy, cache: Option<&ChainCache>) -> Verification {
    let rules = rules::of(policy);
    let mut ledger = Ledger::planned(policy, &rules);
    let result = authenticate(bytes, policy, cache, &mut ledger).and_then(|authentic| {
        for rule in &rules {
            ledger.rule(rule, rule.judge(&authentic.claims))?;
        }
        Ok(authentic)
    });
    Verification { checks: ledger.into_checks(), result }
}

/// Establishes that the document was signed by a Nitro module under a trusted root.
fn authenticate(
    bytes: &[u8],
    policy: &Policy,
    cache: Option<&ChainCache>,
    ledger: &mut Ledger,
) -> Result<VerifiedDocument, Rejection> {
    let (envelope, document) = ledger.stage(Stage::Structure, || {
        let envelope = Envelope::parse(bytes)?;
        let document = AttestationDocument::parse_payload(&envelope.payload)?;
        Ok(((envelope, document), format!("as expected, {} bytes", bytes.len())))
    })?;
    let chain = match cache {
        None => Arc::new(verified_chain(&document, policy, ledger)?),
        Some(cache) => cached_chain(&document, policy, cache, ledger)?,
    };
    ledger.stage(Stage::DocumentSignature, || {
        if !chain.document_key.signed(&envelope) {
            return Err(Rejection::CoseSignature);
        }
        Ok(((), "good".to_owned()))
    })?;
    Ok(VerifiedDocument {
        claims: document.into_claims(),
        certificates: chain.certificates.clone(),
    })
}

/// The chain out of the cache if it is there and valid; a chain that is not is verified, and so is
/// one that is not valid at the time, for the reason to be named.
fn cached_chain(
    document: &AttestationDocument,
    policy: &Policy,
    cache: &ChainCache,
    ledger: &mut Ledger,
) -> Result<Arc<VerifiedChain>, Rejection> {
    let key = ChainKey::of(document, &policy.roots);
    if let Some(chain) = cache.find(key, time_of(document, policy), policy.skew_ms) {
        ledger.note_findings(&chain.findings);
        return Ok(chain);
    }
    let chain = Arc::new(verified_chain(document, policy, ledger)?);
    cache.insert(key, Arc::clone(&chain));
    Ok(chain)
}

fn verified_chain(
    document: &AttestationDocument,
    policy: &Policy,
    ledger: &mut Ledger,
) -> Result<VerifiedChain, Rejection> {
    let as_expected = |()| ((), "as expected".to_owned());
    ledger.stage(Stage::Root, || {
        trusted_root(document.bundle(), &policy.roots).map(|root| ((), root.to_string()))
    })?;
    let chain = ledger.stage(Stage::Certificates, || {
        let chain = Chain::parse(document.bundle(), document.certificate())?;
        let found = format!("{} certificates", chain.len());
        Ok((chain, found))
    })?;
    ledger.stage(Stage::ChainNames, || chain.check_names().map(as_expected))?;
    ledger.stage(Stage::ChainConstraints, || chain.check_constraints().map(as_expected))?;
    ledger.stage(Stage::ChainValidity, || {
        chain.check_validity(time_of(document, policy), policy.skew_ms)?;
        Ok(((), format!("all valid until {}", chain.not_after_ms())))
    })?;
    ledger.stage(Stage::ChainSignatures, || chain.check_signatures().map(as_expected))?;
    Ok(chain.into_verified(ledger.chain_findings()))
}

/// The time at which the certificates must be valid, in milliseconds since the Unix epoch.
fn time_of(document: &AttestationDocument, policy: &Policy) -> u64 {
    match policy.time {
        VerifyTime::At(at_ms) => at_ms,
        VerifyTime::DocumentsOwn => document.timestamp_ms(),
    }
}
