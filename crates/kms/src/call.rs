//! Requests and answers of KMS's API (`TrentService`, JSON 1.1), for the calls that take a document.
//!
//! Shapes: KMS API Reference, `Decrypt`, `GenerateDataKey`, `GenerateRandom`, `RecipientInfo`.

use bailey_model::Base64Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The pairs that were given when something was encrypted, and must be given again.
pub type EncryptionContext = BTreeMap<String, String>;

/// How KMS is to encrypt the content's key.
const KEY_ALGORITHM: &str = "RSAES_OAEP_SHA_256";

/// Asks for the plaintext of a ciphertext.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Decrypt {
    /// What KMS encrypted, at most 6,144 bytes.
    pub ciphertext_blob: Base64Bytes,
    /// The key that it must have been encrypted with: id, ARN or alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// The encryption context.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub encryption_context: EncryptionContext,
}

/// Asks for a new symmetric key, in the clear and encrypted.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GenerateDataKey {
    /// The key to encrypt it with: id, ARN or alias.
    pub key_id: String,
    /// Its length in bytes, 1 to 1,024; 32 for AES-256.
    pub number_of_bytes: u16,
    /// The encryption context.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub encryption_context: EncryptionContext,
}

/// Asks for random bytes of KMS's.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GenerateRandom {
    /// How many, 1 to 1,024.
    pub number_of_bytes: u16,
}

/// A new key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DataKey {
    /// In the clear, for now.
    pub plaintext: crate::Secret,
    /// Encrypted by KMS, to be kept; [`Decrypt`] gives the plaintext again.
    pub ciphertext: Vec<u8>,
    /// The ARN of the key that encrypted it.
    pub key_id: String,
}

/// A call that takes an attestation document.
pub trait Call: Serialize {
    /// Its name in KMS's API.
    const ACTION: &'static str;
}

impl Call for Decrypt {
    const ACTION: &'static str = "Decrypt";
}

impl Call for GenerateDataKey {
    const ACTION: &'static str = "GenerateDataKey";
}

impl Call for GenerateRandom {
    const ACTION: &'static str = "GenerateRandom";
}

/// A request's body: the call, and for whom the answer is.
pub(crate) fn body<C: Call>(call: &C, document: Vec<u8>) -> Result<String, serde_json::Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Body<'a, C> {
        #[serde(flatten)]
        call: &'a C,
        recipient: Recipient,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Recipient {
        attestation_document: Base64Bytes,
        key_encryption_algorithm: &'static str,
    }
    let recipient = Recipient {
        attestation_document: document.into(),
        key_encryption_algorithm: KEY_ALGORITHM,
    };
    serde_json::to_string(&Body { call, recipient })
}

/// What KMS answers to a call with a document.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Answer {
    #[serde(default)]
    pub(crate) ciphertext_for_recipient: Option<Base64Bytes>,
    #[serde(default)]
    pub(crate) plaintext: Option<Base64Bytes>,
    #[serde(default)]
    pub(crate) ciphertext_blob: Option<Base64Bytes>,
    #[serde(default)]
    pub(crate) key_id: Option<String>,
}

/// What KMS answers when it refuses.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Refusal {
    #[serde(rename = "__type", default)]
    kind: String,
    #[serde(alias = "Message", default)]
    pub(crate) message: String,
}

impl Refusal {
    /// The error's name, without the namespace before it.
    pub(crate) fn code(&self) -> &str {
        self.kind.rsplit('#').next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn value<C: Call>(call: &C) -> Value {
        serde_json::from_str(&body(call, vec![1, 2, 3]).unwrap()).unwrap()
    }

    #[test]
    fn requests_have_the_shape_of_the_api() {
        let recipient =
            json!({"AttestationDocument": "AQID", "KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256"});
        let decrypt = Decrypt {
            ciphertext_blob: vec![255].into(),
            key_id: None,
            encryption_context: EncryptionContext::from([("a".into(), "b".into())]),
        };
        assert_eq!(
            value(&decrypt),
            json!({"CiphertextBlob": "/w==", "EncryptionContext": {"a": "b"}, "Recipient": recipient})
        );
        let key = GenerateDataKey {
            key_id: "alias/x".into(),
            number_of_bytes: 32,
            encryption_context: EncryptionContext::new(),
        };
        assert_eq!(
            value(&key),
            json!({"KeyId": "alias/x", "NumberOfBytes": 32, "Recipient": recipient})
        );
        assert_eq!(
            value(&GenerateRandom { number_of_bytes: 5 }),
            json!({"NumberOfBytes": 5, "Recipient": recipient})
        );
    }

    #[test]
    fn a_refusal_has_its_code_without_namespace() {
        let text = r#"{"__type":"com.amazonaws.kms#AccessDeniedException","Message":"no"}"#;
        let refusal: Refusal = serde_json::from_str(text).unwrap();
        assert_eq!((refusal.code(), refusal.message.as_str()), ("AccessDeniedException", "no"));
    }
}
