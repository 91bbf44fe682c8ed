//! The local root of trust and the certificates of one simulated parent.

use std::sync::Arc;

use rcgen::KeyPair;

use crate::certificate::{CertificatePlan, Chain};
use crate::{DocumentKey, IssueError};

/// A local root of trust: a self-signed P-384 certificate and its key.
///
/// Its subject says that it is local (`CN=bailey local test root`). Clones share the key.
#[derive(Debug, Clone)]
pub struct Authority {
    root: Arc<Root>,
}

#[derive(Debug)]
struct Root {
    plan: CertificatePlan,
    key: KeyPair,
    certificate: Vec<u8>,
}

/// An [`Authority`] as two PEM texts, to be kept in files.
#[derive(Clone)]
pub struct AuthorityPem {
    /// The root certificate; verifiers are given this one.
    pub certificate: String,
    /// The root's private key, as PKCS#8.
    pub key: String,
}

impl Authority {
    /// Makes a new root with a new key.
    pub fn generate() -> Result<Self, IssueError> {
        Self::with_root(CertificatePlan::root())
    }

    /// Makes a new root with a certificate that says what `plan` says.
    pub fn with_root(plan: CertificatePlan) -> Result<Self, IssueError> {
        let key = plan.new_key()?;
        let certificate = plan.issue_root(&key)?.der().to_vec();
        Ok(Self { root: Arc::new(Root { plan, key, certificate }) })
    }

    /// Reads what [`Self::to_pem`] wrote; the certificate is kept byte for byte.
    pub fn from_pem(texts: &AuthorityPem) -> Result<Self, IssueError> {
        let certificate = pem::parse(&texts.certificate)
            .map_err(|cause| IssueError::Pem { object: "certificate", cause })?
            .into_contents();
        let key = KeyPair::from_pem(&texts.key)
            .map_err(|cause| IssueError::Key { object: "the root", cause })?;
        let public_key = key.public_key_raw();
        if !certificate.windows(public_key.len()).any(|window| window == public_key) {
            return Err(IssueError::KeyMismatch);
        }
        Ok(Self { root: Arc::new(Root { plan: CertificatePlan::root(), key, certificate }) })
    }

    /// The certificate and the key as PEM.
    #[must_use]
    pub fn to_pem(&self) -> AuthorityPem {
        AuthorityPem {
            certificate: pem::encode_config(
                &pem::Pem::new("CERTIFICATE", self.root.certificate.clone()),
                pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF),
            ),
            key: self.root.key.serialize_pem(),
        }
    }

    /// The root certificate, as DER.
    #[must_use]
    pub fn certificate_der(&self) -> &[u8] {
        &self.root.certificate
    }

    /// Issues the certificates of one parent: regional, zonal and instance authority.
    ///
    /// `instance_id` and `role_arn` are those of the parent, and go into PCR4 and PCR3 of its
    /// enclaves; `now_ms` is in milliseconds since the Unix epoch.
    pub fn instance(
        &self,
        instance_id: &str,
        role_arn: &str,
        now_ms: u64,
    ) -> Result<InstanceAuthority, IssueError> {
        let mut bundle = vec![self.root.certificate.clone()];
        let mut issuer = (self.root.plan.clone(), self.key_copy()?);
        for plan in CertificatePlan::authorities_below_root(instance_id, now_ms) {
            let key = plan.new_key()?;
            bundle.push(plan.issue(&key, &issuer.0, &issuer.1)?.der().to_vec());
            issuer = (plan, key);
        }
        let (plan, key) = issuer;
        Ok(InstanceAuthority {
            authority: self.clone(),
            instance_id: instance_id.to_owned(),
            role_arn: role_arn.to_owned(),
            bundle,
            plan,
            key,
        })
    }

    pub(crate) fn plan(&self) -> &CertificatePlan {
        &self.root.plan
    }

    /// The root's key once more: the certificate library has no way to share one.
    pub(crate) fn key_copy(&self) -> Result<KeyPair, IssueError> {
        KeyPair::from_pem(&self.root.key.serialize_pem())
            .map_err(|cause| IssueError::Key { object: "the root", cause })
    }
}

impl std::fmt::Debug for AuthorityPem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("AuthorityPem")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// The authority of one simulated parent, which issues the leaf certificates of its enclaves.
#[derive(Debug)]
pub struct InstanceAuthority {
    authority: Authority,
    instance_id: String,
    role_arn: String,
    bundle: Vec<Vec<u8>>,
    plan: CertificatePlan,
    key: KeyPair,
}

impl InstanceAuthority {
    /// The parent's instance id.
    #[must_use]
    pub fn instance_id(&self) -> &str {
        &self.instance_id
    }

    /// The ARN of the parent's role.
    #[must_use]
    pub fn role_arn(&self) -> &str {
        &self.role_arn
    }

    /// The end of the shortest validity in the bundle, in milliseconds since the Unix epoch.
    pub(crate) fn not_after_ms(&self) -> u64 {
        self.plan.not_after_ms
    }

    /// Whether the whole bundle is valid at `now_ms`.
    pub(crate) fn covers(&self, now_ms: u64) -> bool {
        (self.plan.not_before_ms..=self.plan.not_after_ms).contains(&now_ms)
    }

    /// The same parent with certificates issued at `now_ms`.
    pub(crate) fn renewed(&self, now_ms: u64) -> Result<Self, IssueError> {
        self.authority.instance(&self.instance_id, &self.role_arn, now_ms)
    }

    /// Issues a leaf for the module `module_id`, valid for 3 hours from `now_ms`.
    pub(crate) fn issue_leaf(&self, module_id: &str, now_ms: u64) -> Result<Chain, IssueError> {
        let plan = CertificatePlan::leaf(module_id, now_ms);
        let key = plan.new_key()?;
        let leaf = plan.issue(&key, &self.plan, &self.key)?.der().to_vec();
        Ok(Chain { bundle: self.bundle.clone(), leaf, key: DocumentKey::from_key_pair(&key)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_survives_its_pem_form() {
        let authority = Authority::generate().unwrap();
        let read = Authority::from_pem(&authority.to_pem()).unwrap();
        assert_eq!(read.certificate_der(), authority.certificate_der());
        assert_eq!(read.to_pem().key, authority.to_pem().key);
    }

    #[test]
    fn a_key_of_another_root_is_refused() {
        let mut texts = Authority::generate().unwrap().to_pem();
        texts.key = Authority::generate().unwrap().to_pem().key;
        assert!(matches!(Authority::from_pem(&texts), Err(IssueError::KeyMismatch)));
    }

    #[test]
    fn the_debug_form_of_an_authority_shows_no_key() {
        let texts = Authority::generate().unwrap().to_pem();
        assert!(!format!("{texts:?}").contains("PRIVATE KEY"));
    }
}
