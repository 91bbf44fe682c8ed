//! Keys of those who sign manifests: ECDSA over P-384.

use crate::envelope::{OpenError, SignedManifest, open};
use aws_lc_rs::{
    digest::{SHA256, digest},
    encoding::AsDer as _,
    rand::SystemRandom,
    signature::{
        ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _,
        UnparsedPublicKey,
    },
};
use std::fmt;
use x509_cert::{
    der::{Decode as _, Document, SecretDocument, asn1::ObjectIdentifier, pem::LineEnding},
    spki::SubjectPublicKeyInfoOwned,
};

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P_384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

/// Why a key cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyError {
    /// The text is not one PEM block of the right kind.
    #[error("a PEM block `{wanted}` is expected")]
    Pem {
        /// The label that was looked for.
        wanted: &'static str,
    },
    /// The key is of another kind or curve.
    #[error("only keys on the curve P-384 (secp384r1) are used")]
    NotP384,
    /// The cryptographic library refuses the key.
    #[error("the key is damaged")]
    Damaged,
}

/// A public key.
#[derive(Clone, Eq, PartialEq)]
pub struct PublicKey {
    id: String,
    point: Vec<u8>,
}

impl PublicKey {
    /// Reads a `PUBLIC KEY` block, as `openssl pkey -pubout` writes it.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        match Document::from_pem(text) {
            Ok(("PUBLIC KEY", der)) => Self::from_der(der.as_bytes()),
            _ => Err(KeyError::Pem { wanted: "PUBLIC KEY" }),
        }
    }

    fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        let info = SubjectPublicKeyInfoOwned::from_der(der).map_err(|_| KeyError::Damaged)?;
        let curve = info.algorithm.parameters.as_ref().and_then(|curve| curve.decode_as().ok());
        if info.algorithm.oid != EC_PUBLIC_KEY || curve != Some(P_384) {
            return Err(KeyError::NotP384);
        }
        let point = info.subject_public_key.as_bytes().ok_or(KeyError::Damaged)?.to_vec();
        // A point that is not on the curve is found here and not with the first signature.
        UnparsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, point.as_slice())
            .parse()
            .map_err(|_| KeyError::Damaged)?;
        Ok(Self { id: hex::encode(digest(&SHA256, der)), point })
    }

    /// SHA-256 of the key's DER (`SubjectPublicKeyInfo`), in hex: what an envelope names it by.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, &self.point)
            .verify(message, signature)
            .is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id)
    }
}

/// The keys whose signatures count. With none, nothing does.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TrustedKeys(Vec<PublicKey>);

impl TrustedKeys {
    /// These keys and no other.
    #[must_use]
    pub fn new(keys: Vec<PublicKey>) -> Self {
        Self(keys)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Opens an envelope that at least one of the keys signed.
    pub fn open(&self, envelope: &[u8]) -> Result<SignedManifest, OpenError> {
        open(envelope, &self.0)
    }
}

/// A private key.
pub struct SigningKey(EcdsaKeyPair);

impl SigningKey {
    /// A new private key, as a `PRIVATE KEY` block.
    pub fn generate_pem() -> Result<String, KeyError> {
        let signing = &ECDSA_P384_SHA384_ASN1_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(signing, &SystemRandom::new())
            .map_err(|_| KeyError::Damaged)?;
        Document::try_from(pkcs8.as_ref())
            .and_then(|document| document.to_pem("PRIVATE KEY", LineEnding::LF))
            .map_err(|_| KeyError::Damaged)
    }

    /// Reads a `PRIVATE KEY` (PKCS#8) or `EC PRIVATE KEY` (SEC 1) block, unencrypted.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let (label, der) =
            SecretDocument::from_pem(text).map_err(|_| KeyError::Pem { wanted: "PRIVATE KEY" })?;
        let signing = &ECDSA_P384_SHA384_ASN1_SIGNING;
        let pair = match label {
            "PRIVATE KEY" => EcdsaKeyPair::from_pkcs8(signing, der.as_bytes()),
            "EC PRIVATE KEY" => EcdsaKeyPair::from_private_key_der(signing, der.as_bytes()),
            _ => return Err(KeyError::Pem { wanted: "PRIVATE KEY" }),
        };
        pair.map(Self).map_err(|_| KeyError::NotP384)
    }

    /// The key that verifies what this one signs.
    pub fn public_key(&self) -> Result<PublicKey, KeyError> {
        let der = self.0.public_key().as_der().map_err(|_| KeyError::Damaged)?;
        PublicKey::from_der(der.as_ref())
    }

    /// [`Self::public_key`] as a `PUBLIC KEY` block.
    pub fn public_key_pem(&self) -> Result<String, KeyError> {
        let der = self.0.public_key().as_der().map_err(|_| KeyError::Damaged)?;
        Document::try_from(der.as_ref())
            .and_then(|document| document.to_pem("PUBLIC KEY", LineEnding::LF))
            .map_err(|_| KeyError::Damaged)
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let signature = self.0.sign(&SystemRandom::new(), message).ok()?;
        Some(signature.as_ref().to_vec())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_by_the_digest_of_its_der() {
        let key = SigningKey::from_pem(&SigningKey::generate_pem().unwrap()).unwrap();
        let pem = key.public_key_pem().unwrap();
        let public = PublicKey::from_pem(&pem).unwrap();
        let (_, der) = Document::from_pem(&pem).unwrap();
        assert_eq!(public.id(), hex::encode(digest(&SHA256, der.as_bytes())));
        assert_eq!(public, key.public_key().unwrap());
    }

    #[test]
    fn a_text_that_is_no_key_is_refused() {
        let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for text in ["", "no PEM", certificate] {
            assert_eq!(PublicKey::from_pem(text), Err(KeyError::Pem { wanted: "PUBLIC KEY" }));
            let refused = SigningKey::from_pem(text).unwrap_err();
            assert_eq!(refused, KeyError::Pem { wanted: "PRIVATE KEY" });
        }
    }

    /// `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 | openssl pkey -pubout`
    const P_256: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEsh4CXN+NqLXunwwMyMv4ZIER/4Zf
zk+9ccZzHFF8/6sjVGTaij+optEnJ7mRWKLEzHZBHcBn+yJ1cMQxaddeSQ==
-----END PUBLIC KEY-----
";

    /// `openssl ecparam -name secp384r1 -genkey -noout`, used nowhere else.
    const SEC_1: &str = "-----BEGIN EC PRIVATE KEY-----
MIGkAgEBBDDOI4jNbCsYQ1kUi780IiLNWIQtj3niBF7GI0eMgkNOXsMd5pCLNqhu
STssIOcwmLygBwYFK4EEACKhZANiAATMUXio3+HeNjYPg33HvW5owXTVXeMDzmTC
UczRwHocVF8QPSxHn7HlW50R84Cu/Tnb+Bk/BjtCv7ntYJnZzR+qb/K6D8lMMTwv
GfvHYow98+ZZT+tfGvtyMVYIvupdFn8=
-----END EC PRIVATE KEY-----
";

    #[test]
    fn a_private_key_in_openssls_older_form_is_read() {
        let key = SigningKey::from_pem(SEC_1).unwrap();
        let signature = key.sign(b"a message").unwrap();
        assert!(key.public_key().unwrap().verifies(b"a message", &signature));
        assert!(!key.public_key().unwrap().verifies(b"another", &signature));
    }

    #[test]
    fn a_key_on_another_curve_is_refused() {
        assert_eq!(PublicKey::from_pem(P_256), Err(KeyError::NotP384));
    }
}
