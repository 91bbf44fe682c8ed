//! What a workload asks its own `keep`.

use crate::PROTOCOL_VERSION;
use bailey_model::Base64Bytes;
use serde::{Deserialize, Serialize};

/// The longest public key, in bytes: what NSM signs.
pub const MAX_PUBLIC_KEY_LEN: usize = 1024;

/// The longest nonce and the longest user data of a workload's document, in bytes: what NSM signs.
pub const MAX_DOCUMENT_FIELD_LEN: usize = 1024;

/// A workload's request for a document that vouches for a key of its own.
///
/// On the wire:
/// `{"version":1,"public_key":"<base64>","nonce":"<base64>","user_data":"<base64>"}`, of which the last
/// two may be left out. The answer is an [`AttestResponse`](crate::AttestResponse).
///
/// The key is what tells these documents from those that a parent asks for
/// ([`AttestRequest`](crate::AttestRequest)): a document without one is never made here, one with a key is
/// never made there, and whoever expects one kind refuses the other. So it has 1 byte at least, for an
/// empty key reads like none.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub struct DocumentRequest {
    public_key: Base64Bytes,
    nonce: Option<Base64Bytes>,
    user_data: Option<Base64Bytes>,
}

impl DocumentRequest {
    /// A request for a document with this key: 1 to [`MAX_PUBLIC_KEY_LEN`] bytes in any form, for example
    /// the DER of a `SubjectPublicKeyInfo`.
    pub fn new(public_key: impl Into<Vec<u8>>) -> Result<Self, DocumentRequestError> {
        let public_key = bounded(DocumentField::PublicKey, public_key.into())?;
        Ok(Self { public_key, nonce: None, user_data: None })
    }

    /// With the nonce of whoever is to be convinced: 1 to [`MAX_DOCUMENT_FIELD_LEN`] bytes.
    pub fn with_nonce(self, nonce: impl Into<Vec<u8>>) -> Result<Self, DocumentRequestError> {
        let nonce = Some(bounded(DocumentField::Nonce, nonce.into())?);
        Ok(Self { nonce, ..self })
    }

    /// With other data that the document is to vouch for: 1 to [`MAX_DOCUMENT_FIELD_LEN`] bytes.
    pub fn with_user_data(
        self,
        user_data: impl Into<Vec<u8>>,
    ) -> Result<Self, DocumentRequestError> {
        let user_data = Some(bounded(DocumentField::UserData, user_data.into())?);
        Ok(Self { user_data, ..self })
    }

    /// Reads a frame's body.
    pub fn parse(body: &[u8]) -> Result<Self, DocumentRequestError> {
        let wire: Wire = serde_json::from_slice(body).map_err(DocumentRequestError::Json)?;
        Self::try_from(wire)
    }

    /// The frame's body.
    pub fn to_json(&self) -> Result<Vec<u8>, DocumentRequestError> {
        serde_json::to_vec(self).map_err(DocumentRequestError::Json)
    }

    /// The key, 1 to [`MAX_PUBLIC_KEY_LEN`] bytes.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        self.public_key.as_slice()
    }

    /// The nonce, 1 to [`MAX_DOCUMENT_FIELD_LEN`] bytes.
    #[must_use]
    pub fn nonce(&self) -> Option<&[u8]> {
        self.nonce.as_ref().map(Base64Bytes::as_slice)
    }

    /// The other data, 1 to [`MAX_DOCUMENT_FIELD_LEN`] bytes.
    #[must_use]
    pub fn user_data(&self) -> Option<&[u8]> {
        self.user_data.as_ref().map(Base64Bytes::as_slice)
    }
}

fn bounded(field: DocumentField, bytes: Vec<u8>) -> Result<Base64Bytes, DocumentRequestError> {
    match bytes.len() {
        length if (1..=field.longest()).contains(&length) => Ok(bytes.into()),
        length => Err(DocumentRequestError::Length { field, length }),
    }
}

/// Members that are not known are refused: a misspelt nonce would else be left out in silence.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    version: u32,
    public_key: Base64Bytes,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nonce: Option<Base64Bytes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_data: Option<Base64Bytes>,
}

impl TryFrom<Wire> for DocumentRequest {
    type Error = DocumentRequestError;

    fn try_from(wire: Wire) -> Result<Self, DocumentRequestError> {
        if wire.version != PROTOCOL_VERSION {
            return Err(DocumentRequestError::Version { found: wire.version });
        }
        let mut request = Self::new(wire.public_key.0)?;
        if let Some(nonce) = wire.nonce {
            request = request.with_nonce(nonce.0)?;
        }
        if let Some(user_data) = wire.user_data {
            request = request.with_user_data(user_data.0)?;
        }
        Ok(request)
    }
}

impl From<DocumentRequest> for Wire {
    fn from(request: DocumentRequest) -> Self {
        let DocumentRequest { public_key, nonce, user_data } = request;
        Self { version: PROTOCOL_VERSION, public_key, nonce, user_data }
    }
}

/// A field of a document that a workload fills.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DocumentField {
    /// `nonce`.
    Nonce,
    /// `public_key`.
    PublicKey,
    /// `user_data`.
    UserData,
}

