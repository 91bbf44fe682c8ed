//! The coordinator's configuration file.

use bailey_attestation::{ChainCache, FingerprintError, RootFingerprint, TrustedRoots};
use bailey_lifecycle::{self as lifecycle, Subnet, Subnets, SubnetsError, launch::Place};
use bailey_manifest::{KeyError, PublicKey, TrustedKeys};
use bailey_model::instance_type::InstanceType;
use serde::Deserialize;
use std::{
    collections::BTreeMap, io, net::SocketAddr, path::Path, path::PathBuf, sync::Arc,
    time::Duration,
};

/// The configuration file, TOML.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Names this installation; two installations in one account must not share it.
    pub deployment: String,
    /// The web app's table, with a stream.
    pub enclaves_table: String,
    /// The ledger's table.
    pub ledger_table: String,
    /// The hosts table, with a stream.
    pub hosts_table: String,
    /// Bucket of the attestation reports.
    pub reports_bucket: String,
    /// Name of the launch template for parents; its default version at start is used.
    pub launch_template: String,
    /// A subnet for each zone in which parents are launched, best zone first. When there are none, the launch
    /// template has to name one.
    #[serde(default)]
    pub subnets: Vec<ZonesSubnet>,
    /// ARN of the parents' role; PCR3 is checked against it when given.
    pub role_arn: Option<String>,
    /// PEM file of the only root to trust instead of AWS's.
    pub trusted_root: Option<PathBuf>,
    /// PEM files of the public keys whose signed manifests of images count.
    #[serde(default)]
    pub manifest_keys: Vec<PathBuf>,
    /// Where `/metrics` is served over HTTP, as `address:port`; nowhere when absent.
    pub metrics_listen: Option<SocketAddr>,
    /// ARN of the SNS topic on which failed and degraded enclaves are told; nobody is when absent.
    pub notify_topic_arn: Option<String>,
    /// What groups of CloudWatch Logs are called before the enclave's id, as `/aws/ec2/enclave/`. They are made
    /// for the parents, and accepted measurements are written there for older readers; nowhere when absent.
    pub log_group_prefix: Option<String>,
    /// For how many days such groups keep what is written, one of the numbers that AWS knows; for ever when absent.
    pub log_retention_days: Option<u32>,
    /// Types to fall back to, in this order, when EC2 has no capacity for the one asked for.
    #[serde(default)]
    pub fallback_types: Vec<InstanceType>,
    /// Hosts to keep booted before anybody asks for them.
    #[serde(default)]
    pub spares: Vec<Spares>,
    /// How many enclaves may run on one parent when their records allow it; 1 for each its own. AWS allows
    /// four.
    #[serde(default = "enclaves_per_parent")]
    pub enclaves_per_parent: usize,
    /// Whether a type that cannot host an enclave is refused instead of promoted.
    #[serde(default)]
    pub strict_instance_types: bool,
    /// Seconds from one sweep to the next.
    #[serde(default = "seconds::<30>")]
    pub sweep_interval_s: u64,
    /// Milliseconds between two reads of a stream's shard; AWS allows five reads a second.
    #[serde(default = "seconds::<250>")]
    pub stream_poll_ms: u64,
    /// Seconds for which a missing record's enclave lives on.
    #[serde(default = "seconds::<60>")]
    pub absence_grace_s: u64,
    /// Seconds from one look at all instances to the next, which every sweep would take otherwise.
    #[serde(default = "seconds::<60>")]
    pub ec2_interval_s: u64,
    /// Seconds for which an instance must seem to belong to nobody before it is terminated.
    #[serde(default = "seconds::<120>")]
    pub orphan_grace_s: u64,
    /// Seconds for which a nonce may be answered.
    #[serde(default = "seconds::<300>")]
    pub nonce_ttl_s: u64,
    /// Seconds from one accepted document to the nonce for the next; a document's leaf certificate is
    /// valid for three hours.
    #[serde(default = "seconds::<3600>")]
    pub reattest_interval_s: u64,
    /// How many times in a row an enclave may fail to attest again before it is ended.
    #[serde(default = "misses")]
    pub reattest_misses: u32,
    /// Seconds from a request to the first accepted document.
    #[serde(default = "seconds::<1800>")]
    pub deploy_timeout_s: u64,
    /// Seconds from a launch to the agent's first report.
    #[serde(default = "seconds::<300>")]
    pub host_timeout_s: u64,
    /// Seconds a host may take to end its enclave.
    #[serde(default = "seconds::<60>")]
    pub drain_timeout_s: u64,
    /// Seconds that an enclave may take to end before people are told; it is tried on all the same.
    #[serde(default = "seconds::<1200>")]
    pub destroy_timeout_s: u64,
    /// Seconds by which an enclave's clock may be off.
    #[serde(default = "seconds::<300>")]
    pub skew_s: u64,
}

/// A zone's subnet.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ZonesSubnet {
    /// The zone, `eu-west-1a`.
    pub availability_zone: String,
    /// The subnet, `subnet-…`, which lies in it.
    pub subnet_id: String,
}

