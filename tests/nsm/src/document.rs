//! Attestation documents, built field by field so that each can be bent.

use std::collections::BTreeMap;

use aws_nitro_enclaves_cose::CoseSign1;
use aws_nitro_enclaves_cose::header_map::HeaderMap;
use ciborium::Value;

use crate::signature::Sha384;
use crate::{Chain, DocumentKey, IssueError, PcrValue};

/// How the payload's map is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadMap {
    /// With its number of entries in front, as until the middle of 2025.
    Definite,
    /// With an end mark, as the module has done since August 2025.
    Indefinite,
}

/// An attestation document in the making.
///
/// [`Self::new`] gives what the real module would sign; every field can then be changed before
/// [`Self::sign`].
#[derive(Debug, Clone)]
pub struct DocumentBuilder {
    /// The payload's entries, in the order in which they are written.
    pub fields: Vec<(Value, Value)>,
    /// How the payload's map is encoded.
    pub payload_map: PayloadMap,
    /// The protected header; `{1: -35}` at first.
    pub protected: Vec<(Value, Value)>,
    /// The unprotected header; empty at first.
    pub unprotected: Vec<(Value, Value)>,
    /// Whether the document starts with the COSE_Sign1 tag (18); the real module's never does.
    pub tagged: bool,
}

impl DocumentBuilder {
    /// A document with the given registers and no public key, user data or nonce.
    ///
    /// `timestamp_ms` is in milliseconds since the Unix epoch. The fields stand in the order in
    /// which today's module writes them.
    #[must_use]
    pub fn new(
        module_id: &str,
        timestamp_ms: u64,
        pcrs: &BTreeMap<u8, PcrValue>,
        chain: &Chain,
    ) -> Self {
        let pcrs = pcrs
            .iter()
            .map(|(index, value)| (Value::from(*index), Value::Bytes(value.to_vec())))
            .collect();
        let bundle = chain.bundle.iter().cloned().map(Value::Bytes).collect();
        let fields = [
            ("module_id", Value::from(module_id)),
            ("digest", Value::from("SHA384")),
            ("timestamp", Value::from(timestamp_ms)),
            ("pcrs", Value::Map(pcrs)),
            ("certificate", Value::Bytes(chain.leaf.clone())),
            ("cabundle", Value::Array(bundle)),
            ("public_key", Value::Null),
            ("user_data", Value::Null),
            ("nonce", Value::Null),
        ];
        Self {
            fields: fields.into_iter().map(|(key, value)| (Value::from(key), value)).collect(),
            payload_map: PayloadMap::Indefinite,
            protected: vec![(Value::from(1), Value::from(-35))],
            unprotected: Vec::new(),
            tagged: false,
        }
    }

    /// Sets the field `key`, in its place when it is there already, else at the end.
    #[must_use]
    pub fn with(mut self, key: &str, value: Value) -> Self {
        let key = Value::from(key);
        match self.fields.iter_mut().find(|(name, _)| *name == key) {
            Some((_, old)) => *old = value,
            None => self.fields.push((key, value)),
        }
        self
    }

    /// Sets the field `key` to a byte string, or to null.
    #[must_use]
    pub fn with_bytes(self, key: &str, value: Option<&[u8]>) -> Self {
        self.with(key, value.map_or(Value::Null, |bytes| Value::Bytes(bytes.to_vec())))
    }

    /// Leaves the field `key` out.
    #[must_use]
    pub fn without(mut self, key: &str) -> Self {
        let key = Value::from(key);
        self.fields.retain(|(name, _)| *name != key);
        self
    }

    /// Signs with `key`: the bytes of a COSE_Sign1.
    ///
    /// # Errors
    /// When a value cannot be encoded or the signer fails.
    pub fn sign(&self, key: &DocumentKey) -> Result<Vec<u8>, IssueError> {
        let payload = self.payload()?;
        CoseSign1::new_with_protected::<Sha384>(
            &payload,
            &header(&self.protected),
            &header(&self.unprotected),
            key,
        )
        .and_then(|signed| signed.as_bytes(self.tagged))
        .map_err(|cause| IssueError::Sign { cause })
    }

    fn payload(&self) -> Result<Vec<u8>, IssueError> {
        if self.payload_map == PayloadMap::Definite {
            return encode("the payload", &Value::Map(self.fields.clone()));
        }
        // RFC 8949, section 3.2.2: 0xBF opens a map of indefinite length, 0xFF closes it.
        let mut payload = vec![0xBF];
        for (key, value) in &self.fields {
            payload.extend(encode("a field's name", key)?);
            payload.extend(encode("a field", value)?);
        }
        payload.push(0xFF);
        Ok(payload)
    }
}

fn header(entries: &[(Value, Value)]) -> HeaderMap {
    let mut header = HeaderMap::new();
    for (key, value) in entries {
        header.insert(key.clone(), value.clone());
    }
    header
}

fn encode(object: &'static str, value: &Value) -> Result<Vec<u8>, IssueError> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes)
        .map_err(|cause| IssueError::Encode { object, reason: cause.to_string() })?;
    Ok(bytes)
}
