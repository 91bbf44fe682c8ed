//! Attestation documents as parsed, before anything about them is verified.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::cbor::Reader;
use crate::envelope::Envelope;
use crate::limits::{self, Limit};
use crate::{PcrValue, Rejection};

/// The only digest that documents are known to use (AWS attestation process, section 3.2.2.2).
const DIGEST: &str = "SHA384";

/// The highest index of a register (AWS attestation process, section 2.2).
const MAX_PCR_INDEX: u64 = 31;

/// A document with the right shape, of which **nothing is verified**.
///
/// Whoever carried it may have written it. It is good for showing and for choosing a
/// [`Policy`](crate::Policy); trust decisions take a [`VerifiedDocument`](crate::VerifiedDocument).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestationDocument {
    claims: Claims,
    certificate: Vec<u8>,
    bundle: Vec<Vec<u8>>,
}

/// What a document says about the enclave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claims {
    pub(crate) module_id: String,
    pub(crate) timestamp_ms: u64,
    pub(crate) pcrs: BTreeMap<u8, PcrValue>,
    pub(crate) public_key: Option<Vec<u8>>,
    pub(crate) user_data: Option<Vec<u8>>,
    pub(crate) nonce: Option<Vec<u8>>,
}

impl AttestationDocument {
    /// Reads a document: a COSE_Sign1, tagged or not, around a CBOR payload.
    ///
    /// # Errors
    /// The first thing that is not as the specification, and the real module, have it.
    pub fn parse(bytes: &[u8]) -> Result<Self, Rejection> {
        Self::parse_payload(&Envelope::parse(bytes)?.payload)
    }

    pub(crate) fn parse_payload(payload: &[u8]) -> Result<Self, Rejection> {
        let mut fields = Fields::default();
        let mut reader = Reader::new(payload);
        let mut entries = reader.map("payload")?;
        let mut seen = BTreeSet::new();
        while reader.has_next(&mut entries)? {
            let key = reader.text("payload key")?;
            if !seen.insert(key.clone()) {
                return Err(Rejection::DuplicateKey { map: "payload", key });
            }
            fields.read(&key, &mut reader)?;
        }
        reader.finish()?;
        fields.complete()
    }

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

    /// Whether the registers are those of an enclave in debug mode: PCR0, PCR1 and PCR2 are zero.
    #[must_use]
    pub fn is_debug(&self) -> bool {
        self.claims.is_debug()
    }

    /// DER of the certificate whose key signed the document.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// DER of the authorities, root first.
    #[must_use]
    pub fn bundle(&self) -> &[Vec<u8>] {
        &self.bundle
    }

    pub(crate) fn into_claims(self) -> Claims {
        self.claims
    }
}

impl Claims {
    /// A register that is left out counts as zero: the safe side, and the real module lists all.
    pub(crate) fn is_debug(&self) -> bool {
        [0, 1, 2].iter().all(|index| self.pcrs.get(index).is_none_or(|value| *value == [0; 48]))
    }
}

/// The fields read so far.
#[derive(Debug, Default)]
struct Fields {
    module_id: Option<String>,
    digest: Option<()>,
    timestamp_ms: Option<u64>,
    pcrs: Option<BTreeMap<u8, PcrValue>>,
    certificate: Option<Vec<u8>>,
    bundle: Option<Vec<Vec<u8>>>,
    public_key: Option<Vec<u8>>,
    user_data: Option<Vec<u8>>,
    nonce: Option<Vec<u8>>,
}

impl Fields {
    /// Reads the value of `key`. A key that the specification does not list is refused: what it
    /// means, and so whether it may be passed over, is unknown.
    fn read(&mut self, key: &str, reader: &mut Reader<'_>) -> Result<(), Rejection> {
        match key {
            "module_id" => self.module_id = Some(read_module_id(reader)?),
            "digest" => self.digest = Some(read_digest(reader)?),
            "timestamp" => self.timestamp_ms = Some(read_timestamp(reader)?),
            "pcrs" => self.pcrs = Some(read_pcrs(reader)?),
            "certificate" => {
                self.certificate = Some(read_bytes(reader, limits::CERTIFICATE)?.into_owned());
            }
            "cabundle" => self.bundle = Some(read_bundle(reader)?),
            "public_key" => self.public_key = read_optional(reader, limits::PUBLIC_KEY)?,
            "user_data" => self.user_data = read_optional(reader, limits::USER_DATA)?,
            "nonce" => self.nonce = read_optional(reader, limits::NONCE)?,
            other => {
                return Err(Rejection::UnknownKey { map: "payload", key: other.to_owned() });
            }
        }
        Ok(())
    }

