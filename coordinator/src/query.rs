//! A thin client of AWS's Query protocol, which EC2 and SNS speak.
//!
//! The full SDK of EC2 takes most of 8 GB of memory to compile for its hundreds of operations; a
//! handful is called here, and one of SNS. Signing, credentials, TLS and HTTP are the SDK's own
//! crates.

use aws_config::SdkConfig;
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, SharedCredentialsProvider, error::CredentialsError},
};
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningError, SigningSettings, sign},
    sign::v4,
};
use aws_smithy_http_client::{
    Connector,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::{
    http::HttpConnector, orchestrator::HttpRequest, result::ConnectorError,
};
use aws_smithy_types::body::SdkBody;
use bailey_runtime::calls::Calls;
use serde::Deserialize;
use std::time::{Duration, SystemTime};
use tokio::sync::Mutex;

/// A service that speaks the protocol.
#[derive(Debug)]
pub struct Service {
    /// Its name for people and for the count of calls.
    pub name: &'static str,
    /// Its name in signatures and endpoints.
    pub id: &'static str,
    /// The API version whose calls and answers are spoken.
    pub version: &'static str,
    /// The environment variable that names another endpoint than AWS's.
    pub endpoint_variable: &'static str,
    /// Reads the answer that tells of an error.
    pub error: fn(&str) -> Result<ApiError, XmlError>,
}

/// A service's own words about what went wrong.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct ApiError {
    /// The error code.
    #[serde(rename = "Code")]
    pub code: String,
    /// The message.
    #[serde(rename = "Message", default)]
    pub message: String,
}

/// An answer is not the XML that it should be.
#[derive(Debug, thiserror::Error)]
#[error("the answer is not the expected XML")]
pub struct XmlError {
    #[from]
    source: quick_xml::DeError,
}

/// EC2 answers `RunInstances` in a few seconds; a caller that waits longer asks again.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// An answer with a thousand instances has about 5 MB.
const ANSWER_LIMIT: usize = 32 * 1024 * 1024;
/// Credentials are fetched anew this long before they end.
const EXPIRY_MARGIN: Duration = Duration::from_mins(5);

/// A client of one service in one region.
#[derive(Debug)]
pub struct Client {
    service: &'static Service,
    endpoint: String,
    region: String,
    connector: Connector,
    provider: SharedCredentialsProvider,
    cached: Mutex<Option<Credentials>>,
    calls: Calls,
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The service answered with an error.
    #[error("{action}: {}: {}", error.code, error.message)]
    Api {
        /// The action called.
        action: &'static str,
        /// HTTP status.
        status: u16,
        /// The service's words.
        error: ApiError,
    },
    /// The answer could not be understood.
    #[error("{action}: HTTP status {status} with an answer that cannot be read")]
    Answer {
        /// The action called.
        action: &'static str,
        /// HTTP status.
        status: u16,
        /// What is wrong with it.
        source: XmlError,
    },
    /// No credentials.
    #[error("{action}: no AWS credentials")]
    Credentials {
        /// The action called.
        action: &'static str,
        /// The provider's reason.
        source: CredentialsError,
    },
    /// The connection failed; whether the call took effect is unknown.
    #[error("{action}: the connection failed")]
    Connection {
        /// The action called.
        action: &'static str,
        /// The transport's reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The request could not be signed.
    #[error("{action}: the request cannot be signed")]
    Signing {
        /// The action called.
        action: &'static str,
        /// The signer's reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer in time; whether the call took effect is unknown.
    #[error("{action}: no answer in {} s", CALL_TIMEOUT.as_secs())]
    Timeout {
        /// The action called.
        action: &'static str,
    },
}

impl CallError {
    /// The service's error when it says for certain that the call had no effect.
    ///
    /// Throttling and server errors do not: the call may be repeated and may then succeed.
    #[must_use]
    pub fn refusal(&self) -> Option<&ApiError> {
        match self {
            // EC2 says so with a server error, and has launched nothing all the same.
            Self::Api { error, .. } if is_shortage(&error.code) => Some(error),
            Self::Api { status: 400..=499, error, .. } if !is_transient(&error.code) => Some(error),
            _ => None,
        }
    }
}

/// Codes by which EC2 has no capacity to give.
///
/// Source: AWS, "Error codes for the Amazon EC2 API", server errors.
fn is_shortage(code: &str) -> bool {
    matches!(
        code,
        "InsufficientCapacity" | "InsufficientHostCapacity" | "InsufficientInstanceCapacity"
    )
}

/// Codes that come with a status below 500 and still only ask for patience.
fn is_transient(code: &str) -> bool {
    matches!(
        code,
        "RequestLimitExceeded"
            | "Throttling"
            | "ThrottlingException"
            | "RequestThrottled"
            | "RequestExpired"
            | "ExpiredToken"
            | "AuthFailure"
            | "ServiceUnavailable"
            | "Unavailable"
            | "InternalError"
            | "InternalFailure"
    )
}

/// Why there can be no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The SDK's chain found no credentials provider.
    #[error("no AWS credentials are configured")]
    NoCredentials,
    /// The SDK's chain found no region.
    #[error("no AWS region is configured; set AWS_REGION")]
    NoRegion,
}

impl Client {
    /// A client with the region and credentials of `config`, whose calls are counted.
    ///
    /// The service's own variable or `AWS_ENDPOINT_URL` names another endpoint than AWS's.
    pub fn new(
        service: &'static Service,
        config: &SdkConfig,
        calls: Calls,
    ) -> Result<Self, ClientError> {
        let region = config.region().ok_or(ClientError::NoRegion)?.to_string();
        let provider = config.credentials_provider().ok_or(ClientError::NoCredentials)?;
        let own = std::env::var(service.endpoint_variable)
            .or_else(|_| std::env::var("AWS_ENDPOINT_URL"))
            .ok();
        let endpoint = own.unwrap_or_else(|| regional_endpoint(service.id, &region));
        let connector =
            Connector::builder().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).build();
        Ok(Self { service, endpoint, region, connector, provider, cached: Mutex::new(None), calls })
    }

