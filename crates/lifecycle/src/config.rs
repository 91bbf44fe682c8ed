//! The settings on which decisions depend.

use crate::{launch::Place, subnets::Subnets};
use bailey_attestation::{ChainCache, TrustedRoots};
use bailey_manifest::TrustedKeys;
use bailey_model::instance_type::InstanceType;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// The settings on which decisions depend.
#[derive(Clone, Debug)]
pub struct Config {
    /// Names this installation of Bailey in tokens and tags; two installations in one account must
    /// not share it.
    pub deployment: String,
    /// From what instances are launched.
    pub template: LaunchTemplate,
    /// Into which subnets, by zone; none when the template names one.
    pub subnets: Subnets,
    /// The parents' role, to which PCR3 is bound; unchecked when absent.
    pub role_arn: Option<String>,
    /// The roots that a document's chain may start at.
    pub roots: TrustedRoots,
    /// Certificate chains that were verified before. They spare signatures and change no judgement.
    pub chains: Arc<ChainCache>,
    /// Who may sign manifests of images; with nobody, none is looked for.
    pub manifest_keys: TrustedKeys,
    /// Bucket of the attestation reports.
    pub reports_bucket: String,
    /// Types to fall back to, in this order, when EC2 has no capacity for the one asked for; those
    /// that cannot host an enclave are passed over.
    pub fallback_types: Vec<InstanceType>,
    /// Hosts to keep booted before anybody asks for them.
    pub spares: Vec<SpareHosts>,
    /// How many enclaves may run on one parent when their records allow it; 1 for each its own.
    pub enclaves_per_parent: usize,
    /// Whether a type that cannot host the enclave is refused instead of promoted.
    pub strict_instance_types: bool,
    /// How long a record must be gone before its enclave is ended.
    pub absence_grace: Duration,
    /// How long a nonce may be answered.
    pub nonce_ttl: Duration,
    /// From one accepted document to the nonce for the next; well below the three hours for which a
    /// document's leaf certificate is valid.
    pub reattest_interval: Duration,
    /// How many times in a row an enclave may fail to attest again before it is ended.
    pub reattest_misses: u32,
    /// From the acceptance of a request to its enclave's first accepted document.
    pub deploy_timeout: Duration,
    /// From the launch to the agent's first report.
    pub host_timeout: Duration,
    /// How long a host may take to end its enclave before the instance is terminated anyway.
    pub drain_timeout: Duration,
    /// How long an enclave may take to end before people are told; it is tried on all the same.
    pub destroy_timeout: Duration,
    /// How far the enclave's clock may be off.
    pub skew: Duration,
    /// Names and versions of the programs, for reports.
    pub software: BTreeMap<String, String>,
}

/// How many spare hosts to keep at a place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SpareHosts {
    /// Where.
    pub place: Place,
    /// How many.
    pub count: u32,
}

/// A launch template at one version; the number is part of an intent, so that a retry stays
/// verbatim when somebody edits the template.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LaunchTemplate {
    /// The template's name.
    pub name: String,
    /// The version's number.
    pub version: u64,
}
