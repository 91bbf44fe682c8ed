//! From a request's body to an answer.

use super::{
    keys::{Context, Key},
    seal::seal,
};
use aws_lc_rs::rand;
use bailey_attestation::{
    BytesRule, DebugRule, ModuleIdRule, Policy, TrustedRoots, VerifiedDocument, VerifyTime, verify,
};
use bailey_model::Base64Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

/// KMS takes no document that is older.
const MAX_AGE_MS: u64 = 5 * 60_000;

/// KMS's keys, and the root under which documents are believed.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) keys: Vec<Key>,
    pub(super) roots: TrustedRoots,
}

/// An error of KMS's API.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// Its name.
    pub code: &'static str,
    /// What is said about it.
    pub message: String,
}

fn refusal(code: &'static str, message: impl Into<String>) -> Refusal {
    Refusal { code, message: message.into() }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Body {
    ciphertext_blob: Option<Base64Bytes>,
    key_id: Option<String>,
    number_of_bytes: Option<usize>,
    #[serde(default)]
    encryption_context: Context,
    recipient: Recipient,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Recipient {
    attestation_document: Base64Bytes,
    key_encryption_algorithm: String,
}

impl Service {
    /// Answers one call.
    pub(super) fn answer(&self, action: &str, body: &[u8], now_ms: u64) -> Result<Value, Refusal> {
        let body: Body = serde_json::from_slice(body)
            .map_err(|err| refusal("SerializationException", err.to_string()))?;
        if body.recipient.key_encryption_algorithm != "RSAES_OAEP_SHA_256" {
            return Err(refusal("ValidationException", "no such key encryption algorithm"));
        }
        let document = self.document(&body.recipient.attestation_document.0, now_ms)?;
        let public_key = document.public_key().unwrap_or_default();
        let sealed = |plaintext: &[u8]| {
            let sealed = seal(public_key, plaintext);
            let sealed = sealed.map_err(|_| refusal("ValidationException", "no RSA public key"))?;
            Ok(Base64Bytes(sealed).to_base64())
        };
        match action {
            "Decrypt" => {
                let (key, plaintext) = self.decrypt(&body, &document)?;
                Ok(json!({
                    "KeyId": key.arn(),
                    "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
                    "CiphertextForRecipient": sealed(&plaintext)?,
                }))
            }
            "GenerateDataKey" => {
                let key = self.key(body.key_id.as_deref())?;
                allowed(key, action, &document)?;
                let plaintext = random(body.number_of_bytes)?;
                let kept = key.encrypt(&plaintext, &body.encryption_context);
                let kept = kept.map_err(|_| refusal("KMSInternalException", "encryption"))?;
                Ok(json!({
                    "KeyId": key.arn(),
                    "CiphertextBlob": Base64Bytes(kept),
                    "CiphertextForRecipient": sealed(&plaintext)?,
                }))
            }
            "GenerateRandom" => {
                Ok(json!({"CiphertextForRecipient": sealed(&random(body.number_of_bytes)?)?}))
            }
            _ => Err(refusal("UnknownOperationException", action)),
        }
    }

    fn document(&self, bytes: &[u8], now_ms: u64) -> Result<VerifiedDocument, Refusal> {
        let policy = Policy {
            roots: self.roots.clone(),
            time: VerifyTime::At(now_ms),
            skew_ms: 60_000,
            max_age_ms: Some(MAX_AGE_MS),
            issued_at_ms: None,
            nonce: BytesRule::Any,
            user_data: BytesRule::Any,
            public_key: BytesRule::Any,
            module_id: ModuleIdRule::Any,
            instance: None,
            debug: DebugRule::Allow,
            pcrs: Vec::new(),
        };
        verify(bytes, &policy).result.map_err(|err| refusal("ValidationException", err.to_string()))
    }

    fn decrypt(
        &self,
        body: &Body,
        document: &VerifiedDocument,
    ) -> Result<(&Key, Vec<u8>), Refusal> {
        let blob = body.ciphertext_blob.as_ref().map_or(&[][..], |blob| blob.as_slice());
        let read = |key: &Key| key.decrypt(blob, &body.encryption_context);
        let found = self.keys.iter().find_map(|key| Some((key, read(key)?)));
        let invalid = || refusal("InvalidCiphertextException", "");
        let (key, plaintext) = found.ok_or_else(invalid)?;
        if body.key_id.as_ref().is_some_and(|wanted| wanted != key.arn()) {
            return Err(refusal("IncorrectKeyException", "another key encrypted it"));
        }
        allowed(key, "Decrypt", document)?;
        Ok((key, plaintext))
    }

    fn key(&self, arn: Option<&str>) -> Result<&Key, Refusal> {
        let found = self.keys.iter().find(|key| Some(key.arn()) == arn);
        found.ok_or_else(|| refusal("NotFoundException", format!("no key {arn:?}")))
    }
}

fn allowed(key: &Key, action: &str, document: &VerifiedDocument) -> Result<(), Refusal> {
    if key.allows(action, document) {
        return Ok(());
    }
    let message = format!("kms:{action} on {} is not allowed by its policy", key.arn());
    Err(refusal("AccessDeniedException", message))
}

fn random(length: Option<usize>) -> Result<Vec<u8>, Refusal> {
    let length = length.filter(|length| (1..=1_024).contains(length));
    let length = length.ok_or_else(|| refusal("ValidationException", "NumberOfBytes"))?;
    let mut bytes = vec![0; length];
    rand::fill(&mut bytes).map_err(|_| refusal("KMSInternalException", "random numbers"))?;
    Ok(bytes)
}
