//! What the parent asks.

use crate::PROTOCOL_VERSION;
use bailey_model::{Base64Bytes, EnclaveId, Generation, binding};
use serde::{Deserialize, Serialize};

/// The longest nonce, in bytes: what AWS's description of attestation documents allows.
pub const MAX_NONCE_LEN: usize = 512;

/// The longest public key, in bytes: what AWS's description of attestation documents allows.
pub const MAX_PUBLIC_KEY_LEN: usize = 1024;

/// A request for a fresh attestation document on behalf of one assignment.
///
/// On the wire: `{"version":1,"enclave_id":"…","generation":3,"nonce":"<base64>",
/// "public_key":"<base64>"}`, the key being optional.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub struct AttestRequest {
    enclave_id: EnclaveId,
    generation: Generation,
    nonce: Base64Bytes,
    public_key: Option<Base64Bytes>,
}

impl AttestRequest {
    /// A request with a nonce of 1 to [`MAX_NONCE_LEN`] bytes and no public key.
    pub fn new(
        enclave_id: EnclaveId,
        generation: Generation,
        nonce: Vec<u8>,
    ) -> Result<Self, RequestError> {
        match nonce.len() {
            1..=MAX_NONCE_LEN => {
                Ok(Self { enclave_id, generation, nonce: nonce.into(), public_key: None })
            }
            length => Err(RequestError::NonceLength { length }),
        }
    }

    /// The same with a public key of at most [`MAX_PUBLIC_KEY_LEN`] bytes to put in the document.
    pub fn with_public_key(self, public_key: Vec<u8>) -> Result<Self, RequestError> {
        match public_key.len() {
            1..=MAX_PUBLIC_KEY_LEN => Ok(Self { public_key: Some(public_key.into()), ..self }),
            length => Err(RequestError::PublicKeyLength { length }),
        }
    }

    /// Reads a frame's body.
    pub fn parse(body: &[u8]) -> Result<Self, RequestError> {
        let wire: Wire = serde_json::from_slice(body).map_err(RequestError::Json)?;
        Self::try_from(wire)
    }

    /// The frame's body.
    pub fn to_json(&self) -> Result<Vec<u8>, RequestError> {
        serde_json::to_vec(self).map_err(RequestError::Json)
    }

    /// The enclave that is asked.
    #[must_use]
    pub fn enclave_id(&self) -> &EnclaveId {
        &self.enclave_id
    }

    /// The generation of the assignment.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The nonce, 1 to [`MAX_NONCE_LEN`] bytes.
    #[must_use]
    pub fn nonce(&self) -> &[u8] {
        self.nonce.as_slice()
    }

    /// The public key to put in the document.
    #[must_use]
    pub fn public_key(&self) -> Option<&[u8]> {
        self.public_key.as_ref().map(Base64Bytes::as_slice)
    }

    /// What the document's `user_data` must hold for this request.
    #[must_use]
    pub fn user_data(&self) -> [u8; 48] {
        binding::user_data(self.enclave_id.as_str(), self.generation.0, self.nonce())
    }
}

#[derive(Deserialize, Serialize)]
struct Wire {
    version: u32,
    enclave_id: EnclaveId,
    generation: Generation,
    nonce: Base64Bytes,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    public_key: Option<Base64Bytes>,
}

impl TryFrom<Wire> for AttestRequest {
    type Error = RequestError;

    fn try_from(wire: Wire) -> Result<Self, RequestError> {
        if wire.version != PROTOCOL_VERSION {
            return Err(RequestError::Version { found: wire.version });
        }
        let request = Self::new(wire.enclave_id, wire.generation, wire.nonce.0)?;
        match wire.public_key {
            Some(key) => request.with_public_key(key.0),
            None => Ok(request),
        }
    }
}

impl From<AttestRequest> for Wire {
    fn from(request: AttestRequest) -> Self {
        Self {
            version: PROTOCOL_VERSION,
            enclave_id: request.enclave_id,
            generation: request.generation,
            nonce: request.nonce,
            public_key: request.public_key,
        }
    }
}

/// Why a request cannot be made or understood.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The body is not the JSON of a request.
    #[error("the request is not the expected JSON")]
    Json(#[source] serde_json::Error),
    /// The nonce is empty or too long.
    #[error("the nonce has {length} bytes, allowed are 1 to {MAX_NONCE_LEN}")]
    NonceLength {
        /// The length found, in bytes.
        length: usize,
    },
    /// The public key is empty or too long.
    #[error("the public key has {length} bytes, allowed are 1 to {MAX_PUBLIC_KEY_LEN}")]
    PublicKeyLength {
        /// The length found, in bytes.
        length: usize,
    },
    /// The request speaks another version of the protocol.
    #[error("protocol version {found} is not supported, {PROTOCOL_VERSION} is")]
    Version {
        /// The version found.
        found: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(nonce: &[u8]) -> Result<AttestRequest, RequestError> {
        AttestRequest::new("enc_1".parse().unwrap(), Generation(3), nonce.to_vec())
    }

    #[test]
    fn the_wire_form_is_the_documented_one() {
        let json = request(b"nonce").unwrap().to_json().unwrap();
        assert_eq!(
            String::from_utf8(json).unwrap(),
            r#"{"version":1,"enclave_id":"enc_1","generation":3,"nonce":"bm9uY2U="}"#
        );
    }

    #[test]
    fn the_binding_covers_enclave_generation_and_nonce() {
        let request = request(b"nonce").unwrap();
        assert_eq!(request.user_data(), binding::user_data("enc_1", 3, b"nonce"));
    }

    #[test]
    fn nonces_and_keys_beyond_the_limits_are_refused() {
        assert!(matches!(request(b""), Err(RequestError::NonceLength { length: 0 })));
        assert!(matches!(request(&[0; 513]), Err(RequestError::NonceLength { length: 513 })));
        let with_key = |length| request(&[0; 512]).unwrap().with_public_key(vec![0; length]);
        assert!(matches!(with_key(1025), Err(RequestError::PublicKeyLength { length: 1025 })));
        let largest = with_key(1024).unwrap().to_json().unwrap();
        assert!(largest.len() < crate::MAX_REQUEST_LEN);
    }

    #[test]
    fn another_version_is_named_in_the_error() {
        let body = br#"{"version":2,"enclave_id":"enc_1","generation":3,"nonce":"bm9uY2U="}"#;
        let err = AttestRequest::parse(body).unwrap_err();
        assert_eq!(err.to_string(), "protocol version 2 is not supported, 1 is");
    }

    proptest! {
        #[test]
        fn requests_survive_the_wire(generation in any::<u64>(), nonce in prop::collection::vec(any::<u8>(), 1..512), key in prop::option::of(prop::collection::vec(any::<u8>(), 1..64))) {
            let id: EnclaveId = "enc_1".parse().unwrap();
            let mut request = AttestRequest::new(id, Generation(generation), nonce).unwrap();
            if let Some(key) = key {
                request = request.with_public_key(key).unwrap();
            }
            prop_assert_eq!(AttestRequest::parse(&request.to_json().unwrap()).unwrap(), request);
        }

        #[test]
        fn no_bytes_make_the_parser_panic(body in prop::collection::vec(any::<u8>(), 0..256)) {
            let _ = AttestRequest::parse(&body);
        }
    }
}
