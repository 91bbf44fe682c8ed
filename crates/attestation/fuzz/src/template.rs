//! A genuine document, taken apart, with keys that are known.

use std::sync::LazyLock;

use bailey_attestation::AttestationDocument;

use crate::edits::CERTIFICATES;
use crate::part::{Body, Part};
use crate::signer::Key;

/// The document of the corpus that everything is made from.
static GENUINE: &[u8] = include_bytes!("../../corpus/accepted-01.cose");

/// Read once.
pub static TEMPLATE: LazyLock<Template> = LazyLock::new(Template::read);

/// The parts of a document that is yet to be signed.
#[derive(Debug)]
pub struct Template {
    /// The document that it was made from.
    pub document: AttestationDocument,
    /// What the issuer of each certificate signs, root first.
    pub(crate) bodies: Vec<Part>,
}

impl Template {
    fn read() -> Self {
        let document = AttestationDocument::parse(GENUINE).expect("the corpus's first is good");
        let ders = document.bundle().iter().map(Vec::as_slice).chain([document.certificate()]);
        let bodies: Vec<Part> = (0..).zip(ders).map(|(index, der)| body(der, key(index))).collect();
        assert_eq!(bodies.len(), usize::from(CERTIFICATES));
        Self { document, bodies }
    }
}

/// The key of the certificate `index`.
pub(crate) fn key(index: u8) -> Key {
    Key(index + 1)
}

/// The body of a certificate, with another key.
fn body(der: &[u8], key: Key) -> Part {
    // A bit string of 97 bytes that starts with 4, the mark of an uncompressed point.
    const POINT: [u8; 4] = [0x03, 0x62, 0x00, 0x04];
    let mut der = der.to_vec();
    let at = der.windows(4).position(|window| window == POINT).expect("a key on P-384") + 3;
    der[at..at + 97].copy_from_slice(&key.point());
    let mut parts = Part::parse_der(&der).expect("certificates are DER");
    let Body::Parts(inner) = &mut parts[0].body else { panic!("no certificate") };
    inner.swap_remove(0)
}
