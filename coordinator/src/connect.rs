//! What both shapes of the coordinator begin with.

use crate::{
    config::{Config, ConfigError},
    ec2::{self, ClientError, Ec2Error},
    memory::Memory,
    metrics::Metrics,
    shortages::Shortages,
    store::{Hosts, Images, Ledger, Records, Reports, StoreError},
    suspects::Suspects,
    tick::Coordinator,
};
use aws_config::SdkConfig;
use bailey_runtime::{aws, now};
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
    /// The launch template cannot be found.
    #[error("cannot find the launch template {name}")]
    Template {
        /// The template's name.
        name: String,
        /// Why.
        source: Ec2Error,
    },
}

/// Connects to everything that steps are carried out with.
pub async fn connect(config: &Config, sdk: &SdkConfig) -> Result<Coordinator, ConnectError> {
    let ec2 = ec2::Client::new(sdk).map_err(ConnectError::Ec2Client)?;
    let name = &config.launch_template;
    let version = ec2
        .default_template_version(name)
        .await
        .map_err(|source| ConnectError::Template { name: name.clone(), source })?;
    let dynamodb = aws_sdk_dynamodb::Client::new(sdk);
    let records = Records::open(dynamodb.clone(), config.enclaves_table.clone())
        .await
        .map_err(ConnectError::Records)?;
    let s3 = aws::s3(sdk);
    Ok(Coordinator {
        config: config.lifecycle(version).map_err(ConnectError::Config)?,
        records,
        ledger: Ledger::new(dynamodb.clone(), config.ledger_table.clone()),
        hosts: Hosts::new(dynamodb, config.hosts_table.clone()),
        images: Images::new(s3.clone()),
        reports: Reports::new(s3, config.reports_bucket.clone()),
        ec2,
        shortages: Shortages::default(),
        suspects: Suspects::default(),
        unknown: Suspects::default(),
        grace: Duration::from_secs(config.orphan_grace_s),
        metrics: Arc::new(Metrics::default()),
        memory: Memory::beginning(now()),
    })
}
