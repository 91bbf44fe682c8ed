//! AWS clients as every program of Bailey uses them.
//!
//! Region, credentials and endpoints come from the SDK's own chain (environment, profile,
//! instance), so that a local cloud needs nothing but `AWS_ENDPOINT_URL` and its siblings.

use crate::{calls::Calls, skew::Skew};
use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use std::time::Duration;

/// No call may hang: a caller that is stuck in one call serves nobody else.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
const OPERATION_TIMEOUT: Duration = Duration::from_secs(30);

/// Loads the configuration that all clients of this process share.
pub async fn load(region: Option<&str>) -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT)
        .build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard());
    if let Some(region) = region {
        loader = loader.region(Region::new(region.to_owned()));
    }
    loader.load().await
}

/// A DynamoDB client whose calls are counted.
#[must_use]
pub fn dynamodb(config: &SdkConfig, calls: &Calls) -> aws_sdk_dynamodb::Client {
    let builder = aws_sdk_dynamodb::config::Builder::from(config).interceptor(calls.clone());
    aws_sdk_dynamodb::Client::from_conf(builder.build())
}

/// As [`dynamodb`], and its answers tell how far the clock is off.
#[must_use]
pub fn timed_dynamodb(config: &SdkConfig, calls: &Calls, skew: &Skew) -> aws_sdk_dynamodb::Client {
    let builder = aws_sdk_dynamodb::config::Builder::from(config).interceptor(calls.clone());
    aws_sdk_dynamodb::Client::from_conf(builder.interceptor(skew.clone()).build())
}

/// An S3 client; with an endpoint of one's own, buckets are part of the path and not of the host
/// name, which nobody would resolve.
#[must_use]
pub fn s3(config: &SdkConfig) -> aws_sdk_s3::Client {
    aws_sdk_s3::Client::from_conf(s3_builder(config).build())
}

/// As [`s3`], and its calls are counted.
#[must_use]
pub fn counted_s3(config: &SdkConfig, calls: &Calls) -> aws_sdk_s3::Client {
    aws_sdk_s3::Client::from_conf(s3_builder(config).interceptor(calls.clone()).build())
}

fn s3_builder(config: &SdkConfig) -> aws_sdk_s3::config::Builder {
    let own_endpoint = config.endpoint_url().is_some()
        || std::env::var_os("AWS_ENDPOINT_URL").is_some()
        || std::env::var_os("AWS_ENDPOINT_URL_S3").is_some();
    aws_sdk_s3::config::Builder::from(config).force_path_style(own_endpoint)
}
