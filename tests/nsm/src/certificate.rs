//! Certificates as the Nitro certificate authority issues them, and as it never would.

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CustomExtension, DistinguishedName, DnType,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    SignatureAlgorithm,
};
use time::OffsetDateTime;

use crate::{Authority, DocumentKey, IssueError};

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

/// The keyUsage extension of an AWS-signed leaf: digitalSignature and nonRepudiation, as DER.
const LEAF_KEY_USAGE: [u8; 4] = [0x03, 0x02, 0x06, 0xC0];

/// What the basicConstraints extension of a planned certificate says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Constraints {
    /// A certificate authority, with at most `path_len` authorities below it.
    Authority {
        /// The path length; `None` leaves it out, as AWS's root does.
        path_len: Option<u8>,
    },
    /// An explicit `CA:FALSE`, as every AWS-signed leaf has.
    EndEntity,
    /// No extension at all.
    Missing,
}

/// What the keyUsage extension of a planned certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyUsage {
    /// Critical, with these usages, as AWS's authorities have it.
    Critical(Vec<KeyUsagePurpose>),
    /// Not critical, digitalSignature and nonRepudiation, as AWS's leaf has it.
    Leaf,
    /// No extension at all.
    Missing,
}

/// The curve of a planned certificate's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    /// NIST P-256, which no Nitro certificate uses.
    P256,
    /// NIST P-384, which every Nitro certificate uses.
    P384,
}

/// One certificate that is to be issued; every field can be bent for a test.
#[derive(Debug, Clone)]
pub struct CertificatePlan {
    /// Name of the subject, outermost part first.
    pub subject: DistinguishedName,
    /// Name of the issuer, when another one than the true issuer's is to be written.
    pub issuer: Option<DistinguishedName>,
    /// Start of the validity, in milliseconds since the Unix epoch; certificates state seconds.
    pub not_before_ms: u64,
    /// End of the validity, in milliseconds since the Unix epoch.
    pub not_after_ms: u64,
    /// What basicConstraints says.
    pub constraints: Constraints,
    /// What keyUsage says.
    pub key_usage: KeyUsage,
    /// Further extensions.
    pub extensions: Vec<CustomExtension>,
    /// The curve of the subject's key.
    pub curve: Curve,
    /// Signs with a key that is not the issuer's.
    pub forged: bool,
}

impl CertificatePlan {
    /// The root, with the validity window of AWS's own (2019-10-28 to 2049-10-28).
    #[must_use]
    pub fn root() -> Self {
        let mut subject = DistinguishedName::new();
        subject.push(DnType::CountryName, "US");
        subject.push(DnType::OrganizationName, "Bailey");
        subject.push(DnType::OrganizationalUnitName, "local test");
        subject.push(DnType::CommonName, "bailey local test root");
        Self::authority(subject, 1_572_269_285_000, 2_519_044_085_000, None)
    }

    /// The four certificates below the root, in order (regional, zonal, instance, leaf), with the
    /// validity windows that AWS uses: about 3 weeks, 6 days, 24 hours and 3 hours.
    ///
    /// `now_ms` is in milliseconds since the Unix epoch; the leaf's validity starts with it.
    #[must_use]
    pub fn below_root(instance_id: &str, module_id: &str, now_ms: u64) -> Vec<Self> {
        let mut plans = Self::authorities_below_root(instance_id, now_ms);
        plans.push(Self::leaf(module_id, now_ms));
        plans
    }

    pub(crate) fn authorities_below_root(instance_id: &str, now_ms: u64) -> Vec<Self> {
        let region = "local.bailey.nitro-enclaves";
        let regional_start = now_ms.saturating_sub(7 * DAY_MS);
        let zonal_start = now_ms.saturating_sub(DAY_MS);
        let instance_start = now_ms.saturating_sub(HOUR_MS);
        vec![
            Self::authority(
                name(&format!("ac8ef1a373264fb8.{region}")),
                regional_start,
                regional_start + 20 * DAY_MS + HOUR_MS,
                Some(2),
            ),
            Self::authority(
                name(&format!("bc93b9e1702abe10.zonal.{region}")),
                zonal_start,
                zonal_start + 6 * DAY_MS,
                Some(1),
            ),
            Self {
                key_usage: KeyUsage::Critical(vec![KeyUsagePurpose::KeyCertSign]),
                ..Self::authority(
                    name(&format!("{instance_id}.{region}")),
                    instance_start,
                    instance_start + DAY_MS,
                    Some(0),
                )
            },
        ]
    }

    pub(crate) fn leaf(module_id: &str, now_ms: u64) -> Self {
        Self {
            subject: name(&format!("{module_id}.local.bailey")),
            issuer: None,
            not_before_ms: now_ms,
            not_after_ms: now_ms + 3 * HOUR_MS,
            constraints: Constraints::EndEntity,
            key_usage: KeyUsage::Leaf,
            extensions: Vec::new(),
            curve: Curve::P384,
            forged: false,
        }
    }