    /// The region that is called.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Calls `action` and gives the XML of a successful answer.
    pub(crate) async fn call(
        &self,
        action: &'static str,
        parameters: &[(String, String)],
    ) -> Result<String, CallError> {
        match tokio::time::timeout(CALL_TIMEOUT, self.send(action, parameters)).await {
            Ok(answer) => answer,
            Err(_) => Err(CallError::Timeout { action }),
        }
    }

    async fn send(
        &self,
        action: &'static str,
        parameters: &[(String, String)],
    ) -> Result<String, CallError> {
        let body = form(action, self.service.version, parameters);
        let credentials =
            self.credentials().await.map_err(|source| CallError::Credentials { action, source })?;
        let request = self
            .signed(&body, &credentials)
            .map_err(|source| CallError::Signing { action, source })?;
        self.calls.note(self.service.name, action);
        let answer = self.connector.call(request).await.map_err(|source: ConnectorError| {
            CallError::Connection { action, source: source.into() }
        })?;
        let status = answer.status().as_u16();
        let text = read(answer.into_body())
            .await
            .map_err(|source| CallError::Connection { action, source })?;
        if (200..300).contains(&status) {
            return Ok(text);
        }
        match (self.service.error)(&text) {
            Ok(error) => Err(CallError::Api { action, status, error }),
            Err(source) => Err(CallError::Answer { action, status, source }),
        }
    }

    async fn credentials(&self) -> Result<Credentials, CredentialsError> {
        let mut cached = self.cached.lock().await;
        if let Some(credentials) = cached.as_ref().filter(|c| is_fresh(c)) {
            return Ok(credentials.clone());
        }
        let credentials = self.provider.provide_credentials().await?;
        *cached = Some(credentials.clone());
        Ok(credentials)
    }

    fn signed(
        &self,
        body: &str,
        credentials: &Credentials,
    ) -> Result<HttpRequest, Box<dyn std::error::Error + Send + Sync>> {
        let url = format!("{}/", self.endpoint.trim_end_matches('/'));
        let identity = credentials.clone().into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(self.service.id)
            .time(system_time())
            .settings(SigningSettings::default())
            .build()?
            .into();
        let content_type = ("content-type", "application/x-www-form-urlencoded; charset=utf-8");
        let signable = SignableRequest::new(
            "POST",
            url.as_str(),
            std::iter::once(content_type),
            SignableBody::Bytes(body.as_bytes()),
        )?;
        let (instructions, _) =
            sign(signable, &parameters).map_err(|error: SigningError| error)?.into_parts();
        let mut request = HttpRequest::new(SdkBody::from(body));
        request.set_method("POST")?;
        request.set_uri(url)?;
        request.headers_mut().try_insert(content_type.0, content_type.1)?;
        for (name, value) in instructions.headers() {
            request.headers_mut().try_insert(name.to_owned(), value.to_owned())?;
        }
        Ok(request)
    }
}

fn system_time() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(bailey_runtime::now().0)
}

fn is_fresh(credentials: &Credentials) -> bool {
    credentials.expiry().is_none_or(|expiry| expiry > system_time() + EXPIRY_MARGIN)
}

/// AWS's endpoint of a region, by the region's partition.
fn regional_endpoint(service: &str, region: &str) -> String {
    let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    format!("https://{service}.{region}.{suffix}")
}

fn form(action: &str, version: &str, parameters: &[(String, String)]) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("Action", action).append_pair("Version", version);
    for (name, value) in parameters {
        form.append_pair(name, value);
    }
    form.finish()
}

async fn read(mut body: SdkBody) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    use http_body_util::BodyExt as _;
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            if bytes.len().saturating_add(data.len()) > ANSWER_LIMIT {
                return Err(format!("the answer is larger than {ANSWER_LIMIT} bytes").into());
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(String::from_utf8(bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_partition_has_its_endpoint() {
        assert_eq!(regional_endpoint("ec2", "eu-west-1"), "https://ec2.eu-west-1.amazonaws.com");
        assert_eq!(
            regional_endpoint("sns", "cn-north-1"),
            "https://sns.cn-north-1.amazonaws.com.cn"
        );
    }

    #[test]
    fn a_form_names_action_and_version_first_and_escapes_values() {
        let form = form("RunInstances", "2016-11-15", &[("A.1".to_owned(), "x y&z".to_owned())]);
        assert_eq!(form, "Action=RunInstances&Version=2016-11-15&A.1=x+y%26z");
    }

    #[test]
    fn only_a_clear_refusal_counts_as_one() {
        let api = |status, code: &str| CallError::Api {
            action: "RunInstances",
            status,
            error: ApiError { code: code.to_owned(), message: String::new() },
        };
        assert!(api(400, "InvalidParameterValue").refusal().is_some());
        assert!(api(400, "RequestLimitExceeded").refusal().is_none());
        assert!(api(500, "InsufficientInstanceCapacity").refusal().is_some());
        assert!(api(500, "InternalError").refusal().is_none());
        assert!(CallError::Timeout { action: "RunInstances" }.refusal().is_none());
    }
}
