//! The instance metadata service of one host, version 2: no answer without a session token.

use super::InstanceFacts;
use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, Method, Response, StatusCode},
    routing::{get, put},
};
use bailey_model::UnixMillis;
use bailey_runtime::now;
use serde_json::json;
use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{net::TcpListener, task::AbortHandle};

const TOKEN: &str = "x-aws-ec2-metadata-token";
const TOKEN_TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";
/// AWS's bounds of a token's life: a second and six hours.
const TTL_SECONDS: std::ops::RangeInclusive<u64> = 1..=21_600;

/// A metadata service that runs.
#[derive(Debug)]
pub(super) struct Metadata {
    url: String,
    shared: Arc<Shared>,
    task: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    facts: InstanceFacts,
    pending_since: UnixMillis,
    changing: Mutex<Changing>,
}

#[derive(Debug, Default)]
struct Changing {
    /// Each token and when it ends.
    tokens: BTreeMap<String, UnixMillis>,
    interruption: Option<UnixMillis>,
}

impl Metadata {
    /// Serves on loopback, on a port that the kernel chooses.
    pub(super) async fn serve(facts: &InstanceFacts) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let shared = Arc::new(Shared {
            facts: facts.clone(),
            pending_since: now(),
            changing: Mutex::default(),
        });
        let router = routes(Arc::clone(&shared));
        let server = async move { axum::serve(listener, router).await };
        Ok(Self { url, shared, task: tokio::spawn(server).abort_handle() })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn announce_interruption(&self, at: UnixMillis) {
        self.shared.lock().interruption = Some(at);
    }

