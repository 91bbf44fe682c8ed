//! Signed requests to those services of AWS for whose few calls no SDK is taken along.
//!
//! Signing, credentials, TLS and HTTP are the SDK's own crates.

use crate::calls::Calls;
use aws_config::SdkConfig;
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, SharedCredentialsProvider, error::CredentialsError},
};
use aws_smithy_http_client::{
    Connector,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::{
    http::HttpConnector, orchestrator::HttpRequest, result::ConnectorError,
};
use aws_smithy_types::body::SdkBody;
use bailey_signing::{Post, Scope};
use std::time::{Duration, SystemTime};
use tokio::{sync::Mutex, time::timeout};

/// EC2 answers `RunInstances` in a few seconds; a caller that waits longer asks again.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// An answer with a thousand instances has about 5 MB.
const ANSWER_LIMIT: usize = 32 * 1024 * 1024;
/// Credentials are fetched anew this long before they end.
const EXPIRY_MARGIN: Duration = Duration::from_mins(5);

/// A service that is called.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// Its name for people and for the count of calls.
    pub name: &'static str,
    /// Its name in signatures and endpoints.
    pub id: &'static str,
    /// The environment variable that names another endpoint than AWS's.
    pub endpoint_variable: &'static str,
    /// The type of what is sent.
    pub content_type: &'static str,
}

/// A client of one service in one region.
#[derive(Debug)]
pub struct Client {
    service: Service,
    endpoint: String,
    region: String,
    connector: Connector,
    provider: SharedCredentialsProvider,
    cached: Mutex<Option<Credentials>>,
    calls: Calls,
}

/// An answer, of success or of failure.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub text: String,
}

impl Answer {
    /// Whether the service did what it was asked.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The connection failed; whether the call took effect is unknown.
    #[error("the connection failed")]
    Connection(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No credentials.
    #[error("no AWS credentials")]
    Credentials(#[source] CredentialsError),
    /// The request could not be signed.
    #[error("the request cannot be signed")]
    Signing(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No answer in time; whether the call took effect is unknown.
    #[error("no answer in {} s", CALL_TIMEOUT.as_secs())]
    Timeout,
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
    pub fn new(service: Service, config: &SdkConfig, calls: Calls) -> Result<Self, ClientError> {
        let region = config.region().ok_or(ClientError::NoRegion)?.to_string();
        let provider = config.credentials_provider().ok_or(ClientError::NoCredentials)?;
        let own = std::env::var(service.endpoint_variable)
            .or_else(|_| std::env::var("AWS_ENDPOINT_URL"))
            .ok();
        let endpoint =
            own.unwrap_or_else(|| Scope { service: service.id, region: &region }.endpoint());
        let connector =
            Connector::builder().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).build();
        Ok(Self { service, endpoint, region, connector, provider, cached: Mutex::new(None), calls })
    }

    /// The region that is called.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Posts `body` as a call of `action`, with one more header when the protocol wants one.
    pub async fn post(
        &self,
        action: &'static str,
        header: Option<(&'static str, &str)>,
        body: &str,
    ) -> Result<Answer, SendError> {
        let answer = timeout(CALL_TIMEOUT, self.send(action, header, body)).await;
        answer.unwrap_or(Err(SendError::Timeout))
    }

    async fn send(
        &self,
        action: &'static str,
        header: Option<(&'static str, &str)>,
        body: &str,
    ) -> Result<Answer, SendError> {
        let credentials = self.credentials().await.map_err(SendError::Credentials)?;
        let request = self.signed(header, body, &credentials).map_err(SendError::Signing)?;
        self.calls.note(self.service.name, action);
        let answer = self.connector.call(request).await;
        let answer =
            answer.map_err(|source: ConnectorError| SendError::Connection(source.into()))?;
        let status = answer.status().as_u16();
        let text = read(answer.into_body()).await.map_err(SendError::Connection)?;
        Ok(Answer { status, text })
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
        header: Option<(&'static str, &str)>,
        body: &str,
        credentials: &Credentials,
    ) -> Result<HttpRequest, Box<dyn std::error::Error + Send + Sync>> {
        let url = format!("{}/", self.endpoint.trim_end_matches('/'));
        let headers = [Some(("content-type", self.service.content_type)), header];
        let headers: Vec<_> = headers.into_iter().flatten().collect();
        let scope = Scope { service: self.service.id, region: &self.region };
        let post = Post { url: &url, headers: &headers, body: body.as_bytes() };
        let signed = bailey_signing::signed(scope, post, credentials, system_time())?;
        let mut request = HttpRequest::new(SdkBody::from(body));
        request.set_method("POST")?;
        request.set_uri(url.as_str())?;
        for (name, value) in signed {
            request.headers_mut().try_insert(name, value)?;
        }
        Ok(request)
    }
}

fn system_time() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(crate::now().0)
}

fn is_fresh(credentials: &Credentials) -> bool {
    credentials.expiry().is_none_or(|expiry| expiry > system_time() + EXPIRY_MARGIN)
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
