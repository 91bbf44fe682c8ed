//! Documents that were bent before they were signed, and after.

use bailey_attestation::{AttestationDocument, PcrValue, RootFingerprint};

use crate::edits::{CERTIFICATES, Edit, Target};
use crate::part::{Part, encoded};
use crate::template::{TEMPLATE, key};

const BYTES: u8 = 2;
const TEXT: u8 = 3;

/// What an input has made.
#[derive(Debug)]
pub struct Forged {
    /// The document.
    pub bytes: Vec<u8>,
    /// Its chain starts with this root.
    pub root: RootFingerprint,
    /// Chooses the policy.
    pub choice: u8,
    /// A certificate is other than its issuer signed it.
    pub is_certificate_forged: bool,
    /// The leaf's signature, as it was made.
    signature: Vec<u8>,
    /// What it says without the changes that were made after it was signed, if that can be read.
    pub signed: Option<AttestationDocument>,
}

impl Forged {
    /// Whether the document's signature is not the one that was made.
    #[must_use]
    pub fn is_signature_forged(&self) -> bool {
        // Other encodings hold it too; none that edits lead to tears it apart.
        !self.bytes.windows(self.signature.len()).any(|window| window == self.signature)
    }
}

/// Makes the document that `input` asks for; none leaves it genuine.
#[must_use]
pub fn forge(input: &[u8]) -> Forged {
    let (choice, rest) = input.split_first().map_or((0, input), |(choice, rest)| (*choice, rest));
    let edits = Edit::read_all(rest);
    let mut is_certificate_forged = false;
    let certificates: Vec<Vec<u8>> = (0..CERTIFICATES)
        .zip(&TEMPLATE.bodies)
        .map(|(index, body)| {
            let signed = certificate(index, body, &edits);
            let der = encoded(&edited(vec![signed.clone()], Target::Certificate(index), &edits));
            // The root's signature is not looked at: it is trusted by a digest over all of it.
            is_certificate_forged |= index > 0 && der != signed.encoded();
            der
        })
        .collect();
    let payload = encoded(&edited(payload(&certificates), Target::Payload, &edits));
    let protected = vec![Part::raw([0xA1]), Part::raw([1]), Part::raw([0x38, 0x22])];
    let protected = encoded(&edited(protected, Target::Protected, &edits));
    let signature = sign(&protected, &payload);
    let envelope = envelope(&protected, &payload, &signature);
    let signed = AttestationDocument::parse(&encoded(&envelope)).ok();
    let bytes = encoded(&edited(envelope, Target::Envelope, &edits));
    Forged {
        bytes,
        root: RootFingerprint::of_der(&certificates[0]),
        choice,
        is_certificate_forged,
        signature,
        signed,
    }
}

/// `parts` after the edits that are made to `target`, in their order.
fn edited(mut parts: Vec<Part>, target: Target, edits: &[Edit<'_>]) -> Vec<Part> {
    for edit in edits.iter().filter(|edit| edit.target == target) {
        edit.apply(&mut parts);
    }
    parts
}

/// The certificate `index`, signed by the one before it; the root signs itself.
fn certificate(index: u8, body: &Part, edits: &[Edit<'_>]) -> Part {
    // SEQUENCE { OBJECT IDENTIFIER 1.2.840.10045.4.3.3 }, ECDSA with SHA-384.
    const ALGORITHM: [u8; 10] = [0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x03];
    let body = encoded(&edited(vec![body.clone()], Target::Body(index), edits));
    let signature = key(index.saturating_sub(1)).sign_der(&body);
    let algorithm = Part::der(0x30, vec![Part::raw(ALGORITHM)]);
    let signature = Part::der_bytes(0x03, [&[0][..], &signature].concat());
    Part::der(0x30, vec![Part::raw(body), algorithm, signature])
}

/// The payload, with containers that end with a mark, so that entries can be added and removed.
fn payload(certificates: &[Vec<u8>]) -> Vec<Part> {
    const MAP: [u8; 1] = [0xBF];
    const ARRAY: [u8; 1] = [0x9F];
    const END: [u8; 1] = [0xFF];
    let document = &TEMPLATE.document;
    let text = |text: &str| Part::cbor(TEXT, text);
    let field = |bytes: Option<&[u8]>| Part::cbor(BYTES, bytes.unwrap_or_default());
    let time = [&[0x1B][..], &document.timestamp_ms().to_be_bytes()].concat();
    let mut parts = vec![Part::raw(MAP), text("module_id"), text(document.module_id())];
    parts.extend([text("digest"), text("SHA384"), text("timestamp"), Part::raw(time)]);
    parts.extend([text("pcrs"), Part::raw(MAP)]);
    parts.extend(document.pcrs().iter().flat_map(register));
    parts.extend([Part::raw(END), text("nonce"), field(document.nonce())]);
    parts.extend([text("user_data"), field(document.user_data())]);
    parts.extend([text("public_key"), field(document.public_key())]);
    let (leaf, bundle) = certificates.split_last().expect("there are five");
    parts.extend([text("certificate"), Part::cbor(BYTES, leaf.as_slice())]);
    parts.extend([text("cabundle"), Part::raw(ARRAY)]);
    parts.extend(bundle.iter().map(|der| Part::cbor(BYTES, der.as_slice())));
    parts.extend([Part::raw(END), Part::raw(END)]);
    parts
}

/// Indexes below 24 are their own encoding.
fn register((index, value): (&u8, &PcrValue)) -> [Part; 2] {
    [Part::raw([*index]), Part::cbor(BYTES, value.as_slice())]
}

/// The leaf's signature.
fn sign(protected: &[u8], payload: &[u8]) -> Vec<u8> {
    // RFC 9052, section 4.4: what is signed.
    let statement = [
        Part::raw([0x84]),
        Part::cbor(TEXT, "Signature1"),
        Part::cbor(BYTES, protected),
        Part::cbor(BYTES, []),
        Part::cbor(BYTES, payload),
    ];
    key(CERTIFICATES - 1).sign(&encoded(&statement))
}

/// The COSE_Sign1.
fn envelope(protected: &[u8], payload: &[u8], signature: &[u8]) -> Vec<Part> {
    vec![
        Part::raw([0x84]),
        Part::cbor(BYTES, protected),
        Part::raw([0xA0]),
        Part::cbor(BYTES, payload),
        Part::cbor(BYTES, signature),
    ]
}