    pub(super) fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Metadata {
    fn drop(&mut self) {
        self.stop();
    }
}

fn routes(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/latest/api/token", put(token))
        .route("/latest/{*path}", get(value))
        .with_state(shared)
}

async fn token(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response<Body> {
    // A request that was forwarded is refused, so that an open proxy on the host leaks nothing.
    if headers.contains_key("x-forwarded-for") {
        return answer(StatusCode::FORBIDDEN, String::new());
    }
    let ttl = headers.get(TOKEN_TTL).and_then(|ttl| ttl.to_str().ok()?.parse::<u64>().ok());
    let Some(ttl) = ttl.filter(|ttl| TTL_SECONDS.contains(ttl)) else {
        return answer(StatusCode::BAD_REQUEST, String::new());
    };
    let token = shared.new_token(Duration::from_secs(ttl));
    let mut response = answer(StatusCode::OK, token);
    response.headers_mut().insert(TOKEN_TTL, ttl.into());
    response
}

async fn value(
    State(shared): State<Arc<Shared>>,
    Path(path): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Response<Body> {
    let token = headers.get(TOKEN).and_then(|token| token.to_str().ok()).unwrap_or_default();
    if !shared.accepts(token) || method != Method::GET {
        return answer(StatusCode::UNAUTHORIZED, String::new());
    }
    match shared.value(path.trim_end_matches('/')) {
        Some(text) => answer(StatusCode::OK, text),
        None => answer(StatusCode::NOT_FOUND, String::new()),
    }
}

fn answer(status: StatusCode, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Changing> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tokens are secrets of this simulation only: they need to differ, not to be hard to guess.
    fn new_token(&self, life: Duration) -> String {
        let mut changing = self.lock();
        let token = format!("{}-token-{}", self.facts.id, changing.tokens.len());
        changing.tokens.insert(token.clone(), now().plus(life));
        token
    }

    fn accepts(&self, token: &str) -> bool {
        self.lock().tokens.get(token).is_some_and(|end| now() < *end)
    }

    fn value(&self, path: &str) -> Option<String> {
        let facts = &self.facts;
        let credentials = "meta-data/iam/security-credentials";
        match path {
            "dynamic/instance-identity/document" => Some(self.identity_document()),
            "user-data" => {
                String::from_utf8(facts.user_data.clone()).ok().filter(|t| !t.is_empty())
            }
            "meta-data/iam/info" => facts.profile_arn.as_ref().map(|arn| profile(arn)),
            "meta-data/instance-id" => Some(facts.id.clone()),
            "meta-data/instance-type" => Some(facts.instance_type.clone()),
            "meta-data/ami-id" => Some(facts.image_id.clone()),
            "meta-data/local-ipv4" => Some(facts.private_ip.clone()),
            "meta-data/placement/availability-zone" => Some(facts.zone.clone()),
            "meta-data/placement/region" => Some(facts.region.clone()),
            "meta-data/spot/instance-action" => self.instance_action(),
            path if path == credentials => facts.role_name().map(str::to_owned),
            path => {
                let role = path.strip_prefix(credentials)?.strip_prefix('/')?;
                (facts.role_name() == Some(role)).then(role_credentials)
            }
        }
    }

    fn identity_document(&self) -> String {
        let facts = &self.facts;
        let document = json!({
            "accountId": facts.account,
            "architecture": "x86_64",
            "availabilityZone": facts.zone,
            "imageId": facts.image_id,
            "instanceId": facts.id,
            "instanceType": facts.instance_type,
            "pendingTime": self.pending_since.to_string(),
            "privateIp": facts.private_ip,
            "region": facts.region,
            "version": "2017-09-30",
        });
        format!("{document:#}")
    }

    fn instance_action(&self) -> Option<String> {
        let at = self.lock().interruption?;
        Some(json!({"action": "terminate", "time": at.to_string()}).to_string())
    }
}

fn profile(arn: &str) -> String {
    let info = json!({
        "Code": "Success",
        "LastUpdated": now().to_string(),
        "InstanceProfileArn": arn,
        "InstanceProfileId": "AIPASIMULATEDPROFILE0",
    });
    format!("{info:#}")
}

/// Credentials as the emulator takes them from anyone.
fn role_credentials() -> String {
    let credentials = json!({
        "Code": "Success",
        "Type": "AWS-HMAC",
        "LastUpdated": now().to_string(),
        "AccessKeyId": "test",
        "SecretAccessKey": "test",
        "Token": "test",
        "Expiration": now().plus(Duration::from_hours(6)).to_string(),
    });
    format!("{credentials:#}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use bailey_model::instance_type::Resources;
    use http_body_util::{BodyExt as _, Empty};
    use hyper::{Request, body::Bytes};
    use hyper_util::{client::legacy::Client, rt::TokioExecutor};

    fn facts() -> InstanceFacts {
        InstanceFacts {
            id: "i-0123456789abcdef0".to_owned(),
            instance_type: "m5.xlarge".to_owned(),
            resources: Resources { vcpus: 4, memory_mib: 16_384, threads_per_core: 2 },
            zone: "eu-west-1a".to_owned(),
            region: "eu-west-1".to_owned(),
            account: "123456789012".to_owned(),
            private_ip: "10.0.0.4".to_owned(),
            image_id: "ami-1".to_owned(),
            profile_arn: Some("arn:aws:iam::123456789012:instance-profile/parent".to_owned()),
            user_data: b"hosts_table = \"hosts\"\n".to_vec(),
        }
    }

    /// Status and body of one request with one header.
    async fn ask(
        metadata: &Metadata,
        method: &str,
        path: &str,
        header: (&str, &str),
    ) -> (u16, String) {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let request = Request::builder()
            .method(method)
            .uri(format!("{}/latest/{path}", metadata.url()))
            .header(header.0, header.1)
            .body(Empty::<Bytes>::new())
            .unwrap();
        let response = client.request(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn token(metadata: &Metadata) -> String {
        ask(metadata, "PUT", "api/token", (TOKEN_TTL, "60")).await.1
    }

    #[tokio::test]
    async fn nothing_is_answered_without_a_token() {
        let metadata = Metadata::serve(&facts()).await.unwrap();
        for header in [("x-other", "1"), (TOKEN, "made-up")] {
            assert_eq!(ask(&metadata, "GET", "meta-data/instance-id", header).await.0, 401);
        }
        let token = token(&metadata).await;
        assert_eq!(
            ask(&metadata, "GET", "meta-data/instance-id", (TOKEN, &token)).await,
            (200, "i-0123456789abcdef0".to_owned())
        );
    }

    #[tokio::test]
    async fn a_token_needs_a_life_within_awss_bounds() {
        let metadata = Metadata::serve(&facts()).await.unwrap();
        for ttl in ["0", "21601", "soon"] {
            assert_eq!(ask(&metadata, "PUT", "api/token", (TOKEN_TTL, ttl)).await.0, 400);
        }
        assert_eq!(ask(&metadata, "PUT", "api/token", ("x-other", "1")).await.0, 400);
        assert_eq!(ask(&metadata, "PUT", "api/token", ("x-forwarded-for", "1")).await.0, 403);
    }

    #[tokio::test]
    async fn the_instance_is_described_as_aws_describes_one() {
        let metadata = Metadata::serve(&facts()).await.unwrap();
        let token = token(&metadata).await;
        let get = async |path: &str| ask(&metadata, "GET", path, (TOKEN, &token)).await;
        let (_, document) = get("dynamic/instance-identity/document").await;
        let document: serde_json::Value = serde_json::from_str(&document).unwrap();
        assert_eq!(document["instanceId"], "i-0123456789abcdef0");
        assert_eq!(document["accountId"], "123456789012");
        assert_eq!(document["version"], "2017-09-30");
        assert_eq!(get("user-data").await.1, "hosts_table = \"hosts\"\n");
        assert_eq!(get("meta-data/iam/security-credentials/").await.1, "parent");
        assert_eq!(get("meta-data/iam/security-credentials/parent").await.0, 200);
        assert_eq!(get("meta-data/iam/security-credentials/other").await.0, 404);
    }

    #[tokio::test]
    async fn an_interruption_is_shown_once_it_is_announced() {
        let metadata = Metadata::serve(&facts()).await.unwrap();
        let token = token(&metadata).await;
        let path = "meta-data/spot/instance-action";
        assert_eq!(ask(&metadata, "GET", path, (TOKEN, &token)).await.0, 404);
        metadata.announce_interruption(UnixMillis(1_735_732_800_000));
        let (status, body) = ask(&metadata, "GET", path, (TOKEN, &token)).await;
        assert_eq!(status, 200);
        assert_eq!(body, r#"{"action":"terminate","time":"2025-01-01T12:00:00Z"}"#);
    }
}