/// Spare hosts of one kind.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Spares {
    /// Their type.
    pub instance_type: InstanceType,
    /// Their zone; any, when absent.
    pub availability_zone: Option<String>,
    /// How many.
    pub count: u32,
}

impl From<&Spares> for lifecycle::SpareHosts {
    fn from(spares: &Spares) -> Self {
        let place = Place {
            instance_type: spares.instance_type.clone(),
            availability_zone: spares.availability_zone.clone(),
        };
        Self { place, count: spares.count }
    }
}

/// With nonces that live for five minutes this is an hour, in which an outage of the parents' way to
/// their table can be mended.
const fn misses() -> u32 {
    12
}

/// What AWS allows.
const fn enclaves_per_parent() -> usize {
    4
}

/// Days for which CloudWatch Logs keeps what is written (`PutRetentionPolicy`).
const RETENTIONS: [u32; 22] = [
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1_096, 1_827, 2_192, 2_557,
    2_922, 3_288, 3_653,
];

/// Certificate chains, of about 4 KiB each, that are remembered: one for each parent, roughly.
const CACHED_CHAINS: usize = 2_048;

const fn seconds<const N: u64>() -> u64 {
    N
}

/// Why there is no usable configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is not what it should be.
    #[error("the configuration `{}` cannot be used", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The parser's reason, with the line.
        source: Box<toml::de::Error>,
    },
    /// Logs cannot be kept for so long.
    #[error("log_retention_days cannot be {found}, but one of {RETENTIONS:?}")]
    Retention {
        /// What was given.
        found: u32,
    },
    /// A public key for manifests cannot be used.
    #[error("the manifest key `{}` cannot be used", path.display())]
    ManifestKey {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KeyError,
    },
    /// Spare hosts are wanted in a zone that has no subnet.
    #[error("spares: there is no subnet in {zone}; `subnets` has {known}")]
    SparesZone {
        /// The zone.
        zone: String,
        /// The zones that have one.
        known: String,
    },
    /// The subnets cannot be used.
    #[error("subnets cannot be used")]
    Subnets(#[source] SubnetsError),
    /// The root certificate cannot be used.
    #[error("the trusted root `{}` cannot be used", path.display())]
    Root {
        /// The file.
        path: PathBuf,
        /// Why.
        source: FingerprintError,
    },
}

