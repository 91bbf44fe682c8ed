//! Documents whose chain of certificates is not one of Nitro's.

use bailey_simulated_nsm::{
    Authority, CertificatePlan, Chain, Constraints, Curve, CustomExtension, KeyUsage,
    KeyUsagePurpose, Value,
};

use super::Case;
use super::index::Terms;
use crate::common::{
    AUTHORITY, CHAIN, MADE_MS, NOW_MS, builder, chain_under, chain_with, document_of, replaced,
};

const DAY_MS: u64 = 86_400_000;

/// What stands below the root, in the order of its plans.
const NAMES: [&str; 4] = ["regional", "zonal", "instance", "leaf"];
const LEAF: usize = 3;

pub(super) fn cases() -> Vec<Case> {
    [roots(), orders(), encodings(), keys(), extensions(), constraints(), usages(), links()]
        .concat()
}

/// A case for each of the certificates below the root that `edit` has bent.
fn each(
    range: std::ops::Range<usize>,
    expected: &'static str,
    what: &str,
    edit: impl Fn(usize, &mut CertificatePlan),
) -> Vec<Case> {
    range
        .map(|index| {
            let chain = chain_with(|plans| edit(index, &mut plans[index]));
            Case::refused(expected, format!("{}: {what}", NAMES[index]), document_of(&chain))
        })
        .collect()
}

/// A document under a root that `edit` has bent, and that is trusted.
fn with_root(
    expected: &'static str,
    what: &str,
    edit: impl FnOnce(&mut CertificatePlan),
) -> Vec<Case> {
    let mut plan = CertificatePlan::root();
    edit(&mut plan);
    let authority = Authority::with_root(plan).unwrap();
    let document = document_of(&chain_under(&authority, |_| {}));
    let terms = Terms::under_root(authority.certificate_der());
    vec![Case::refused(expected, format!("root: {what}"), document).under(terms)]
}

/// A document with other bytes in place of a certificate below the root.
fn with_der(
    index: usize,
    expected: &'static str,
    what: &str,
    edit: impl FnOnce(&[u8]) -> Vec<u8>,
) -> Case {
    let mut bundle = CHAIN.bundle.clone();
    let mut leaf = CHAIN.leaf.clone();
    let certificate = if index == LEAF { &mut leaf } else { &mut bundle[index + 1] };
    *certificate = edit(certificate);
    let document = builder(&CHAIN)
        .with("cabundle", Value::Array(bundle.into_iter().map(Value::Bytes).collect()))
        .with("certificate", Value::Bytes(leaf))
        .sign(&CHAIN.key)
        .unwrap();
    Case::refused(expected, format!("{}: {what}", NAMES[index]), document)
}

fn extension(oid: &[u64], critical: bool, content: &[u8]) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(oid, content.to_vec());
    extension.set_criticality(critical);
    extension
}

fn roots() -> Vec<Case> {
    let stranger = Authority::generate().unwrap();
    let mut chain = chain_under(&stranger, |_| {});
    let own = document_of(&chain);
    chain.bundle[0] = AUTHORITY.certificate_der().to_vec();
    let mut edited = chain_with(|_| {});
    *edited.bundle[0].last_mut().unwrap() ^= 1;
    vec![
        Case::refused("root_not_trusted", "a bit of the root flipped", document_of(&edited)),
        Case::refused("root_not_trusted", "a root of its own", own),
        Case::refused(
            "certificate_signature",
            "the trusted root in front of a stranger's chain",
            document_of(&chain),
        ),
    ]
}

fn orders() -> Vec<Case> {
    [
        ("root_not_trusted", "leaf first", &[3, 2, 1, 0][..]),
        ("root_not_trusted", "without the root", &[1, 2, 3]),
        ("issuer", "two authorities in the wrong order", &[0, 2, 1, 3]),
        ("issuer", "without the instance's authority", &[0, 1, 2]),
        ("issuer", "without the regional authority", &[0, 2, 3]),
        ("issuer", "the last authority twice", &[0, 1, 2, 3, 3]),
        ("issuer", "the root alone", &[0]),
    ]
    .map(|(expected, what, order)| {
        let Chain { bundle, leaf, key } = chain_with(|_| {});
        let bundle = order.iter().map(|index: &usize| bundle[*index].clone()).collect();
        Case::refused(expected, what, document_of(&Chain { bundle, leaf, key }))
    })
    .into()
}

fn encodings() -> Vec<Case> {
    let mut cases = Vec::new();
    for index in 0..4 {
        let malformed = "certificate_malformed";
        cases.push(with_der(index, malformed, "no certificate", |_| b"no certificate".to_vec()));
        cases.push(with_der(index, malformed, "a byte after it", |der| [der, &[0]].concat()));
    }
    cases.push(with_der(LEAF, "certificate_not_canonical", "a time in the long form", long_time));
    cases.push(with_der(
        LEAF,
        "certificate_not_canonical",
        "a name's part in a longer form",
        |der| {
            // The object identifier of localityName, 2.5.4.7, and with a zero in front of its last arc.
            replaced(der, &[0x06, 3, 0x55, 4, 7], &[0x06, 3, 0x55, 0x80, 7])
        },
    ));
    cases.push(with_der(LEAF, "certificate_version", "version 2", |der| {
        replaced(der, &[0xA0, 0x03, 0x02, 0x01, 0x02], &[0xA0, 0x03, 0x02, 0x01, 0x01])
    }));
    cases
}

