//! The record that a web app writes to ask for an enclave.
//!
//! Two shapes are read: `configuration` with snake-case names, and the older `providerConfig` (or
//! `configuration`) with camel-case names; numbers and booleans may come as text. What Bailey does
//! not know is left alone.

mod field;

use crate::{
    EnclaveId, EnclaveIdError, Pcr, PcrSet, S3Location, Status, UnknownStatus,
    instance_type::{InstanceType, Need},
    network::{Destination, IngressPort},
};
use field::Fields;
pub use field::{Allowed, ConfigurationError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, ops::RangeInclusive};

/// What a record asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Request {
    /// The record's id.
    pub id: EnclaveId,
    /// The status as it was read; a write is conditional on it.
    pub status: Result<Status, UnknownStatus>,
    /// The configuration, or what is wrong with it.
    pub configuration: Result<Configuration, ConfigurationError>,
}

impl Request {
    /// Reads a record.
    ///
    /// Fails only when it cannot be told whose record it is; all else that may be wrong with it is
    /// part of the result, because a record with a bad configuration can still be destroyed.
    pub fn parse(record: &Map<String, Value>) -> Result<Self, RecordError> {
        let id = match record.get("id") {
            Some(Value::String(text)) => {
                text.parse().map_err(|source| RecordError::Id { text: text.clone(), source })?
            }
            _ => return Err(RecordError::NoId),
        };
        let status = record.get("status").and_then(Value::as_str).unwrap_or_default().parse();
        Ok(Self { id, status, configuration: Configuration::parse(record) })
    }
}

/// Why a record is nobody's.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RecordError {
    /// The id cannot be used.
    #[error("the record's id `{text}` cannot be used")]
    Id {
        /// The id as written.
        text: String,
        /// Why.
        source: EnclaveIdError,
    },
    /// There is no `id` of type string.
    #[error("the record has no `id` of type string")]
    NoId,
}

/// The configuration of an enclave, complete and within bounds.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Configuration {
    /// The EC2 type asked for; another may be launched ([`crate::instance_type::fit`]).
    pub instance_type: InstanceType,
    /// vCPUs for the enclave.
    pub cpu_count: u32,
    /// Memory for the enclave, in MiB.
    pub memory_mib: u32,
    /// The image.
    pub eif_path: S3Location,
    /// The image's object version; the newest when absent.
    pub eif_version_id: Option<String>,
    /// SHA-384 of the image file, checked by the parent when given.
    pub eif_sha384: Option<Pcr>,
    /// Whether to run in debug mode.
    pub debug_mode: bool,
    /// Measurements without which the enclave is not to run.
    pub expected_pcrs: PcrSet,
    /// Whether any verdict but `verified` is a failure.
    pub require_verified: bool,
    /// Whether other enclaves may run on the same parent.
    pub share_parent: bool,
    /// Zones to launch in; any when empty.
    pub availability_zones: Vec<String>,
    /// What to do when the enclave ends by itself.
    pub restart: RestartPolicy,
    /// Free-form labels.
    pub labels: BTreeMap<String, String>,
    /// What the enclave may reach; nothing when empty. Sorted, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<Destination>,
    /// Where the enclave is reached; nowhere when empty. Sorted, each port of the parent once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<IngressPort>,
}

/// What to do when an enclave ends by itself.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Start it again, whatever the reason; on another instance when its own is lost.
    Always,
    /// Report it as failed.
    Never,
    /// Start it again, unless its workload said that it was done. nitro-cli does not tell how an enclave
    /// ended, so that each other end counts as a failure.
    #[default]
    OnFailure,
}

impl RestartPolicy {
    /// The text in records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Never => "never",
            Self::OnFailure => "on-failure",
        }
    }
}

/// vCPUs an enclave can have: the largest types have 192.
pub const CPU_COUNT: RangeInclusive<u32> = 1..=190;
/// MiB an enclave can have: nitro-cli's minimum, and more than any type offers.
pub const MEMORY_MIB: RangeInclusive<u32> = 64..=4_194_304;
/// The type when a record names none; also today's web app's.
pub const DEFAULT_INSTANCE_TYPE: &str = "m6i.xlarge";
/// vCPUs when a record names no number.
pub const DEFAULT_CPU_COUNT: u32 = 2;
/// MiB when a record names no number.
pub const DEFAULT_MEMORY_MIB: u32 = 1_024;