    fn authority(
        subject: DistinguishedName,
        not_before_ms: u64,
        not_after_ms: u64,
        path_len: Option<u8>,
    ) -> Self {
        Self {
            subject,
            issuer: None,
            not_before_ms,
            not_after_ms,
            constraints: Constraints::Authority { path_len },
            key_usage: KeyUsage::Critical(vec![
                KeyUsagePurpose::DigitalSignature,
                KeyUsagePurpose::KeyCertSign,
                KeyUsagePurpose::CrlSign,
            ]),
            extensions: Vec::new(),
            curve: Curve::P384,
            forged: false,
        }
    }

    pub(crate) fn new_key(&self) -> Result<KeyPair, IssueError> {
        KeyPair::generate_for(self.curve.algorithm())
            .map_err(|cause| IssueError::Key { object: "a certificate", cause })
    }

    /// Signs itself with `key`.
    pub(crate) fn issue_root(&self, key: &KeyPair) -> Result<Certificate, IssueError> {
        let params = self.params(false)?;
        params.self_signed(key).map_err(|cause| self.failed(cause))
    }

    /// Issues a certificate for `key`, signed by `issuer_key` in the name of `issuer`.
    pub(crate) fn issue(
        &self,
        key: &KeyPair,
        issuer: &Self,
        issuer_key: &KeyPair,
    ) -> Result<Certificate, IssueError> {
        let is_leaf = self.key_usage == KeyUsage::Leaf;
        let params = self.params(!is_leaf)?;
        let mut issuer_params = issuer.params(false)?;
        if let Some(name) = &self.issuer {
            issuer_params.distinguished_name = name.clone();
        }
        let stranger = if self.forged { Some(issuer.new_key()?) } else { None };
        let signer = stranger.as_ref().unwrap_or(issuer_key);
        params
            .signed_by(key, &Issuer::from_params(&issuer_params, signer))
            .map_err(|cause| self.failed(cause))
    }

    fn params(&self, names_issuer_key: bool) -> Result<CertificateParams, IssueError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = self.subject.clone();
        params.not_before = date_time(self.not_before_ms)?;
        params.not_after = date_time(self.not_after_ms)?;
        params.use_authority_key_identifier_extension = names_issuer_key;
        params.is_ca = match self.constraints {
            Constraints::Authority { path_len: Some(limit) } => {
                IsCa::Ca(BasicConstraints::Constrained(limit))
            }
            Constraints::Authority { path_len: None } => IsCa::Ca(BasicConstraints::Unconstrained),
            Constraints::EndEntity => IsCa::ExplicitNoCa,
            Constraints::Missing => IsCa::NoCa,
        };
        match &self.key_usage {
            KeyUsage::Critical(usages) => params.key_usages.clone_from(usages),
            KeyUsage::Leaf => params
                .custom_extensions
                .push(CustomExtension::from_oid_content(&[2, 5, 29, 15], LEAF_KEY_USAGE.to_vec())),
            KeyUsage::Missing => {}
        }
        params.custom_extensions.extend(self.extensions.iter().cloned());
        Ok(params)
    }

    fn failed(&self, cause: rcgen::Error) -> IssueError {
        IssueError::Certificate { subject: format!("{:?}", self.subject), cause }
    }
}

impl Curve {
    fn algorithm(self) -> &'static SignatureAlgorithm {
        match self {
            Self::P256 => &PKCS_ECDSA_P256_SHA256,
            Self::P384 => &PKCS_ECDSA_P384_SHA384,
        }
    }
}

/// A complete chain: the bundle from the root down, the leaf, and the leaf's key.
#[derive(Debug)]
pub struct Chain {
    /// DER of the authorities, root first, in the order of a document's `cabundle`.
    pub bundle: Vec<Vec<u8>>,
    /// DER of the certificate whose key signs documents.
    pub leaf: Vec<u8>,
    /// The key that signs documents.
    pub key: DocumentKey,
}

impl Chain {
    /// Issues `plans` one below the other under `authority`; the last one is the leaf.
    ///
    /// # Errors
    /// When a certificate cannot be issued, or the leaf's key is none that can sign a document.
    pub fn issue(authority: &Authority, plans: &[CertificatePlan]) -> Result<Self, IssueError> {
        let mut bundle = vec![authority.certificate_der().to_vec()];
        let mut issuer_plan = authority.plan().clone();
        let mut issuer_key = authority.key_copy()?;
        for plan in plans {
            let key = plan.new_key()?;
            let certificate = plan.issue(&key, &issuer_plan, &issuer_key)?;
            bundle.push(certificate.der().to_vec());
            issuer_plan = plan.clone();
            issuer_key = key;
        }
        let leaf = bundle.pop().unwrap_or_default();
        Ok(Self { bundle, leaf, key: DocumentKey::from_key_pair(&issuer_key)? })
    }
}

/// The name of a certificate below the root, in the order of parts that AWS uses.
fn name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CountryName, "US");
    name.push(DnType::StateOrProvinceName, "Washington");
    name.push(DnType::LocalityName, "Seattle");
    name.push(DnType::OrganizationName, "Bailey");
    name.push(DnType::OrganizationalUnitName, "local test");
    name.push(DnType::CommonName, common_name);
    name
}

fn date_time(at_ms: u64) -> Result<OffsetDateTime, IssueError> {
    i64::try_from(at_ms / 1_000)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .ok_or(IssueError::Time { at_ms })
}