/// The start of validity as `GeneralizedTime`, which is for years from 2050 on: 2 bytes more.
fn long_time(der: &[u8]) -> Vec<u8> {
    let at = der.windows(4).position(|window| window == [0x30, 0x1E, 0x17, 0x0D]).unwrap();
    let mut longer = [&der[..at], &[0x30, 0x20, 0x18, 0x0F], b"20", &der[at + 4..]].concat();
    for header in [0, 4] {
        let length = u16::from_be_bytes([longer[header + 2], longer[header + 3]]) + 2;
        longer[header + 2..header + 4].copy_from_slice(&length.to_be_bytes());
    }
    longer
}

fn keys() -> Vec<Case> {
    // A bit string of 97 bytes that starts with 4, the mark of an uncompressed point.
    const POINT: [u8; 4] = [0x03, 0x62, 0x00, 0x04];
    let mut cases =
        with_root("certificate_algorithm", "a key on P-256", |plan| plan.curve = Curve::P256);
    for index in [0, LEAF] {
        let edit = |_, plan: &mut CertificatePlan| plan.curve = Curve::P256;
        cases.extend(each(index..index + 1, "certificate_curve", "a key on P-256", edit));
    }
    for index in [1, LEAF] {
        cases.push(with_der(index, "certificate_key", "the mark of a compressed point", |der| {
            replaced(der, &POINT, &[0x03, 0x62, 0x00, 0x02])
        }));
        cases.push(with_der(index, "certificate_key", "a point off the curve", |der| {
            let at = der.windows(4).position(|window| window == POINT).unwrap() + 60;
            let mut der = der.to_vec();
            der[at] ^= 1;
            der
        }));
    }
    cases
}

fn extensions() -> Vec<Case> {
    let twice = each(1..2, "extension_duplicate", "an extension twice", |_, plan| {
        plan.extensions = vec![extension(&[1, 2, 3, 4], false, &[5, 0]); 2];
    });
    let unknown = each(0..4, "extension_unknown", "an unknown critical extension", |_, plan| {
        plan.extensions = vec![extension(&[1, 2, 3, 5], true, &[5, 0])];
    });
    let malformed = each(3..4, "extension_malformed", "a key usage of null", |_, plan| {
        plan.key_usage = KeyUsage::Missing;
        plan.extensions = vec![extension(&[2, 5, 29, 15], true, &[5, 0])];
    });
    let contradictory =
        each(3..4, "extension_malformed", "a path length, and no authority", |_, plan| {
            plan.constraints = Constraints::Missing;
            // SEQUENCE { INTEGER 0 }
            plan.extensions = vec![extension(&[2, 5, 29, 19], true, &[0x30, 3, 2, 1, 0])];
        });
    [twice, unknown, malformed, contradictory].concat()
}

fn constraints() -> Vec<Case> {
    let authority = |path_len| Constraints::Authority { path_len };
    let no_authority = "not_an_authority";
    [
        each(0..3, no_authority, "no basic constraints", |_, plan| {
            plan.constraints = Constraints::Missing;
        }),
        each(0..3, no_authority, "the constraints of a leaf", |_, plan| {
            plan.constraints = Constraints::EndEntity;
        }),
        with_root(no_authority, "the constraints of a leaf", |plan| {
            plan.constraints = Constraints::EndEntity;
        }),
        each(1..2, "constraints_not_critical", "constraints that are not critical", |_, plan| {
            plan.constraints = Constraints::Missing;
            // SEQUENCE { BOOLEAN TRUE }
            plan.extensions = vec![extension(&[2, 5, 29, 19], false, &[0x30, 3, 1, 1, 0xFF])];
        }),
        each(3..4, "leaf_is_authority", "an authority", |_, plan| {
            plan.constraints = authority(None);
        }),
        each(0..1, "path_too_long", "one authority less below it", |_, plan| {
            plan.constraints = authority(Some(1));
        }),
        each(1..2, "path_too_long", "no authority below it", |_, plan| {
            plan.constraints = authority(Some(0));
        }),
        with_root("path_too_long", "one authority less below it", |plan| {
            plan.constraints = authority(Some(2));
        }),
    ]
    .concat()
}

fn usages() -> Vec<Case> {
    let only = |usage| KeyUsage::Critical(vec![usage]);
    [
        each(0..4, "key_usage", "no key usage", |_, plan| plan.key_usage = KeyUsage::Missing),
        each(0..3, "key_usage", "may not sign certificates", |_, plan| {
            plan.key_usage = only(KeyUsagePurpose::DigitalSignature);
        }),
        each(3..4, "key_usage", "may not sign documents", |_, plan| {
            plan.key_usage = only(KeyUsagePurpose::KeyAgreement);
        }),
    ]
    .concat()
}

fn links() -> Vec<Case> {
    [
        each(0..4, "issuer", "names another issuer", |index, plan| {
            // Below the root, the root's own name is another one; just below it, its own is.
            let root = CertificatePlan::root().subject;
            plan.issuer = Some(if index == 0 { plan.subject.clone() } else { root });
        }),
        each(0..4, "certificate_not_yet_valid", "valid from the next second", |_, plan| {
            plan.not_before_ms = NOW_MS + 1_000;
            plan.not_after_ms = NOW_MS + DAY_MS;
        }),
        each(0..4, "certificate_expired", "expired a second ago", |_, plan| {
            plan.not_before_ms = MADE_MS - DAY_MS;
            plan.not_after_ms = MADE_MS;
        }),
        with_root("certificate_expired", "expired a second ago", |plan| {
            plan.not_after_ms = MADE_MS;
        }),
        each(0..4, "certificate_signature", "signed by a stranger", |_, plan| plan.forged = true),
    ]
    .concat()
}
