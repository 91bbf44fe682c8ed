//! Flaws that were seen in other verifiers of these documents, and what stands against each here.
//!
//! The documents are those of the corpus, named by the judgement that is due and by what is special
//! about them, so that any verifier can be held against the same ones.

use crate::common::CHAIN;
use crate::corpus;

/// A way to be wrong.
#[derive(Clone, Copy)]
struct Flaw {
    what: &'static str,
    /// The judgement that is due on each document, and what is special about it.
    documents: &'static [(&'static str, &'static str)],
}

const fn flaw(what: &'static str, documents: &'static [(&'static str, &'static str)]) -> Flaw {
    Flaw { what, documents }
}

/// Documents that were accepted and must not be.
const WRONGLY_ACCEPTED: &[Flaw] = &[
    flaw(
        "the root is taken from the document itself",
        &[
            ("root_not_trusted", "a root of its own"),
            ("root_not_trusted", "a bit of the root flipped"),
            ("certificate_signature", "the trusted root in front of a stranger's chain"),
        ],
    ),
    flaw(
        "any error in the chain is passed over once the document's signature is good",
        &[
            ("certificate_signature", "instance: signed by a stranger"),
            ("certificate_signature", "leaf: signed by a stranger"),
            ("certificate_expired", "leaf: expired a second ago"),
            ("certificate_expired", "root: expired a second ago"),
            ("certificate_not_yet_valid", "leaf: valid from the next second"),
            ("issuer", "leaf: names another issuer"),
            ("issuer", "without the instance's authority"),
            ("not_an_authority", "instance: the constraints of a leaf"),
            ("path_too_long", "zonal: no authority below it"),
            ("extension_unknown", "leaf: an unknown critical extension"),
        ],
    ),
    flaw(
        "rules on registers are passed over when there is nothing to compare",
        &[
            ("pcr_missing", "no PCR16, which is to be zero"),
            ("pcr_mismatch", "no value would do for PCR0"),
            ("pcr_zero", "PCR5 is not measured"),
            ("instance_pcr", "without PCR4"),
            ("debug", "registers 0 to 2 are left out"),
        ],
    ),
    flaw(
        "no nonce is asked for, or a missing one will do",
        &[
            ("nonce_missing", "without nonce"),
            ("nonce_mismatch", "another nonce"),
            ("nonce_unexpected", "a nonce"),
        ],
    ),
    flaw("a time in the future will do", &[("timestamp_in_future", "made beyond the skew")]),
    flaw(
        "a document of any age will do",
        &[("too_old", "older than asked"), ("before_issue", "made before the question")],
    ),
    flaw(
        "of two entries with one key the last one counts",
        &[
            ("duplicate_key", "PCR0 twice"),
            ("duplicate_key", "two nonces"),
            ("duplicate_key", "two algorithms in the protected header"),
            ("extension_duplicate", "zonal: an extension twice"),
        ],
    ),
    flaw(
        "byte strings are read as texts, and texts as byte strings",
        &[
            ("wrong_type", "module_id: bytes"),
            ("wrong_type", "digest: bytes"),
            ("wrong_type", "nonce: a text"),
            ("wrong_type", "certificate: a text"),
            ("wrong_type", "a signature as a text"),
        ],
    ),
    flaw(
        "keys of other types are passed over or converted",
        &[
            ("wrong_type", "a number as the name of a field"),
            ("wrong_type", "a register's index as a text"),
            ("unknown_key", "a field of its own"),
        ],
    ),
    flaw(
        "the algorithm is taken from where nobody signed it, or not looked at",
        &[
            ("unprotected_header", "an unsigned algorithm"),
            ("algorithm_missing", "an algorithm in the unprotected header alone"),
            ("algorithm", "the algorithm ES256"),
            ("algorithm", "the algorithm none"),
        ],
    ),
    flaw(
        "headers that must be understood are passed over",
        &[("critical_header", "headers to be understood")],
    ),
    flaw(
        "a leaf signs that was not given for signing",
        &[
            ("key_usage", "leaf: may not sign documents"),
            ("key_usage", "leaf: no key usage"),
            ("leaf_is_authority", "leaf: an authority"),
        ],
    ),
    flaw(
        "a register is not as long as its digest",
        &[
            ("pcr_length", "a register of 32 bytes"),
            ("pcr_length", "a register of 64 bytes"),
            ("pcr_length", "a register of 0 bytes"),
        ],
    ),
    flaw(
        "a field is longer than the module makes it",
        &[
            ("field_size", "certificate: 1025 bytes"),
            ("field_size", "nonce: 1025 bytes"),
            ("document_too_long", "17409 bytes"),
        ],
    ),
    flaw(
        "unsigned bytes travel along",
        &[
            ("trailing_bytes", "a byte after it"),
            ("trailing_bytes", "bytes after the payload's map"),
            ("unprotected_header", "an unsigned key id"),
            ("certificate_malformed", "leaf: a byte after it"),
        ],
    ),
    flaw(
        "a certificate is read that is not in its only right encoding",
        &[
            ("certificate_not_canonical", "leaf: a time in the long form"),
            ("certificate_not_canonical", "leaf: a name's part in a longer form"),
            ("extension_malformed", "leaf: a path length, and no authority"),
        ],
    ),
    flaw(
        "a text is put together from pieces that are none",
        &[("not_utf8", "a character spread over two chunks")],
    ),
];

