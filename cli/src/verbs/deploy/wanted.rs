//! What the flags of `bailey deploy` ask for.

use crate::{
    pcr_file::{self, PcrFileError},
    table::Record,
};
use bailey_model::{
    EnclaveId, Pcr, PcrSet, S3Location, Status, UnixMillis,
    instance_type::InstanceType,
    network::{Destination, IngressPort},
};
use clap::ValueEnum;
use serde_json::{Map, Value, json};
use std::path::PathBuf;

/// The request that a record's `configuration` holds.
#[derive(Debug, clap::Args)]
#[group(id = "wanted", multiple = true, conflicts_with = "record")]
#[command(next_help_heading = "The enclave")]
pub(super) struct Wanted {
    /// The image, as `s3://bucket/key`
    #[arg(long, value_name = "S3-URL", required_unless_present = "record")]
    eif: Option<S3Location>,
    /// The image's object version; the newest when left out
    #[arg(long, value_name = "ID")]
    eif_version_id: Option<String>,
    /// SHA-384 of the image file, in hex; another file is refused
    #[arg(long, value_name = "HEX")]
    eif_sha384: Option<Pcr>,
    /// The EC2 instance type [default: m6i.xlarge]
    #[arg(long, value_name = "TYPE")]
    instance_type: Option<InstanceType>,
    /// vCPUs for the enclave [default: 2]
    #[arg(long, value_name = "N")]
    cpu_count: Option<u32>,
    /// Memory for the enclave, in MiB, at least 4 times the image's size [default: 1024]
    #[arg(long, value_name = "MIB")]
    memory_mib: Option<u32>,
    /// Run in debug mode: the console can be read, and nothing is proven
    #[arg(long)]
    debug: bool,
    /// Measurements without which it must not run: an image manifest, the output of `nitro-cli
    /// describe-eif`, or a JSON map from PCR index to hex
    #[arg(long, value_name = "FILE")]
    expected_pcrs: Option<PathBuf>,
    /// Fail unless the verdict is `verified`; needs --expected-pcrs
    #[arg(long, requires = "expected_pcrs", conflicts_with = "debug")]
    require_verified: bool,
    /// Let other enclaves run on the same instance
    #[arg(long)]
    share_parent: bool,
    /// A zone to launch in; may be given several times
    #[arg(long = "availability-zone", value_name = "ZONE")]
    availability_zones: Vec<String>,
    /// What to do when the enclave ends by itself [default: on-failure]
    #[arg(long, value_name = "WHEN")]
    restart: Option<Restart>,
    /// A label, as NAME=VALUE; may be given several times
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// What it may reach, as HOST:PORT, *.SUFFIX:PORT or ADDRESS[/PREFIX]:PORT; may be given several
    /// times [default: nothing]
    #[arg(long, value_name = "HOST:PORT")]
    egress: Vec<Destination>,
    /// A port of the parent that leads into it, as PARENT-PORT:ENCLAVE-PORT; `,proxy` behind it says
    /// who connected, `,healthy` opens it only while the workload is healthy; may be given several
    /// times [default: none]
    #[arg(long, value_name = "PORT:PORT")]
    ingress: Vec<IngressPort>,
}

/// When an enclave that ended is started again.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Restart {
    Always,
    Never,
    OnFailure,
}