impl Configuration {
    /// Reads the configuration of a record.
    pub fn parse(record: &Map<String, Value>) -> Result<Self, ConfigurationError> {
        let fields = Fields::of(record)?;
        Ok(Self {
            instance_type: fields
                .parsed(&["instance_type", "instanceType"], "an instance type")?
                .map_or_else(|| DEFAULT_INSTANCE_TYPE.to_owned().try_into(), Ok)
                .map_err(|_| ConfigurationError::missing("instance_type"))?,
            cpu_count: fields
                .number(&["cpu_count", "cpuCount"], CPU_COUNT)?
                .unwrap_or(DEFAULT_CPU_COUNT),
            memory_mib: fields
                .number(&["memory_mib", "memoryMiB", "memoryMib"], MEMORY_MIB)?
                .unwrap_or(DEFAULT_MEMORY_MIB),
            eif_path: fields
                .parsed(&["eif_path", "eifPath"], "s3://bucket/key")?
                .ok_or_else(|| ConfigurationError::missing("eif_path"))?,
            eif_version_id: fields.text(&["eif_version_id", "eifVersionId"])?,
            eif_sha384: fields.parsed(&["eif_sha384", "eifSha384"], "96 hex digits")?,
            debug_mode: fields
                .boolean(&["debug_mode", "enable_debug", "enableDebug", "debugMode"])?
                .unwrap_or(false),
            expected_pcrs: fields.pcrs(&["expected_pcrs", "expectedPcrs"])?,
            require_verified: fields
                .boolean(&["require_verified", "requireVerified"])?
                .unwrap_or(false),
            share_parent: fields.boolean(&["share_parent", "shareParent"])?.unwrap_or(false),
            availability_zones: fields.texts(&["availability_zones", "availabilityZones"])?,
            restart: fields.restart(&["restart"])?.unwrap_or_default(),
            labels: fields.labels(&["labels"])?,
            egress: fields.egress(&["egress"])?,
            ingress: fields.ingress(&["ingress"])?,
        })
    }