/// Documents at which a verifier ended instead of refusing them, or tried to allocate what they
/// claim.
const FATAL: &[Flaw] = &[
    flaw(
        "a signature of another length than the algorithm's",
        &[
            ("signature_length", "a signature of 0 bytes"),
            ("signature_length", "a signature of 1 bytes"),
            ("signature_length", "a signature of 97 bytes"),
        ],
    ),
    flaw(
        "nothing where something is expected",
        &[
            ("truncated", "nothing at all"),
            ("field_size", "an empty payload"),
            ("field_size", "certificate: empty"),
            ("field_size", "cabundle: empty"),
            ("wrong_type", "no payload"),
        ],
    ),
    flaw(
        "a length is believed",
        &[
            ("truncated", "a header longer than all memory"),
            ("truncated", "more fields than there is memory for"),
            ("pcr_index", "PCR18446744073709551615"),
        ],
    ),
    flaw("depth is believed", &[("wrong_type", "ten thousand arrays in each other")]),
    flaw(
        "a certificate is no certificate, or its key no point",
        &[
            ("certificate_malformed", "leaf: no certificate"),
            ("certificate_key", "leaf: a point off the curve"),
            ("certificate_curve", "leaf: a key on P-256"),
        ],
    ),
];

/// Genuine documents that were refused.
const WRONGLY_REFUSED: &[Flaw] = &[
    flaw(
        "the payload's map must have a definite length, or an indefinite one",
        &[
            ("accepted", "as today's module makes it"),
            ("accepted", "a payload map of definite length"),
            ("accepted", "fields in another order"),
        ],
    ),
    flaw(
        "the tag of a COSE_Sign1 must be there, or must not",
        &[("accepted", "as today's module makes it"), ("accepted", "with the tag of a COSE_Sign1")],
    ),
    flaw(
        "a signature must have the lower of its two forms",
        &[("accepted", "a signature with high s"), ("accepted", "a signature with low s")],
    ),
    flaw(
        "optional fields must have something in them",
        &[
            ("accepted", "optional fields that are empty"),
            ("accepted", "optional fields that are null"),
            ("accepted", "optional fields that are left out"),
        ],
    ),
    flaw("nonce and user data end at 512 bytes", &[("accepted", "optional fields of 1024 bytes")]),
    flaw(
        "a payload must be as long as those that were seen first",
        &[("accepted", "one register"), ("accepted", "optional fields of 1024 bytes")],
    ),
    flaw(
        "there are at most 16 registers",
        &[("accepted", "17 registers"), ("accepted", "32 registers")],
    ),
    flaw(
        "a leaf must name its issuer's key, and its key usage be critical",
        &[
            ("accepted", "as today's module makes it"),
            ("accepted", "a leaf with more extensions than AWS's"),
        ],
    ),
    flaw(
        "documents in debug mode are refused unasked",
        &[("accepted", "debug mode where it is allowed")],
    ),
    flaw("an archived document cannot be judged", &[("accepted", "at its own time")]),
];

/// Encodings of one statement that differ in bytes which no signature covers: all are good, so a
/// replay is told by the nonce and never by the document's bytes.
const MALLEABLE: &[Flaw] = &[flaw(
    "a replay is told by the document's bytes",
    &[
        ("accepted", "with the tag of a COSE_Sign1"),
        ("accepted", "an envelope of indefinite length and chunks"),
        ("accepted", "a length in more bytes than it needs"),
        ("nonce_mismatch", "another nonce"),
    ],
)];

#[test]
fn every_flaw_seen_in_other_verifiers_has_documents_that_stand_against_it() {
    let flaws = [WRONGLY_ACCEPTED, FATAL, WRONGLY_REFUSED, MALLEABLE].concat();
    for Flaw { what, documents } in flaws {
        assert!(!documents.is_empty(), "{what}");
        for (expected, special) in documents {
            assert!(corpus::holds(expected, special), "{what}: no {expected}: {special}");
        }
    }
    let accepts = |flaws: &[Flaw]| {
        let mut judgements = flaws.iter().flat_map(|flaw| flaw.documents);
        judgements.any(|(expected, _)| *expected == "accepted")
    };
    assert!(!accepts(WRONGLY_ACCEPTED) && !accepts(FATAL));
}

#[test]
fn the_genuine_leaf_names_no_issuers_key_and_its_key_usage_is_not_critical() {
    let has = |bytes: &[u8]| CHAIN.leaf.windows(bytes.len()).any(|window| window == bytes);
    // The object identifier 2.5.29.35, authorityKeyIdentifier.
    assert!(!has(&[0x06, 3, 0x55, 0x1D, 35]));
    // 2.5.29.15, keyUsage, and right behind it the content: a critical one has a boolean between.
    assert!(has(&[0x06, 3, 0x55, 0x1D, 15, 0x04, 4, 0x03, 2, 0x06, 0xC0]));
}
