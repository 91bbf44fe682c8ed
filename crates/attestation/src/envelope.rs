//! The COSE_Sign1 around an attestation document (RFC 9052, section 4.2).

use std::borrow::Cow;

use crate::cbor::{Reader, Remaining};
use crate::{Rejection, limits};

/// The CBOR tag of a COSE_Sign1 (RFC 9052, section 4.2).
const COSE_SIGN1_TAG: u64 = 18;

/// Label of the algorithm in a COSE header (RFC 9052, section 3.1).
const ALGORITHM_LABEL: i128 = 1;

/// Label of the list of headers that must be understood (RFC 9052, section 3.1).
const CRITICAL_LABEL: i128 = 2;

/// ECDSA with SHA-384 (RFC 9053, section 2.1).
const ES384: i128 = -35;

/// A COSE_Sign1 of exactly the shape that the Nitro module emits; nothing in it is verified yet.
#[derive(Debug, Clone)]
pub(crate) struct Envelope<'a> {
    /// The protected header, encoded; its content is `{1: -35}`.
    pub(crate) protected: Cow<'a, [u8]>,
    /// The attestation document, encoded.
    pub(crate) payload: Cow<'a, [u8]>,
    /// `r ‖ s`, 48 bytes each.
    pub(crate) signature: [u8; 96],
}

impl<'a> Envelope<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Rejection> {
        if bytes.len() > limits::DOCUMENT_BYTES {
            let (limit, found) = (limits::DOCUMENT_BYTES, bytes.len());
            return Err(Rejection::DocumentTooLong { limit, found });
        }
        let mut reader = Reader::new(bytes);
        if let Some(found) = reader.optional_tag()?.filter(|tag| *tag != COSE_SIGN1_TAG) {
            return Err(Rejection::CoseTag { found });
        }
        let mut elements = Elements::open(&mut reader)?;
        let protected = elements.next()?.bytes("protected header")?;
        let unprotected = elements.next()?.map("unprotected header")?;
        check_unprotected(elements.reader, unprotected)?;
        let payload = elements.next()?.bytes("payload")?;
        let signature = elements.next()?.bytes("signature")?;
        elements.close()?;
        reader.finish()?;
        check_protected(&protected)?;
        limits::PAYLOAD.check(payload.len())?;
        let signature = <[u8; 96]>::try_from(signature.as_ref())
            .map_err(|_| Rejection::SignatureLength { found: signature.len() })?;
        Ok(Self { protected, payload, signature })
    }
}

/// The four elements of the COSE_Sign1 array.
struct Elements<'r, 'a> {
    reader: &'r mut Reader<'a>,
    remaining: Remaining,
    seen: u64,
}

impl<'r, 'a> Elements<'r, 'a> {
    const COUNT: u64 = 4;

    fn open(reader: &'r mut Reader<'a>) -> Result<Self, Rejection> {
        let remaining = reader.array("COSE_Sign1")?;
        if let Remaining::Counted(found) = remaining
            && found != Self::COUNT
        {
            return Err(Rejection::CoseElements { found });
        }
        Ok(Self { reader, remaining, seen: 0 })
    }

    fn next(&mut self) -> Result<&mut Reader<'a>, Rejection> {
        if !self.reader.has_next(&mut self.remaining)? {
            return Err(Rejection::CoseElements { found: self.seen });
        }
        self.seen += 1;
        Ok(self.reader)
    }

    fn close(mut self) -> Result<(), Rejection> {
        if self.reader.has_next(&mut self.remaining)? {
            return Err(Rejection::CoseElements { found: self.seen + 1 });
        }
        Ok(())
    }
}

/// AWS's specification says "We have nothing in unprotected" (section 3.1): what stands there is
/// not signed, so whoever carried the document could have written it.
fn check_unprotected(reader: &mut Reader<'_>, mut remaining: Remaining) -> Result<(), Rejection> {
    if reader.has_next(&mut remaining)? {
        return Err(Rejection::UnprotectedHeader);
    }
    Ok(())
}

fn check_protected(protected: &[u8]) -> Result<(), Rejection> {
    // RFC 9052, section 3: an empty map may also be encoded as an empty byte string.
    if protected.is_empty() {
        return Err(Rejection::AlgorithmMissing);
    }
    let mut reader = Reader::new(protected);
    let mut entries = reader.map("protected header")?;
    let mut algorithm = None;
    while reader.has_next(&mut entries)? {
        match reader.integer("protected header label")? {
            ALGORITHM_LABEL => {
                let value = reader.integer("algorithm")?;
                if algorithm.replace(value).is_some() {
                    let (map, key) = ("protected header", ALGORITHM_LABEL.to_string());
                    return Err(Rejection::DuplicateKey { map, key });
                }
            }
            CRITICAL_LABEL => return Err(Rejection::CriticalHeader),
            label => return Err(Rejection::ProtectedHeader { label }),
        }
    }
    reader.finish()?;
    match algorithm {
        Some(ES384) => Ok(()),
        Some(found) => Err(Rejection::Algorithm { found }),
        None => Err(Rejection::AlgorithmMissing),
    }
}