impl Config {
    /// Reads the file at `path`.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        toml::from_str(&text).map_err(|source| ConfigError::Parse {
            path: path.to_owned(),
            source: Box::new(source),
        })
    }

    /// For how many days the logs of enclaves are kept.
    pub fn log_retention(&self) -> Result<Option<u32>, ConfigError> {
        match self.log_retention_days {
            Some(found) if !RETENTIONS.contains(&found) => Err(ConfigError::Retention { found }),
            days => Ok(days),
        }
    }

    /// The settings on which decisions depend.
    pub fn lifecycle(&self, template_version: u64) -> Result<lifecycle::Config, ConfigError> {
        Ok(lifecycle::Config {
            deployment: self.deployment.clone(),
            template: lifecycle::LaunchTemplate {
                name: self.launch_template.clone(),
                version: template_version,
            },
            subnets: self.subnets()?,
            role_arn: self.role_arn.clone(),
            roots: self.roots()?,
            chains: Arc::new(ChainCache::new(CACHED_CHAINS)),
            manifest_keys: self.manifest_keys()?,
            reports_bucket: self.reports_bucket.clone(),
            fallback_types: self.fallback_types.clone(),
            spares: self.spares.iter().map(Into::into).collect(),
            enclaves_per_parent: self.enclaves_per_parent,
            strict_instance_types: self.strict_instance_types,
            absence_grace: Duration::from_secs(self.absence_grace_s),
            nonce_ttl: Duration::from_secs(self.nonce_ttl_s),
            reattest_interval: Duration::from_secs(self.reattest_interval_s),
            reattest_misses: self.reattest_misses,
            deploy_timeout: Duration::from_secs(self.deploy_timeout_s),
            host_timeout: Duration::from_secs(self.host_timeout_s),
            drain_timeout: Duration::from_secs(self.drain_timeout_s),
            destroy_timeout: Duration::from_secs(self.destroy_timeout_s),
            skew: Duration::from_secs(self.skew_s),
            software: BTreeMap::from([(
                "bailey-coordinator".to_owned(),
                env!("CARGO_PKG_VERSION").to_owned(),
            )]),
        })
    }

    fn subnets(&self) -> Result<Subnets, ConfigError> {
        let subnet = |it: &ZonesSubnet| Subnet {
            availability_zone: it.availability_zone.clone(),
            subnet_id: it.subnet_id.clone(),
        };
        let subnets = Subnets::new(self.subnets.iter().map(subnet).collect());
        let subnets = subnets.map_err(ConfigError::Subnets)?;
        for zone in self.spares.iter().filter_map(|spares| spares.availability_zone.as_ref()) {
            if !subnets.has(zone) {
                let known = subnets.zones().collect::<Vec<_>>().join(", ");
                return Err(ConfigError::SparesZone { zone: zone.clone(), known });
            }
        }
        Ok(subnets)
    }

    fn manifest_keys(&self) -> Result<TrustedKeys, ConfigError> {
        let keys = self.manifest_keys.iter().map(|path| {
            let pem = std::fs::read_to_string(path)
                .map_err(|source| ConfigError::Read { path: path.clone(), source })?;
            PublicKey::from_pem(&pem)
                .map_err(|source| ConfigError::ManifestKey { path: path.clone(), source })
        });
        keys.collect::<Result<_, _>>().map(TrustedKeys::new)
    }

    fn roots(&self) -> Result<TrustedRoots, ConfigError> {
        let Some(path) = &self.trusted_root else { return Ok(TrustedRoots::aws()) };
        let pem = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.clone(), source })?;
        RootFingerprint::of_pem(&pem)
            .map(|root| TrustedRoots::only(vec![root]))
            .map_err(|source| ConfigError::Root { path: path.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = r#"
        deployment = "dev"
        enclaves_table = "e"
        ledger_table = "l"
        hosts_table = "h"
        reports_bucket = "r"
        launch_template = "t"
    "#;

    #[test]
    fn what_is_not_given_has_a_default_that_serves() {
        let config: Config = toml::from_str(MINIMAL).unwrap();
        assert_eq!((config.sweep_interval_s, config.deploy_timeout_s), (30, 1_800));
        assert_eq!(config.lifecycle(3).unwrap().template.version, 3);
    }

    #[test]
    fn the_example_is_read_and_states_the_defaults() {
        let example: Config = toml::from_str(include_str!("../coordinator.example.toml")).unwrap();
        let minimal: Config = toml::from_str(MINIMAL).unwrap();
        let defaults = |config: &Config| {
            let Config { sweep_interval_s, stream_poll_ms, absence_grace_s, nonce_ttl_s, .. } =
                config;
            let Config { orphan_grace_s, ec2_interval_s, enclaves_per_parent, .. } = config;
            let Config { reattest_interval_s, reattest_misses, deploy_timeout_s, .. } = config;
            let Config { host_timeout_s, drain_timeout_s, destroy_timeout_s, skew_s, .. } = config;
            [
                *sweep_interval_s,
                *stream_poll_ms,
                *absence_grace_s,
                *orphan_grace_s,
                *ec2_interval_s,
                *nonce_ttl_s,
                *reattest_interval_s,
                u64::from(*reattest_misses),
                u64::try_from(*enclaves_per_parent).unwrap(),
                *deploy_timeout_s,
                *host_timeout_s,
                *drain_timeout_s,
                *destroy_timeout_s,
                *skew_s,
            ]
        };
        assert_eq!(defaults(&example), defaults(&minimal));
    }

    #[test]
    fn subnets_are_read_in_their_order_and_checked() {
        let with = |more: &str| {
            let config: Config = toml::from_str(&format!("{MINIMAL}\n{more}")).unwrap();
            config.lifecycle(1).map(|config| config.subnets)
        };
        let two = r#"subnets = [
            { availability_zone = "eu-west-1b", subnet_id = "subnet-0bbbbbbbbbbbbbbbb" },
            { availability_zone = "eu-west-1a", subnet_id = "subnet-0aaaaaaaaaaaaaaaa" },
        ]"#;
        assert_eq!(with(two).unwrap().zones().collect::<Vec<_>>(), ["eu-west-1b", "eu-west-1a"]);
        assert!(with("").unwrap().is_empty());
        let twice = two.replace("eu-west-1b", "eu-west-1a");
        let said = bailey_runtime::chain(&with(&twice).unwrap_err());
        assert!(said.contains("eu-west-1a has two subnets"), "{said}");
        let spares = r#"spares = [{ instance_type = "m5.xlarge", count = 1, availability_zone = "eu-west-1c" }]"#;
        let said = with(&format!("{two}\n{spares}")).unwrap_err().to_string();
        assert_eq!(
            said,
            "spares: there is no subnet in eu-west-1c; `subnets` has eu-west-1b, eu-west-1a"
        );
        with(spares).unwrap();
    }

    #[test]
    fn logs_are_kept_for_a_number_of_days_that_aws_knows() {
        let with = |more: &str| {
            let config: Config = toml::from_str(&format!("{MINIMAL}\n{more}")).unwrap();
            config.log_retention()
        };
        assert_eq!(with("").unwrap(), None);
        assert_eq!(with("log_retention_days = 365").unwrap(), Some(365));
        let said = with("log_retention_days = 42").unwrap_err().to_string();
        assert!(said.starts_with("log_retention_days cannot be 42, but one of [1, 3, 5"), "{said}");
    }

    #[test]
    fn a_misspelt_key_is_refused() {
        let text = format!("{MINIMAL}\nsweep_intervall_s = 3");
        assert!(
            toml::from_str::<Config>(&text).unwrap_err().to_string().contains("sweep_intervall_s")
        );
    }
}
