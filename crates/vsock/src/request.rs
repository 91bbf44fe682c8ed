//! What the parent asks.

use crate::PROTOCOL_VERSION;
use bailey_model::{Base64Bytes, EnclaveId, Generation, binding};
use serde::{Deserialize, Serialize};

/// The longest nonce, in bytes: what AWS's description of attestation documents allows.
pub const MAX_NONCE_LEN: usize = 512;

/// A request for a fresh attestation document on behalf of one assignment.
///
/// On the wire: `{"version":1,"enclave_id":"…","generation":3,"nonce":"<base64>"}`.
///
/// A document's `public_key` is not the parent's to choose: whoever trusts the measurements, such as
/// a key management service that answers to it, would take the parent's key for the enclave's. So it
/// cannot be asked for here.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub struct AttestRequest {
    enclave_id: EnclaveId,
    generation: Generation,
    nonce: Base64Bytes,
}

impl AttestRequest {
    /// A request with a nonce of 1 to [`MAX_NONCE_LEN`] bytes.
    pub fn new(
        enclave_id: EnclaveId,
        generation: Generation,
        nonce: Vec<u8>,
    ) -> Result<Self, RequestError> {
        match nonce.len() {
            1..=MAX_NONCE_LEN => Ok(Self { enclave_id, generation, nonce: nonce.into() }),
            length => Err(RequestError::NonceLength { length }),
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
}

impl TryFrom<Wire> for AttestRequest {
    type Error = RequestError;

    fn try_from(wire: Wire) -> Result<Self, RequestError> {
        if wire.version != PROTOCOL_VERSION {
            return Err(RequestError::Version { found: wire.version });
        }
        Self::new(wire.enclave_id, wire.generation, wire.nonce.0)
    }
}

impl From<AttestRequest> for Wire {
    fn from(request: AttestRequest) -> Self {
        Self {
            version: PROTOCOL_VERSION,
            enclave_id: request.enclave_id,
            generation: request.generation,
            nonce: request.nonce,
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
    fn nonces_beyond_the_limits_are_refused() {
        assert!(matches!(request(b""), Err(RequestError::NonceLength { length: 0 })));
        assert!(matches!(request(&[0; 513]), Err(RequestError::NonceLength { length: 513 })));
        let largest = request(&[0; 512]).unwrap().to_json().unwrap();
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
        fn requests_survive_the_wire(
            generation in any::<u64>(),
            nonce in prop::collection::vec(any::<u8>(), 1..512),
        ) {
            let id: EnclaveId = "enc_1".parse().unwrap();
            let request = AttestRequest::new(id, Generation(generation), nonce).unwrap();
            prop_assert_eq!(AttestRequest::parse(&request.to_json().unwrap()).unwrap(), request);
        }

        #[test]
        fn no_bytes_make_the_parser_panic(body in prop::collection::vec(any::<u8>(), 0..256)) {
            let _ = AttestRequest::parse(&body);
        }
    }
}