    /// What the enclave needs of its parent.
    #[must_use]
    pub fn need(&self) -> Need {
        Need { cpu_count: self.cpu_count, memory_mib: self.memory_mib }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn parse(record: Value) -> Request {
        let Value::Object(record) = record else { panic!("not an object") };
        Request::parse(&record).unwrap()
    }

    fn configuration(configuration: impl Into<Value>) -> Result<Configuration, ConfigurationError> {
        let configuration = configuration.into();
        parse(json!({"id": "e", "status": "PENDING_DEPLOY", "configuration": configuration}))
            .configuration
    }

    /// The record of the seed, to the letter.
    #[test]
    fn the_seeds_record_is_read() {
        let request = parse(json!({
            "id": "test-enclave-001", "status": "PENDING_DEPLOY",
            "configuration": { "instance_type": "m5.large", "cpu_count": 2, "memory_mib": 1024,
                               "eif_path": "s3://your-bucket/test.eif", "debug_mode": true },
            "created_at": "2025-01-01T12:00:00Z"
        }));
        assert_eq!(request.id.as_str(), "test-enclave-001");
        assert_eq!(request.status, Ok(Status::PendingDeploy));
        let configuration = request.configuration.unwrap();
        assert_eq!(configuration.instance_type.as_str(), "m5.large");
        assert_eq!((configuration.cpu_count, configuration.memory_mib), (2, 1_024));
        assert_eq!(configuration.eif_path.to_string(), "s3://your-bucket/test.eif");
        assert!(configuration.debug_mode);
    }

    #[test]
    fn the_web_apps_camel_case_with_numbers_as_text_is_read() {
        let configuration = parse(json!({
            "id": "enc_1763850000000_a1b2c3d4e", "status": "PENDING_DEPLOY",
            "providerId": "aws-nitro", "walletAddress": "0xabc",
            "providerConfig": { "instanceType": "m6i.xlarge", "cpuCount": "4",
                "memoryMiB": "2048", "eifPath": "s3://images/a.eif", "enableDebug": "true",
                "exposePorts": "8080" }
        }))
        .configuration
        .unwrap();
        assert_eq!((configuration.cpu_count, configuration.memory_mib), (4, 2_048));
        assert!(configuration.debug_mode);
    }

    #[test]
    fn an_error_names_the_field_the_value_and_what_is_allowed() {
        let error =
            configuration(json!({"eif_path": "s3://bucket/x", "cpu_count": 0})).unwrap_err();
        assert_eq!(
            error.to_string(),
            "configuration.cpu_count is 0; allowed is a whole number from 1 to 190"
        );
        let error =
            configuration(json!({"eif_path": "s3://bucket/x", "memory_mib": "much"})).unwrap_err();
        assert_eq!(
            error.to_string(),
            "configuration.memory_mib is \"much\"; allowed is a whole number from 64 to 4194304"
        );
        let error = configuration(json!({"eif_path": "x.eif"})).unwrap_err();
        assert_eq!(
            error.to_string(),
            "configuration.eif_path is \"x.eif\"; allowed is s3://bucket/key"
        );
    }

    #[test]
    fn a_record_without_an_image_is_refused() {
        let error = configuration(json!({"cpu_count": 2})).unwrap_err();
        assert_eq!(error, ConfigurationError::missing("eif_path"));
        let error = parse(json!({"id": "e", "status": "PENDING_DEPLOY"})).configuration;
        assert_eq!(error, Err(ConfigurationError::missing("configuration")));
    }

    #[test]
    fn two_spellings_of_one_field_are_refused_when_they_differ() {
        let both = json!({"eif_path": "s3://bucket/x", "cpu_count": 2, "cpuCount": 4});
        assert!(matches!(configuration(both), Err(ConfigurationError::Conflict { .. })));
        let same = json!({"eif_path": "s3://bucket/x", "cpu_count": 2, "cpuCount": "2"});
        assert_eq!(configuration(same).unwrap().cpu_count, 2);
    }

    #[test]
    fn expected_pcrs_are_indexed_by_text_and_bounded() {
        let pcr = "ab".repeat(48);
        let good = json!({"eif_path": "s3://bucket/x", "expected_pcrs": {"0": pcr, "8": pcr}});
        assert_eq!(configuration(good).unwrap().expected_pcrs.len(), 2);
        for bad in [json!({"32": pcr}), json!({"0": "ab"}), json!({"x": pcr}), json!("ab")] {
            let record = json!({"eif_path": "s3://bucket/x", "expected_pcrs": bad});
            assert!(matches!(configuration(record), Err(ConfigurationError::Invalid { .. })));
        }
    }

    #[test]
    fn an_enclave_reaches_nothing_and_is_reached_nowhere_unless_that_is_written_out() {
        let silent = configuration(json!({"eif_path": "s3://bucket/x"})).unwrap();
        assert_eq!((silent.egress, silent.ingress), (vec![], vec![]));
        let talking = configuration(json!({
            "eif_path": "s3://bucket/x",
            "egress": ["b.example:443", "a.example:443", "a.example:443"],
            "ingress": [
                {"parent_port": 8443, "enclave_port": 443, "health_gated": true},
                {"parentPort": "8080", "enclavePort": "80", "proxyProtocol": "true"}
            ]
        }))
        .unwrap();
        let texts: Vec<String> = talking.egress.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["a.example:443", "b.example:443"]);
        let texts: Vec<String> = talking.ingress.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["8080:80,proxy", "8443:443,healthy"]);
    }

    #[test]
    fn a_destination_or_port_that_cannot_be_had_is_named_with_its_place() {
        let refused = |fields: Value| {
            let mut all = json!({"eif_path": "s3://bucket/x"});
            all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            configuration(all).unwrap_err().to_string()
        };
        assert_eq!(
            refused(json!({"egress": ["a.example:443", "a.example"]})),
            "configuration.egress[1] is \"a.example\"; allowed is host:port, *.suffix:port, \
             address:port or block/prefix:port"
        );
        let reserved = json!({"ingress": [{"parent_port": 8080, "enclave_port": 5005}]});
        assert!(refused(reserved).starts_with("configuration.ingress[0] is {"));
        let twice = json!({"ingress": [
            {"parent_port": 8080, "enclave_port": 80}, {"parent_port": 8080, "enclave_port": 81}
        ]});
        assert!(refused(twice).starts_with("configuration.ingress is ["));
        let unknown = json!({"ingress": [{"parent_port": 8080, "enclave_port": 80, "tls": true}]});
        assert!(refused(unknown).starts_with("configuration.ingress[0] is {"));
        let many = vec!["a.example:1"; crate::network::MAX_EGRESS + 1];
        assert!(refused(json!({"egress": many})).starts_with("configuration.egress is ["));
    }

    #[test]
    fn a_snapshot_that_was_written_before_there_was_a_network_is_read() {
        let mut snapshot =
            serde_json::to_value(configuration(json!({"eif_path": "s3://bucket/x"})).unwrap())
                .unwrap();
        assert!(snapshot.get("egress").is_none());
        snapshot["egress"] = json!(["a.example:443"]);
        let read: Configuration = serde_json::from_value(snapshot).unwrap();
        assert_eq!(read.egress.len(), 1);
    }

    #[test]
    fn a_record_without_a_usable_id_is_nobodys() {
        let record = json!({"status": "PENDING_DEPLOY"});
        assert_eq!(Request::parse(record.as_object().unwrap()), Err(RecordError::NoId));
        let record = json!({"id": "a/b"});
        assert!(matches!(Request::parse(record.as_object().unwrap()), Err(RecordError::Id { .. })));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(2, 16, 4, |inner| {
            let key = prop_oneof![Just("cpu_count".to_owned()), Just("0".to_owned()), ".{0,8}"];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(key, inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// Whatever stands in a field, reading it ends, and what is read is within bounds.
        #[test]
        fn any_value_in_any_field_is_read_or_refused(
            field in prop::sample::select(vec![
                "instance_type", "cpu_count", "memoryMiB", "eif_path", "eif_version_id",
                "eif_sha384", "debug_mode", "expected_pcrs", "require_verified", "share_parent",
                "availability_zones", "restart", "labels", "egress", "ingress",
            ]),
            value in any_json(),
        ) {
            let mut fields = json!({"eif_path": "s3://bucket/x"});
            fields[field] = value;
            if let Ok(configuration) = configuration(fields) {
                prop_assert!(CPU_COUNT.contains(&configuration.cpu_count));
                prop_assert!(MEMORY_MIB.contains(&configuration.memory_mib));
            }
        }
    }
}
