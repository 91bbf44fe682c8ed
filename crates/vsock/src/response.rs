//! What the enclave answers.

use crate::PROTOCOL_VERSION;
use bailey_model::Base64Bytes;
use serde::{Deserialize, Serialize};

/// The answer to an [`AttestRequest`](crate::AttestRequest), or to a [`DocumentRequest`](crate::DocumentRequest).
///
/// On the wire: `{"version":1,"document":"<base64 of a COSE_Sign1>"}` or
/// `{"version":1,"error":{"code":"…","message":"…"}}`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub enum AttestResponse {
    /// A fresh attestation document, as NSM encoded it.
    Document(Vec<u8>),
    /// The enclave made none, and says why.
    Refused(Refusal),
}

/// Why the enclave made no document.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, thiserror::Error)]
#[error("the enclave refused ({code}): {message}")]
pub struct Refusal {
    /// The kind of refusal.
    pub code: RefusalCode,
    /// The reason in words, for people.
    pub message: String,
}

/// The kinds of refusal.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum RefusalCode {
    /// The enclave already answers for another enclave id or generation. Not said to a workload.
    IdentityPinned,
    /// The request is malformed or beyond a limit.
    InvalidRequest,
    /// NSM made no document; asking again may help.
    NsmFailed,
}

impl AttestResponse {
    /// A refusal.
    #[must_use]
    pub fn refused(code: RefusalCode, message: impl Into<String>) -> Self {
        Self::Refused(Refusal { code, message: message.into() })
    }

    /// Reads a frame's body.
    pub fn parse(body: &[u8]) -> Result<Self, ResponseError> {
        let wire: Wire = serde_json::from_slice(body).map_err(ResponseError::Json)?;
        Self::try_from(wire)
    }

    /// The frame's body.
    pub fn to_json(&self) -> Result<Vec<u8>, ResponseError> {
        serde_json::to_vec(self).map_err(ResponseError::Json)
    }

    /// The document, or the refusal as an error.
    pub fn into_document(self) -> Result<Vec<u8>, Refusal> {
        match self {
            Self::Document(document) => Ok(document),
            Self::Refused(refusal) => Err(refusal),
        }
    }
}

impl std::fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::IdentityPinned => "IdentityPinned",
            Self::InvalidRequest => "InvalidRequest",
            Self::NsmFailed => "NsmFailed",
        })
    }
}

#[derive(Deserialize, Serialize)]
struct Wire {
    version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    document: Option<Base64Bytes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<Refusal>,
}

impl TryFrom<Wire> for AttestResponse {
    type Error = ResponseError;

    fn try_from(wire: Wire) -> Result<Self, ResponseError> {
        if wire.version != PROTOCOL_VERSION {
            return Err(ResponseError::Version { found: wire.version });
        }
        match (wire.document, wire.error) {
            (Some(document), None) => Ok(Self::Document(document.0)),
            (None, Some(refusal)) => Ok(Self::Refused(refusal)),
            (Some(_), Some(_)) => Err(ResponseError::Both),
            (None, None) => Err(ResponseError::Neither),
        }
    }
}

impl From<AttestResponse> for Wire {
    fn from(response: AttestResponse) -> Self {
        let (document, error) = match response {
            AttestResponse::Document(document) => (Some(document.into()), None),
            AttestResponse::Refused(refusal) => (None, Some(refusal)),
        };
        Self { version: PROTOCOL_VERSION, document, error }
    }
}

/// Why a response cannot be made or understood.
#[derive(Debug, thiserror::Error)]
pub enum ResponseError {
    /// The response holds a document and an error.
    #[error("the response holds both a document and an error")]
    Both,
    /// The body is not the JSON of a response.
    #[error("the response is not the expected JSON")]
    Json(#[source] serde_json::Error),
    /// The response holds neither a document nor an error.
    #[error("the response holds neither a document nor an error")]
    Neither,
    /// The response speaks another version of the protocol.
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

    #[test]
    fn the_wire_forms_are_the_documented_ones() {
        let text =
            |response: AttestResponse| String::from_utf8(response.to_json().unwrap()).unwrap();
        assert_eq!(
            text(AttestResponse::Document(vec![0x84])),
            r#"{"version":1,"document":"hA=="}"#
        );
        assert_eq!(
            text(AttestResponse::refused(RefusalCode::NsmFailed, "no entropy")),
            r#"{"version":1,"error":{"code":"NsmFailed","message":"no entropy"}}"#
        );
    }

    #[test]
    fn a_response_is_a_document_or_an_error_and_never_both_or_neither() {
        let both = br#"{"version":1,"document":"hA==","error":{"code":"NsmFailed","message":""}}"#;
        assert!(matches!(AttestResponse::parse(both), Err(ResponseError::Both)));
        let neither = br#"{"version":1}"#;
        assert!(matches!(AttestResponse::parse(neither), Err(ResponseError::Neither)));
    }

    #[test]
    fn another_version_is_refused() {
        let body = br#"{"version":7,"document":"hA=="}"#;
        let err = AttestResponse::parse(body).unwrap_err();
        assert!(matches!(err, ResponseError::Version { found: 7 }));
    }

    #[test]
    fn a_refusal_reads_as_an_error() {
        let response = AttestResponse::refused(RefusalCode::IdentityPinned, "pinned to enc_1");
        let refusal = response.into_document().unwrap_err();
        assert_eq!(refusal.to_string(), "the enclave refused (IdentityPinned): pinned to enc_1");
    }

    proptest! {
        #[test]
        fn documents_survive_the_wire(document in prop::collection::vec(any::<u8>(), 0..2048)) {
            let response = AttestResponse::Document(document);
            let body = response.to_json().unwrap();
            prop_assert_eq!(AttestResponse::parse(&body).unwrap(), response);
        }

        #[test]
        fn no_bytes_make_the_parser_panic(body in prop::collection::vec(any::<u8>(), 0..256)) {
            let _ = AttestResponse::parse(&body);
        }
    }
}