impl DocumentField {
    /// The most that it takes, in bytes.
    #[must_use]
    pub fn longest(self) -> usize {
        match self {
            Self::PublicKey => MAX_PUBLIC_KEY_LEN,
            Self::Nonce | Self::UserData => MAX_DOCUMENT_FIELD_LEN,
        }
    }
}

impl std::fmt::Display for DocumentField {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Nonce => "nonce",
            Self::PublicKey => "public_key",
            Self::UserData => "user_data",
        })
    }
}

/// Why a request cannot be made or understood.
#[derive(Debug, thiserror::Error)]
pub enum DocumentRequestError {
    /// The body is not the JSON of a request.
    #[error("the request is not the expected JSON")]
    Json(#[source] serde_json::Error),
    /// A field is empty or too long.
    #[error("{field} has {length} bytes, allowed are 1 to {}", field.longest())]
    Length {
        /// The field.
        field: DocumentField,
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
    use crate::{AttestRequest, MAX_REQUEST_LEN};
    use bailey_model::Generation;
    use proptest::prelude::*;

    #[test]
    fn the_wire_form_is_the_documented_one() {
        let key_only = DocumentRequest::new(*b"key").unwrap();
        let text =
            |request: &DocumentRequest| String::from_utf8(request.to_json().unwrap()).unwrap();
        assert_eq!(text(&key_only), r#"{"version":1,"public_key":"a2V5"}"#);
        let full = key_only.with_nonce(*b"nonce").unwrap().with_user_data(*b"data").unwrap();
        assert_eq!(
            text(&full),
            r#"{"version":1,"public_key":"a2V5","nonce":"bm9uY2U=","user_data":"ZGF0YQ=="}"#
        );
    }

    #[test]
    fn every_field_has_a_byte_at_least_and_1024_at_most() {
        let key = || DocumentRequest::new(*b"key").unwrap();
        for length in [0, 1_025] {
            let bytes = vec![7; length];
            let errors = [
                ("public_key", DocumentRequest::new(bytes.clone()).unwrap_err()),
                ("nonce", key().with_nonce(bytes.clone()).unwrap_err()),
                ("user_data", key().with_user_data(bytes).unwrap_err()),
            ];
            for (field, error) in errors {
                let expected = format!("{field} has {length} bytes, allowed are 1 to 1024");
                assert_eq!(error.to_string(), expected);
            }
        }
        let longest = vec![7; 1_024];
        let largest = DocumentRequest::new(longest.clone()).unwrap();
        let largest = largest.with_nonce(longest.clone()).unwrap().with_user_data(longest).unwrap();
        assert!(largest.to_json().unwrap().len() < MAX_REQUEST_LEN);
    }

    /// Each could else be answered by a document of the other kind.
    #[test]
    fn neither_kind_of_request_is_taken_for_the_other() {
        let parents = AttestRequest::new("enc_1".parse().unwrap(), Generation(1), vec![7]).unwrap();
        let err = DocumentRequest::parse(&parents.to_json().unwrap()).unwrap_err();
        assert!(matches!(err, DocumentRequestError::Json(_)), "{err:?}");
        let workloads = DocumentRequest::new(*b"key").unwrap().with_nonce(*b"nonce").unwrap();
        assert!(AttestRequest::parse(&workloads.to_json().unwrap()).is_err());
    }

    #[test]
    fn a_request_without_a_key_and_one_with_a_misspelt_member_are_refused() {
        for body in [
            r#"{"version":1}"#,
            r#"{"version":1,"public_key":null}"#,
            r#"{"version":1,"nonce":"bm9uY2U="}"#,
            r#"{"version":1,"public_key":"a2V5","nonse":"bm9uY2U="}"#,
        ] {
            let err = DocumentRequest::parse(body.as_bytes()).unwrap_err();
            assert!(matches!(err, DocumentRequestError::Json(_)), "{body}: {err:?}");
        }
        let empty = DocumentRequest::parse(br#"{"version":1,"public_key":""}"#).unwrap_err();
        assert!(matches!(
            empty,
            DocumentRequestError::Length { field: DocumentField::PublicKey, length: 0 }
        ));
    }

    #[test]
    fn another_version_is_named_in_the_error() {
        let err = DocumentRequest::parse(br#"{"version":2,"public_key":"a2V5"}"#).unwrap_err();
        assert_eq!(err.to_string(), "protocol version 2 is not supported, 1 is");
    }

    proptest! {
        #[test]
        fn requests_survive_the_wire(
            public_key in prop::collection::vec(any::<u8>(), 1..=1_024),
            nonce in prop::option::of(prop::collection::vec(any::<u8>(), 1..=1_024)),
            user_data in prop::option::of(prop::collection::vec(any::<u8>(), 1..=1_024)),
        ) {
            let mut request = DocumentRequest::new(public_key).unwrap();
            if let Some(nonce) = nonce {
                request = request.with_nonce(nonce).unwrap();
            }
            if let Some(user_data) = user_data {
                request = request.with_user_data(user_data).unwrap();
            }
            prop_assert_eq!(DocumentRequest::parse(&request.to_json().unwrap()).unwrap(), request);
        }

        #[test]
        fn no_bytes_make_the_parser_panic(body in prop::collection::vec(any::<u8>(), 0..256)) {
            let _ = DocumentRequest::parse(&body);
        }
    }
}