    fn complete(self) -> Result<AttestationDocument, Rejection> {
        let missing = |field| move || Rejection::MissingField { field };
        self.digest.ok_or_else(missing("digest"))?;
        Ok(AttestationDocument {
            claims: Claims {
                module_id: self.module_id.ok_or_else(missing("module_id"))?,
                timestamp_ms: self.timestamp_ms.ok_or_else(missing("timestamp"))?,
                pcrs: self.pcrs.ok_or_else(missing("pcrs"))?,
                public_key: self.public_key,
                user_data: self.user_data,
                nonce: self.nonce,
            },
            certificate: self.certificate.ok_or_else(missing("certificate"))?,
            bundle: self.bundle.ok_or_else(missing("cabundle"))?,
        })
    }
}

fn read_module_id(reader: &mut Reader<'_>) -> Result<String, Rejection> {
    let module_id = reader.text("module_id")?;
    limits::MODULE_ID.check(module_id.len())?;
    Ok(module_id)
}

fn read_digest(reader: &mut Reader<'_>) -> Result<(), Rejection> {
    match reader.text("digest")? {
        found if found == DIGEST => Ok(()),
        found => Err(Rejection::Digest { found }),
    }
}

fn read_timestamp(reader: &mut Reader<'_>) -> Result<u64, Rejection> {
    match reader.unsigned("timestamp")? {
        0 => Err(Rejection::TimestampZero),
        timestamp_ms => Ok(timestamp_ms),
    }
}

fn read_pcrs(reader: &mut Reader<'_>) -> Result<BTreeMap<u8, PcrValue>, Rejection> {
    let mut entries = reader.map("pcrs")?;
    let mut pcrs = BTreeMap::new();
    while reader.has_next(&mut entries)? {
        let found = reader.unsigned("pcrs index")?;
        let index = u8::try_from(found)
            .ok()
            .filter(|index| u64::from(*index) <= MAX_PCR_INDEX)
            .ok_or(Rejection::PcrIndex { found })?;
        let value = reader.bytes("pcrs value")?;
        // The length goes with the digest: 48 bytes are what SHA-384 gives.
        let value = PcrValue::try_from(value.as_ref())
            .map_err(|_| Rejection::PcrLength { index, found: value.len() })?;
        if pcrs.insert(index, value).is_some() {
            return Err(Rejection::DuplicateKey { map: "pcrs", key: index.to_string() });
        }
    }
    limits::PCRS.check(pcrs.len())?;
    Ok(pcrs)
}

fn read_bundle(reader: &mut Reader<'_>) -> Result<Vec<Vec<u8>>, Rejection> {
    let mut entries = reader.array("cabundle")?;
    let mut bundle = Vec::new();
    while reader.has_next(&mut entries)? {
        bundle.push(read_bytes(reader, limits::BUNDLE_ENTRY)?.into_owned());
    }
    limits::BUNDLE.check(bundle.len())?;
    Ok(bundle)
}

fn read_optional(reader: &mut Reader<'_>, limit: Limit) -> Result<Option<Vec<u8>>, Rejection> {
    if reader.optional_null()? {
        return Ok(None);
    }
    read_bytes(reader, limit).map(|bytes| Some(bytes.into_owned()))
}

fn read_bytes<'a>(reader: &mut Reader<'a>, limit: Limit) -> Result<Cow<'a, [u8]>, Rejection> {
    let bytes = reader.bytes(limit.field)?;
    limit.check(bytes.len())?;
    Ok(bytes)
}
