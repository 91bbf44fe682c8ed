//! Judgements that must make sense, whatever the document.

use bailey_attestation::{
    AttestationDocument, BytesRule, ChainCache, DebugRule, ModuleIdRule, Outcome, PcrRule,
    PcrWanted, Policy, Rejection, RootFingerprint, Verification, VerifiedDocument, VerifyTime,
    verify, verify_cached,
};

use crate::limits::bounded;

/// Reads a document, within the limits.
pub fn parse(bytes: &[u8]) -> Result<AttestationDocument, Rejection> {
    bounded(|| AttestationDocument::parse(bytes))
}

/// Judges a document with and without a cache, and fails when the judgements differ or make no
/// sense.
#[must_use]
pub fn judge(bytes: &[u8], policy: &Policy) -> Verification {
    let judged = bounded(|| verify(bytes, policy));
    let cache = ChainCache::new(4);
    // The first fills the cache, if the chain is good; the second then finds it there.
    for _ in 0..2 {
        let cached = bounded(|| verify_cached(bytes, policy, &cache));
        assert_eq!(cached.result, judged.result);
        assert_eq!(cached.checks, judged.checks);
    }
    assert_eq!(cache.len(), usize::from(passed(&judged, "chain_signatures")));
    assert_is_in_order(&judged);
    assert_agrees_with_parse(bytes, &judged);
    if let Ok(verified) = &judged.result {
        assert_is_met(policy, verified);
    }
    judged
}

fn passed(judged: &Verification, name: &str) -> bool {
    judged.checks.iter().any(|check| check.name == name && check.outcome == Outcome::Passed)
}

/// Checks are made up to the first that fails, which is the one that the result names.
fn assert_is_in_order(judged: &Verification) {
    let mut rest = judged.checks.iter().skip_while(|check| {
        assert_eq!(check.found.is_some(), check.outcome != Outcome::NotChecked);
        matches!(check.outcome, Outcome::Passed | Outcome::Waived)
    });
    let failed = rest.next();
    match (&judged.result, failed) {
        (Ok(_), None) => {}
        (Err(rejection), Some(failed)) => {
            assert_eq!(failed.outcome, Outcome::Failed);
            assert_eq!(failed.found, Some(rejection.to_string()));
            assert!(Rejection::CODES.contains(&rejection.code()));
        }
        (result, failed) => panic!("{result:?} after {failed:?}"),
    }
    for check in rest {
        assert_eq!((check.outcome, &check.found), (Outcome::NotChecked, &None));
    }
}

/// A document that cannot be read is refused for that; what is accepted is what was read.
fn assert_agrees_with_parse(bytes: &[u8], judged: &Verification) {
    let document = parse(bytes);
    assert_eq!(passed(judged, "structure"), document.is_ok());
    match (document, &judged.result) {
        (Err(unread), Err(rejection)) => assert_eq!(unread, *rejection),
        (Err(unread), Ok(_)) => panic!("accepted, though {unread}"),
        (Ok(_), Err(_)) => {}
        (Ok(document), Ok(verified)) => assert_says(&document, verified),
    }
}

fn assert_says(document: &AttestationDocument, verified: &VerifiedDocument) {
    assert_eq!(document.module_id(), verified.module_id());
    assert_eq!(document.timestamp_ms(), verified.timestamp_ms());
    assert_eq!(document.pcrs(), verified.pcrs());
    assert_eq!(document.nonce(), verified.nonce());
    assert_eq!(document.user_data(), verified.user_data());
    assert_eq!(document.public_key(), verified.public_key());
    assert_eq!(document.is_debug(), verified.is_debug());
    let ders = document.bundle().iter().map(Vec::as_slice).chain([document.certificate()]);
    let digests: Vec<String> = ders.map(|der| RootFingerprint::of_der(der).to_string()).collect();
    let certificates = verified.certificates();
    assert!(certificates.iter().map(|certificate| &certificate.sha256).eq(&digests));
}

/// The policy once more, in other words.
fn assert_is_met(policy: &Policy, verified: &VerifiedDocument) {
    let certificates = verified.certificates();
    assert!(policy.roots.contains(certificates[0].sha256.parse().expect("a fingerprint")));
    let made_ms = verified.timestamp_ms();
    let at_ms = if let VerifyTime::At(at_ms) = policy.time {
        assert!(made_ms <= at_ms + policy.skew_ms);
        assert!(policy.max_age_ms.is_none_or(|limit| at_ms.saturating_sub(made_ms) <= limit));
        at_ms
    } else {
        made_ms
    };
    for certificate in certificates {
        assert!(certificate.not_before_ms <= at_ms.saturating_add(policy.skew_ms));
        assert!(at_ms <= certificate.not_after_ms);
    }
    assert!(policy.issued_at_ms.is_none_or(|issued| made_ms + policy.skew_ms >= issued));
    assert!(is_as_asked(&policy.nonce, verified.nonce()));
    assert!(is_as_asked(&policy.user_data, verified.user_data()));
    assert!(is_as_asked(&policy.public_key, verified.public_key()));
    assert!(policy.debug == DebugRule::Allow || !verified.is_debug());
    if let ModuleIdRule::Exactly(name) = &policy.module_id {
        assert_eq!(name, verified.module_id());
    }
    if let Some(binding) = &policy.instance {
        assert!(verified.module_id().starts_with(&binding.instance_id));
    }
    for PcrRule { index, wanted } in &policy.pcrs {
        let value = &verified.pcrs()[index];
        assert!(match wanted {
            PcrWanted::Exactly(wanted) => value == wanted,
            PcrWanted::NonZero => *value != [0; 48],
            PcrWanted::OneOf(wanted) => wanted.contains(value),
            PcrWanted::Zero => *value == [0; 48],
        });
    }
}

fn is_as_asked(rule: &BytesRule, found: Option<&[u8]>) -> bool {
    match rule {
        BytesRule::Absent => found.is_none_or(<[u8]>::is_empty),
        BytesRule::Any => true,
        BytesRule::Exactly(wanted) => found == Some(wanted),
    }
}
