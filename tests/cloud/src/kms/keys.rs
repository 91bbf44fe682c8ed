//! Keys, their policies, and what they encrypt.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use bailey_attestation::VerifiedDocument;
use serde_json::Value;
use std::{collections::BTreeMap, fmt};

/// A symmetric key with a policy of one statement.
pub struct Key {
    arn: String,
    cipher: RandomizedNonceKey,
    /// As `bailey image kms-policy` prints it.
    statement: Value,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("arn", &self.arn).finish_non_exhaustive()
    }
}

/// The pairs that belong to a ciphertext.
pub type Context = BTreeMap<String, String>;

impl Key {
    /// A key of these 32 bytes with a policy that allows nobody anything yet.
    ///
    /// # Errors
    /// The bytes are not 32.
    pub fn new(arn: &str, bytes: &[u8]) -> Result<Self, aws_lc_rs::error::Unspecified> {
        let cipher = RandomizedNonceKey::new(&AES_256_GCM, bytes)?;
        Ok(Self { arn: arn.to_owned(), cipher, statement: Value::Null })
    }

    /// The same key with this statement as its policy.
    #[must_use]
    pub fn with_statement(self, statement: Value) -> Self {
        Self { statement, ..self }
    }

    /// Its name.
    #[must_use]
    pub fn arn(&self) -> &str {
        &self.arn
    }

    /// What this key alone decrypts, and only with the same context.
    ///
    /// # Errors
    /// The library failed.
    pub fn encrypt(
        &self,
        plaintext: &[u8],
        context: &Context,
    ) -> Result<Vec<u8>, aws_lc_rs::error::Unspecified> {
        let mut bytes = plaintext.to_vec();
        let nonce = self.cipher.seal_in_place_append_tag(Aad::from(aad(context)), &mut bytes)?;
        Ok([nonce.as_ref().as_slice(), &bytes].concat())
    }

    pub(super) fn decrypt(&self, ciphertext: &[u8], context: &Context) -> Option<Vec<u8>> {
        let (nonce, bytes) = ciphertext.split_at_checked(NONCE_LEN)?;
        let mut bytes = bytes.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let plaintext =
            self.cipher.open_in_place(nonce, Aad::from(aad(context)), &mut bytes).ok()?;
        Some(plaintext.to_vec())
    }

    /// Whether the policy allows the action to an enclave with this document (KMS Developer Guide,
    /// "Condition keys for Nitro Enclaves"): every condition's register has to have its value.
    pub(super) fn allows(&self, action: &str, document: &VerifiedDocument) -> bool {
        let statement = &self.statement;
        let at = |pointer: &str| statement.pointer(pointer);
        let has_action = at("/Action")
            .and_then(Value::as_array)
            .is_some_and(|all| all.iter().any(|one| *one == format!("kms:{action}")));
        let conditions = at("/Condition/StringEqualsIgnoreCase").and_then(Value::as_object);
        let are_met = conditions.is_some_and(|all| {
            !all.is_empty()
                && all.iter().all(|(name, wanted)| {
                    let register = register(name).and_then(|index| document.pcrs().get(&index));
                    let shown = register.map(hex::encode);
                    let wanted = wanted.as_str();
                    wanted.zip(shown).is_some_and(|(one, other)| one.eq_ignore_ascii_case(&other))
                })
        });
        at("/Effect").is_some_and(|it| it == "Allow") && has_action && are_met
    }
}

/// Which register a condition's key means.
fn register(name: &str) -> Option<u8> {
    let name = name.strip_prefix("kms:RecipientAttestation:")?;
    if name == "ImageSha384" {
        return Some(0);
    }
    name.strip_prefix("PCR")?.parse().ok()
}

fn aad(context: &Context) -> Vec<u8> {
    context.iter().flat_map(|(key, value)| format!("{key}\0{value}\0").into_bytes()).collect()
}
