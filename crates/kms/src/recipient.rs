//! The key pair to which KMS encrypts.

pub use crate::{ber::BerError, enveloped::EnvelopedError};
use crate::{
    enveloped::{Enveloped, parse},
    secret::Secret,
};
use aws_lc_rs::{
    cipher::{AES_256, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey},
    encoding::{AsDer as _, PublicKeyX509Der},
    error::Unspecified,
    iv::FixedLength,
    rsa::{KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey},
};
use zeroize::Zeroizing;

/// An RSA key pair of 2,048 bits that exists in this process only.
///
/// Its public half belongs into the field `public_key` of an attestation document; what KMS then
/// answers, [`Recipient::open`] opens, and nobody else can.
#[derive(Debug)]
pub struct Recipient {
    key: OaepPrivateDecryptingKey,
    public_key: Vec<u8>,
}

/// There is no key pair: the system's random numbers or the library failed.
#[derive(Debug, thiserror::Error)]
#[error("no RSA key pair can be made")]
pub struct GenerateError;

/// Why an answer cannot be opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OpenError {
    /// It is not CMS as KMS writes it.
    #[error("it is not the CMS enveloped data that KMS writes")]
    Enveloped(#[from] EnvelopedError),
    /// It is encrypted to another key, or damaged. Which of the two nobody is told.
    #[error("it is encrypted to another key, or damaged")]
    Encryption,
}

impl Recipient {
    /// A new key pair; it takes a tenth of a second or so.
    pub fn generate() -> Result<Self, GenerateError> {
        let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).map_err(|_| GenerateError)?;
        Self::of(key).map_err(|_| GenerateError)
    }

    fn of(key: PrivateDecryptingKey) -> Result<Self, Unspecified> {
        let public_key: PublicKeyX509Der<'_> = key.public_key().as_der()?;
        let public_key = public_key.as_ref().to_vec();
        Ok(Self { key: OaepPrivateDecryptingKey::new(key)?, public_key })
    }

    /// The public key: DER of a `SubjectPublicKeyInfo`, as KMS wants it in a document.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// Decrypts a `CiphertextForRecipient`.
    pub fn open(&self, answer: &[u8]) -> Result<Secret, OpenError> {
        let enveloped = parse(answer)?;
        self.decrypt(enveloped).map_err(|_| OpenError::Encryption)
    }

    fn decrypt(&self, enveloped: Enveloped) -> Result<Secret, Unspecified> {
        let Enveloped { encrypted_key, iv, content } = enveloped;
        let mut buffer = Zeroizing::new(vec![0; self.key.min_output_size()]);
        let key = self.key.decrypt(&OAEP_SHA256_MGF1SHA256, &encrypted_key, &mut buffer, None)?;
        let key = UnboundCipherKey::new(&AES_256, key)?;
        let key = PaddedBlockDecryptingKey::cbc_pkcs7(key)?;
        let mut content = Zeroizing::new(content);
        let iv = DecryptionContext::Iv128(FixedLength::from(iv));
        let plaintext = key.decrypt(&mut content, iv)?.to_vec();
        Ok(plaintext.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    fn base64(text: &str) -> Vec<u8> {
        STANDARD.decode(text.split_whitespace().collect::<String>()).unwrap()
    }

    /// A key and two messages to it, made by OpenSSL; its README says how.
    fn opened_by_others(file: &str) -> Result<Secret, OpenError> {
        let key = PrivateDecryptingKey::from_pkcs8(&base64(include_str!("../tests/key.b64")));
        Recipient::of(key.unwrap()).unwrap().open(&base64(file))
    }

    #[test]
    fn what_openssl_encrypts_is_opened_in_both_encodings() {
        let wanted = b"only for the enclave, whatever its parent does\n".to_vec();
        for file in [include_str!("../tests/stream.b64"), include_str!("../tests/der.b64")] {
            assert_eq!(opened_by_others(file).unwrap().as_slice(), wanted);
        }
    }

    #[test]
    fn a_message_to_another_key_is_not_opened() {
        let recipient = Recipient::generate().unwrap();
        let message = base64(include_str!("../tests/stream.b64"));
        assert_eq!(recipient.open(&message), Err(OpenError::Encryption));
    }

    #[test]
    fn a_message_with_another_hash_is_not_opened() {
        let message = include_str!("../tests/sha1.b64");
        assert_eq!(opened_by_others(message), Err(OpenError::Encryption));
    }

    #[test]
    fn no_damage_makes_the_opener_panic() {
        let message = base64(include_str!("../tests/der.b64"));
        let key = PrivateDecryptingKey::from_pkcs8(&base64(include_str!("../tests/key.b64")));
        let recipient = Recipient::of(key.unwrap()).unwrap();
        let whole = recipient.open(&message).unwrap();
        for at in 0..message.len() {
            let mut damaged = message.clone();
            damaged[at] ^= 0x40;
            // What the mode does not protect, such as the first block, TLS does.
            if let Ok(opened) = recipient.open(&damaged) {
                assert_eq!(opened.as_slice().len(), whole.as_slice().len(), "{at}");
            }
        }
    }

    #[test]
    fn secrets_and_keys_are_not_shown() {
        let secret = Secret::from(b"hush".to_vec());
        assert_eq!(format!("{secret:?}"), "Secret(4 bytes)");
        let shown = format!("{:?}", Recipient::generate().unwrap());
        assert!(!shown.contains("prime"), "{shown}");
    }
}
