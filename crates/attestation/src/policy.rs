//! What a caller wants of a document.

use crate::{PcrValue, TrustedRoots};

/// What a document must fulfil.
///
/// There is no default: a rule that is not wanted is one that the caller had to write down, and the
/// report shows it as waived.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The roots that the chain may start from.
    pub roots: TrustedRoots,
    /// The time at which the certificates must be valid.
    pub time: VerifyTime,
    /// How far the clocks of module and verifier may differ, in milliseconds. It widens the start of
    /// every validity and the bounds on the timestamp; it never prolongs a certificate.
    pub skew_ms: u64,
    /// The greatest age of the document, in milliseconds. Not judged at [`VerifyTime::DocumentsOwn`].
    pub max_age_ms: Option<u64>,
    /// When the nonce was issued, in milliseconds since the Unix epoch: an answer is not older.
    pub issued_at_ms: Option<u64>,
    /// What `nonce` must be.
    pub nonce: BytesRule,
    /// What `user_data` must be.
    pub user_data: BytesRule,
    /// What `public_key` must be.
    pub public_key: BytesRule,
    /// What the module's name must be.
    pub module_id: ModuleIdRule,
    /// The parent that the enclave must run on.
    pub instance: Option<InstanceBinding>,
    /// Whether an enclave in debug mode will do.
    pub debug: DebugRule,
    /// What the registers must hold; all rules must be met.
    pub pcrs: Vec<PcrRule>,
}

/// The time at which a document is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyTime {
    /// At this time, in milliseconds since the Unix epoch.
    At(u64),
    /// At the document's own timestamp: for archived documents, whose certificates live 3 hours.
    /// It says that the document was good once, and nothing about when it was made.
    DocumentsOwn,
}

/// What a field of bytes must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BytesRule {
    /// Nothing: left out, null or empty.
    Absent,
    /// Anything or nothing.
    Any,
    /// These bytes, compared in constant time.
    Exactly(Vec<u8>),
}

/// What the module's name must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModuleIdRule {
    /// Any name.
    Any,
    /// This name, which was pinned before.
    Exactly(String),
}

/// The parent that an enclave must run on.
///
/// The module's name must start with the instance's id, PCR4 must be the instance's, and PCR3 the
/// role's when a role is given. Documents of enclaves in debug mode carry PCR3 and PCR4 too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceBinding {
    /// The instance's id, `i-…`.
    pub instance_id: String,
    /// The ARN of the role that the instance was launched with.
    pub role_arn: Option<String>,
}

/// Whether an enclave in debug mode will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DebugRule {
    /// It will; [`crate::VerifiedDocument::is_debug`] says whether it is.
    Allow,
    /// It will not.
    Refuse,
}

/// What one register must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcrRule {
    /// The register's index, 0 to 31.
    pub index: u8,
    /// What it must hold.
    pub wanted: PcrWanted,
}

/// What a register must hold; one that is not in the document meets no rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PcrWanted {
    /// This value.
    Exactly(PcrValue),
    /// Anything but zeros.
    NonZero,
    /// One of these values; none, when the list is empty.
    OneOf(Vec<PcrValue>),
    /// Zeros.
    Zero,
}
