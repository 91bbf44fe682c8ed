//! What both shapes of the coordinator begin with.

use crate::{
    config::{Config, ConfigError},
    ec2::{self, Ec2Error},
    memory::Memory,
    metrics::Metrics,
    notices::{Notices, Teller, Told},
    pace::Pace,
    pcr_log::PcrLog,
    shortages::Shortages,
    sns::Topic,
    store::{Hosts, Images, Ledger, Records, Reports, StoreError},
    suspects::Suspects,
    tick::Coordinator,
};
use aws_config::SdkConfig;
use bailey_runtime::{aws, logs::Logs, now, signed::ClientError};
use std::{sync::Arc, time::Duration};

/// Why the coordinator cannot do its work.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(ConfigError),
    /// There can be no EC2 client.
    #[error("cannot call EC2")]
    Ec2Client(#[source] ClientError),
    /// The web app's table cannot be used.
    #[error("cannot open the records")]
    Records(#[source] StoreError),
    /// CloudWatch Logs cannot be used.
    #[error("cannot prepare a client of CloudWatch Logs")]
    Logs(#[source] ClientError),
    /// There can be no SNS client.
    #[error("cannot call SNS")]
    Sns(#[source] ClientError),
    /// The launch template cannot be found.
    #[error("cannot find the launch template {name}")]
    Template {
        /// The template's name.
        name: String,
        /// Why.
        source: Ec2Error,
    },
}

/// The coordinator, and what tells people, when anything does. An enclave at rest is looked at after
/// `longest_rest` at the latest: a look costs something, and nothing is expected.
pub async fn connect(
    config: &Config,
    sdk: &SdkConfig,
    longest_rest: Duration,
) -> Result<(Coordinator, Option<Told>), ConnectError> {
    let metrics = Arc::new(Metrics::default());
    let calls = metrics.calls();
    let ec2 = ec2::Client::new(sdk, calls.clone()).map_err(ConnectError::Ec2Client)?;
    let name = &config.launch_template;
    let version = ec2
        .default_template_version(name)
        .await
        .map_err(|source| ConnectError::Template { name: name.clone(), source })?;
    let dynamodb = aws::dynamodb(sdk, calls);
    let records = Records::open(dynamodb.clone(), config.enclaves_table.clone())
        .await
        .map_err(ConnectError::Records)?;
    let s3 = aws::counted_s3(sdk, calls);
    let awaits_notices = config.notify_topic_arn.is_some();
    let ledger = Ledger::new(dynamodb.clone(), config.ledger_table.clone(), awaits_notices);
    let (notices, told) = match &config.notify_topic_arn {
        None => (Notices::nowhere(), None),
        Some(arn) => {
            let topic = Topic::new(arn.clone(), sdk, calls.clone()).map_err(ConnectError::Sns)?;
            let (ledger, metrics) = (ledger.clone(), Arc::clone(&metrics));
            let teller = Teller { topic, ledger, deployment: config.deployment.clone(), metrics };
            let (notices, ids) = Notices::channel();
            (notices, Some(Told { teller, ids }))
        }
    };
    let pcr_log = match &config.log_group_prefix {
        None => None,
        Some(prefix) => {
            let logs = Logs::new(sdk, calls.clone()).map_err(ConnectError::Logs)?;
            let retention_days = config.log_retention().map_err(ConnectError::Config)?;
            Some(PcrLog { logs, prefix: prefix.clone(), retention_days })
        }
    };
    let coordinator = Coordinator {
        config: config.lifecycle(version).map_err(ConnectError::Config)?,
        records,
        ledger,
        hosts: Hosts::new(dynamodb, config.hosts_table.clone()),
        images: Images::new(s3.clone()),
        reports: Reports::new(s3, config.reports_bucket.clone()),
        ec2,
        shortages: Shortages::default(),
        suspects: Suspects::default(),
        unknown: Suspects::default(),
        grace: Duration::from_secs(config.orphan_grace_s),
        looks: Pace::once_per(Duration::from_secs(config.ec2_interval_s)),
        metrics,
        notices,
        pcr_log,
        memory: Memory::beginning(now(), longest_rest),
    };
    Ok((coordinator, told))
}
