//! Whether the other end of a connection is the enclave that was meant.

use crate::{claims::SKEW_MS, pcr_file::PcrArgument};
use bailey_attestation::{
    AttestationDocument, BytesRule, DebugRule, DocumentSummary, InstanceBinding, ModuleIdRule,
    PcrRule, PcrWanted, Policy, Rejection, TrustedRoots, VerifyTime, verify,
};
use bailey_model::UnixMillis;

/// What an enclave has to prove before anything is said to it.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// The roots that are trusted.
    pub(crate) roots: TrustedRoots,
    /// What its registers hold.
    pub(crate) pcrs: Vec<PcrArgument>,
    /// The parent that it runs on, if that matters.
    pub(crate) instance: Option<InstanceBinding>,
    /// Whether one in debug mode will do.
    pub(crate) debug_allowed: bool,
}

/// What the document has to answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Challenge<'a> {
    /// The nonce that was sent, once.
    pub(crate) nonce: &'a [u8],
    /// The key of the certificate that this very connection showed, as a `SubjectPublicKeyInfo` in DER.
    pub(crate) public_key: &'a [u8],
    /// The time.
    pub(crate) now: UnixMillis,
}

/// Whether registers say which image runs: the whole of it (PCR0), its two parts (PCR1 and PCR2), or who
/// signed it (PCR8).
pub(crate) fn names_image(pcrs: &[PcrArgument]) -> bool {
    let has = |wanted: u8| pcrs.iter().any(|PcrArgument { index, .. }| *index == wanted);
    has(0) || (has(1) && has(2)) || has(8)
}

/// Judges the document that came over the connection.
pub(crate) fn vouch(
    document: &[u8],
    challenge: Challenge<'_>,
    terms: &Terms,
) -> Result<DocumentSummary, Refusal> {
    // In debug mode the registers of the image are zero. That it is so is believed only together with
    // everything else.
    let says_debug = AttestationDocument::parse(document).is_ok_and(|document| document.is_debug());
    let zero = terms.debug_allowed && says_debug;
    let image = (0..=2).map(|index| {
        let wanted = if zero { PcrWanted::Zero } else { PcrWanted::NonZero };
        PcrRule { index, wanted }
    });
    let is_of_image = |index: u8| matches!(index, 0..=2 | 8);
    let named = terms.pcrs.iter().filter(|pcr| !(zero && is_of_image(pcr.index)));
    let named = named.map(|PcrArgument { index, value }| PcrRule {
        index: *index,
        wanted: PcrWanted::Exactly(value.0),
    });
    let policy = Policy {
        roots: terms.roots.clone(),
        time: VerifyTime::At(challenge.now.0),
        skew_ms: SKEW_MS,
        // The nonce says that it is fresh.
        max_age_ms: None,
        issued_at_ms: None,
        nonce: BytesRule::Exactly(challenge.nonce.to_vec()),
        user_data: BytesRule::Any,
        public_key: BytesRule::Exactly(challenge.public_key.to_vec()),
        module_id: ModuleIdRule::Any,
        instance: terms.instance.clone(),
        debug: if terms.debug_allowed { DebugRule::Allow } else { DebugRule::Refuse },
        pcrs: image.chain(named).collect(),
    };
    let verified = verify(document, &policy).result.map_err(|source| Refusal { source })?;
    Ok(verified.summary())
}

/// The other end is not the enclave that was meant.
#[derive(Debug, thiserror::Error)]
#[error("{} ({})", self.reason(), source.code())]
pub(crate) struct Refusal {
    source: Rejection,
}

