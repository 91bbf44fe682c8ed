//! A key that never leaves the enclave, and its certificate.

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384, PublicKeyData as _};
use rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivatePkcs8KeyDer, version::TLS13};
use std::sync::Arc;

/// A P-384 key in memory, in a certificate that nobody but the enclave's attestation vouches for.
#[derive(Debug)]
pub struct Identity {
    config: Arc<ServerConfig>,
    public_key: Vec<u8>,
}

impl Identity {
    /// A new one: every start of the service has another key, and nothing has to be kept.
    pub fn generate() -> Result<Self, IdentityError> {
        let key =
            KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).map_err(IdentityError::Certificate)?;
        // The name says nothing: whoever trusts this certificate trusts its key, for the document's sake.
        let certificate = CertificateParams::new(vec!["enclave.invalid".to_owned()])
            .and_then(|params| params.self_signed(&key))
            .map_err(IdentityError::Certificate)?;
        let private = PrivatePkcs8KeyDer::from(key.serialize_der());
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_protocol_versions(&[&TLS13])
                .map_err(IdentityError::Tls)?
                .with_no_client_auth()
                .with_single_cert(vec![certificate.der().clone()], private.into())
                .map_err(IdentityError::Tls)?;
        // Without resumption every connection shows the certificate.
        config.send_tls13_tickets = 0;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), public_key: key.subject_public_key_info() })
    }

    /// What a document has to vouch for: the certificate's `SubjectPublicKeyInfo`, in DER.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// The server's side of TLS with this key: version 1.3 alone.
    #[must_use]
    pub fn tls(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The key or the certificate cannot be made.
    #[error("cannot make a key and its certificate")]
    Certificate(#[source] rcgen::Error),
    /// TLS cannot be spoken with it.
    #[error("cannot set TLS up")]
    Tls(#[source] rustls::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_start_has_a_key_of_its_own() {
        let keys = [(); 2].map(|()| Identity::generate().unwrap().public_key().to_vec());
        assert_ne!(keys[0], keys[1]);
        // A P-384 key in this form has 120 bytes (RFC 5480).
        assert!(keys.iter().all(|key| key.len() == 120), "{keys:?}");
    }
}
