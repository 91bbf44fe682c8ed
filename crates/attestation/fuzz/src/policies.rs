//! What documents are judged by.

use bailey_attestation::{
    AttestationDocument, BytesRule, DebugRule, InstanceBinding, ModuleIdRule, PcrRule, PcrWanted,
    Policy, RootFingerprint, TrustedRoots, VerifyTime,
};

use crate::template::TEMPLATE;

const HOUR_MS: u64 = 3_600_000;

/// The policies that documents under `root` are judged by; the first two accept the genuine one.
#[must_use]
pub fn all(root: RootFingerprint) -> Vec<Policy> {
    let roots = TrustedRoots::only(vec![root]);
    let made_ms = TEMPLATE.document.timestamp_ms();
    let lax = Policy { time: VerifyTime::At(made_ms + 1_000), ..own(roots.clone()) };
    let absent = Policy {
        nonce: BytesRule::Absent,
        user_data: BytesRule::Absent,
        public_key: BytesRule::Absent,
        ..own(roots.clone())
    };
    let late =
        Policy { time: VerifyTime::At(made_ms + 2 * HOUR_MS), ..strict(roots, &TEMPLATE.document) };
    let strict = Policy { time: lax.time, ..late.clone() };
    let aws = Policy { roots: TrustedRoots::aws(), ..lax.clone() };
    vec![lax, strict, absent, late, aws]
}

/// Asks for authenticity alone, at the document's own time.
#[must_use]
pub fn own(roots: TrustedRoots) -> Policy {
    Policy {
        roots,
        time: VerifyTime::DocumentsOwn,
        skew_ms: 0,
        max_age_ms: None,
        issued_at_ms: None,
        nonce: BytesRule::Any,
        user_data: BytesRule::Any,
        public_key: BytesRule::Any,
        module_id: ModuleIdRule::Any,
        instance: None,
        debug: DebugRule::Allow,
        pcrs: Vec::new(),
    }
}

/// Asks for everything that `document` says.
fn strict(roots: TrustedRoots, document: &AttestationDocument) -> Policy {
    let exactly = |bytes: Option<&[u8]>| BytesRule::Exactly(bytes.unwrap_or_default().to_vec());
    let instance_id = document.module_id().split("-enc").next().unwrap_or_default().to_owned();
    let register = |index| document.pcrs().get(&index).copied().unwrap_or([0; 48]);
    let pcr = |index, wanted| PcrRule { index, wanted };
    Policy {
        skew_ms: 5_000,
        max_age_ms: Some(HOUR_MS),
        issued_at_ms: Some(document.timestamp_ms()),
        nonce: exactly(document.nonce()),
        user_data: exactly(document.user_data()),
        public_key: exactly(document.public_key()),
        module_id: ModuleIdRule::Exactly(document.module_id().to_owned()),
        instance: Some(InstanceBinding {
            instance_id,
            role_arn: Some("arn:aws:iam::123456789012:role/parent".to_owned()),
        }),
        debug: DebugRule::Refuse,
        pcrs: vec![
            pcr(0, PcrWanted::Exactly(register(0))),
            pcr(1, PcrWanted::OneOf(vec![[1; 48], register(1)])),
            pcr(2, PcrWanted::NonZero),
            pcr(15, PcrWanted::Zero),
        ],
        ..own(roots)
    }
}