impl Refusal {
    /// What that means for this connection.
    pub(crate) fn reason(&self) -> &'static str {
        match self.source.code() {
            "public_key_mismatch" => {
                "the document vouches for another key: whoever ends this connection is not the enclave"
            }
            "public_key_missing" => {
                "the document vouches for no key, and so not for this connection"
            }
            "nonce_mismatch" | "nonce_missing" => {
                "the document answers another nonce: it is an older one, or somebody else's"
            }
            "pcr_mismatch" | "pcr_missing" | "pcr_zero" => "another image runs there",
            "debug" => "the enclave runs in debug mode: its parent can read all of it",
            "instance" | "instance_pcr" | "role_pcr" => "the enclave runs on another parent",
            "root_not_trusted" => "no trusted root vouches for the document",
            _ => "the document does not verify",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bailey_attestation::RootFingerprint;
    use bailey_simulated_nsm::{Attestation, Authority, Enclave, Mode, SimulatedNsm};
    use std::collections::BTreeMap;

    const NOW: u64 = 1_735_732_800_000;
    const KEY: &[u8] = b"the key of this connection";
    const NONCE: &[u8] = &[7; 32];

    fn pcr(index: u8, byte: u8) -> PcrArgument {
        PcrArgument { index, value: bailey_model::Pcr([byte; 48]) }
    }

    /// A document with what was asked for, and the terms that it meets.
    fn made(mode: Mode, asked: &Attestation) -> (Vec<u8>, Terms) {
        let authority = Authority::generate().unwrap();
        let parent = authority.instance("i-0123", "arn:aws:iam::1:role/parent", NOW).unwrap();
        let measurements = BTreeMap::from([(0, [0xa0; 48]), (1, [0xa1; 48]), (2, [0xa2; 48])]);
        let module_id = "i-0123-enc0190".to_owned();
        let nsm = SimulatedNsm::new(parent, Enclave { module_id, measurements, mode });
        let roots = vec![RootFingerprint::of_der(authority.certificate_der())];
        let terms = Terms {
            roots: TrustedRoots::only(roots),
            pcrs: vec![pcr(0, 0xa0)],
            instance: None,
            debug_allowed: false,
        };
        (nsm.attest(asked, NOW).unwrap(), terms)
    }

    fn asked() -> Attestation {
        Attestation { nonce: Some(NONCE.to_vec()), user_data: None, public_key: Some(KEY.to_vec()) }
    }

    fn judged(document: &[u8], terms: &Terms) -> Result<(), String> {
        let challenge = Challenge { nonce: NONCE, public_key: KEY, now: UnixMillis(NOW) };
        vouch(document, challenge, terms).map(drop).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn the_enclave_that_was_meant_is_taken() {
        let (document, terms) = made(Mode::Production, &asked());
        assert_eq!(judged(&document, &terms), Ok(()));
    }

    #[test]
    fn a_key_of_somebody_in_between_is_refused() {
        let other = Attestation { public_key: Some(b"the enclave's".to_vec()), ..asked() };
        let (document, terms) = made(Mode::Production, &other);
        let said = "the document vouches for another key: whoever ends this connection is not the \
                    enclave (public_key_mismatch)";
        assert_eq!(judged(&document, &terms), Err(said.to_owned()));
        // What a parent gets from an enclave's own port has none at all.
        let (document, terms) =
            made(Mode::Production, &Attestation { public_key: None, ..asked() });
        let said = "the document vouches for no key, and so not for this connection \
                    (public_key_missing)";
        assert_eq!(judged(&document, &terms), Err(said.to_owned()));
    }

    #[test]
    fn an_older_document_is_refused() {
        for nonce in [Some(vec![8; 32]), Some(NONCE[..31].to_vec()), None] {
            let (document, terms) = made(Mode::Production, &Attestation { nonce, ..asked() });
            let said = judged(&document, &terms).unwrap_err();
            let reason =
                "the document answers another nonce: it is an older one, or somebody else's";
            assert!(said.starts_with(reason), "{said}");
        }
    }

    #[test]
    fn another_image_another_parent_and_another_root_are_refused() {
        let (document, terms) = made(Mode::Production, &asked());
        let other = Terms { pcrs: vec![pcr(0, 0xa0), pcr(2, 0xff)], ..terms.clone() };
        let said = "another image runs there (pcr_mismatch)".to_owned();
        assert_eq!(judged(&document, &other), Err(said));
        let binding = InstanceBinding { instance_id: "i-4567".to_owned(), role_arn: None };
        let other = Terms { instance: Some(binding), ..terms.clone() };
        let said = "the enclave runs on another parent (instance)".to_owned();
        assert_eq!(judged(&document, &other), Err(said));
        let other = Terms { roots: TrustedRoots::aws(), ..terms };
        let said = "no trusted root vouches for the document (root_not_trusted)".to_owned();
        assert_eq!(judged(&document, &other), Err(said));
    }

    #[test]
    fn debug_mode_is_taken_only_where_it_is_allowed() {
        let (document, terms) = made(Mode::Debug, &asked());
        let said =
            "the enclave runs in debug mode: its parent can read all of it (debug)".to_owned();
        assert_eq!(judged(&document, &terms), Err(said));
        let allowed = Terms { debug_allowed: true, ..terms };
        assert_eq!(judged(&document, &allowed), Ok(()));
        // To allow it is not to demand less of one in production.
        let (document, terms) = made(Mode::Production, &asked());
        let allowed = Terms { debug_allowed: true, pcrs: vec![pcr(0, 0xff)], ..terms };
        let said = "another image runs there (pcr_mismatch)".to_owned();
        assert_eq!(judged(&document, &allowed), Err(said));
    }

    #[test]
    fn a_changed_document_is_refused() {
        let (mut document, terms) = made(Mode::Production, &asked());
        *document.last_mut().unwrap() ^= 1;
        let said = "the document does not verify (cose_signature)".to_owned();
        assert_eq!(judged(&document, &terms), Err(said));
        assert!(judged(b"", &terms).unwrap_err().starts_with("the document does not verify"));
    }

    #[test]
    fn an_image_is_named_by_the_whole_both_parts_or_its_signer() {
        let named = |indices: &[u8]| {
            names_image(&indices.iter().map(|index| pcr(*index, 1)).collect::<Vec<_>>())
        };
        assert!(named(&[0]) && named(&[1, 2]) && named(&[8]) && named(&[3, 8]));
        assert!(!named(&[]) && !named(&[1]) && !named(&[2]) && !named(&[3, 4]));
    }
}