impl Wanted {
    /// The record that asks for it.
    pub(super) fn record(&self, id: &EnclaveId, now: UnixMillis) -> Result<Record, PcrFileError> {
        let pcrs = self.expected_pcrs.as_deref().map(pcr_file::read).transpose()?;
        let fields = [
            ("id", json!(id)),
            ("status", json!(Status::PendingDeploy)),
            ("configuration", Value::Object(self.configuration(pcrs.as_ref()))),
            ("created_at", json!(now.to_string())),
        ];
        Ok(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// Only what was asked for: the coordinator knows the defaults.
    fn configuration(&self, expected_pcrs: Option<&PcrSet>) -> Map<String, Value> {
        let restart = self.restart.and_then(|restart| restart.to_possible_value());
        let restart = restart.map(|value| value.get_name().to_owned());
        let zones = Some(&self.availability_zones).filter(|zones| !zones.is_empty());
        let labels = self.labels.iter().map(|(name, value)| (name.clone(), value.as_str().into()));
        let labels = Some(labels.collect::<Map<_, _>>()).filter(|labels| !labels.is_empty());
        let fields = [
            ("eif_path", json!(self.eif)),
            ("eif_version_id", json!(self.eif_version_id)),
            ("eif_sha384", json!(self.eif_sha384)),
            ("instance_type", json!(self.instance_type)),
            ("cpu_count", json!(self.cpu_count)),
            ("memory_mib", json!(self.memory_mib)),
            ("debug_mode", json!(self.debug)),
            ("expected_pcrs", json!(expected_pcrs)),
            ("require_verified", json!(self.require_verified.then_some(true))),
            ("share_parent", json!(self.share_parent.then_some(true))),
            ("availability_zones", json!(zones)),
            ("restart", json!(restart)),
            ("labels", json!(labels)),
            ("egress", some(&self.egress)),
            ("ingress", some(&self.ingress)),
        ];
        let given = fields.into_iter().filter(|(_, value)| !value.is_null());
        given.map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// A list, or null for an empty one.
fn some<T: serde::Serialize>(list: &[T]) -> Value {
    if list.is_empty() { Value::Null } else { json!(list) }
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bailey_model::record::{Request, RestartPolicy};
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[arg(long)]
        record: Option<String>,
        #[command(flatten)]
        wanted: Wanted,
    }

    fn record(line: &str) -> Record {
        let line = Line::try_parse_from(line.split(' ')).unwrap();
        line.wanted.record(&"demo".parse().unwrap(), UnixMillis(1_735_732_800_000)).unwrap()
    }

    #[test]
    fn only_what_was_asked_for_is_written() {
        assert_eq!(
            Value::Object(record("deploy --eif s3://images/demo.eif")),
            json!({
                "id": "demo", "status": "PENDING_DEPLOY", "created_at": "2025-01-01T12:00:00Z",
                "configuration": {"eif_path": "s3://images/demo.eif", "debug_mode": false},
            })
        );
    }

    #[test]
    fn every_flag_reaches_the_coordinator() {
        let hash = "ab".repeat(48);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), json!({"0": hash}).to_string()).unwrap();
        let record = record(&format!(
            "deploy --eif s3://images/demo.eif --eif-version-id v1 --eif-sha384 {hash} \
             --instance-type c6i.xlarge --cpu-count 4 --memory-mib 2048 --expected-pcrs {} \
             --require-verified --share-parent --availability-zone eu-west-1a --restart never \
             --label team=a --egress a.example:443 --egress 10.0.0.0/8:5432 --ingress 8443:443,healthy",
            file.path().display()
        ));
        let configuration = Request::parse(&record).unwrap().configuration.unwrap();
        assert_eq!(configuration.eif_version_id.as_deref(), Some("v1"));
        assert_eq!(configuration.eif_sha384, Some(hash.parse().unwrap()));
        assert_eq!(configuration.instance_type.as_str(), "c6i.xlarge");
        assert_eq!((configuration.cpu_count, configuration.memory_mib), (4, 2_048));
        assert_eq!(configuration.expected_pcrs, PcrSet::from([(0, hash.parse().unwrap())]));
        assert!(configuration.require_verified && configuration.share_parent);
        assert_eq!(configuration.availability_zones, ["eu-west-1a"]);
        assert_eq!(configuration.restart, RestartPolicy::Never);
        assert_eq!(configuration.labels["team"], "a");
        let egress: Vec<String> = configuration.egress.iter().map(ToString::to_string).collect();
        assert_eq!(egress, ["10.0.0.0/8:5432", "a.example:443"]);
        assert_eq!(configuration.ingress, ["8443:443,healthy".parse().unwrap()]);
    }

    #[test]
    fn a_record_and_flags_exclude_each_other() {
        let both = "deploy --record r.json --eif s3://images/demo.eif";
        assert!(Line::try_parse_from(both.split(' ')).is_err());
        assert!(Line::try_parse_from("deploy --record r.json".split(' ')).is_ok());
        assert!(Line::try_parse_from(["deploy"]).is_err());
    }
}
