//! A client of the simulator, for the tests and for setting up.

use super::{Fault, FaultKind, Settings, SimulationView, control::SpotNotice};
use axum::http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::Serialize;
use url::form_urlencoded;

/// A client of one simulator.
#[derive(Clone, Debug)]
pub struct Control {
    client: Client<HttpConnector, Full<Bytes>>,
    url: String,
}

/// EC2's answer to a call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct QueryAnswer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The XML.
    pub body: String,
}

impl QueryAnswer {
    /// The text of the first element with this name.
    #[must_use]
    pub fn element(&self, name: &str) -> Option<&str> {
        let (_, rest) = self.body.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0)
    }
}

impl Control {
    /// A client for the simulator at `url`, `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn new(url: &str) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { client, url: url.trim_end_matches('/').to_owned() }
    }

    /// The simulator's address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Makes an EC2 call with a signature that opens nothing.
    pub async fn call(
        &self,
        action: &str,
        parameters: &[(&str, &str)],
    ) -> Result<QueryAnswer, ControlError> {
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("Action", action), ("Version", "2016-11-15")])
            .extend_pairs(parameters)
            .finish();
        let request = Request::post(format!("{}/", self.url))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::AUTHORIZATION, "AWS4-HMAC-SHA256 Credential=test, Signature=none");
        let (status, body) = self.send(request.body(Full::from(body))).await?;
        Ok(QueryAnswer { status, body: String::from_utf8_lossy(&body).into_owned() })
    }

    /// Everything that the simulation knows.
    pub async fn state(&self) -> Result<SimulationView, ControlError> {
        let request = Request::get(format!("{}/_sim/state", self.url)).body(Full::default());
        let (_, body) = self.send(request).await?;
        serde_json::from_slice(&body).map_err(|source| ControlError::Answer { source })
    }

    /// Lets the next `times` calls of `action` go wrong.
    pub async fn inject(
        &self,
        action: &str,
        times: u32,
        kind: FaultKind,
    ) -> Result<(), ControlError> {
        let fault = Fault { action: action.to_owned(), times, kind };
        self.change(Method::POST, "faults", &fault).await
    }

    /// Forgets the faults that have yet to strike.
    pub async fn clear_faults(&self) -> Result<(), ControlError> {
        self.change(Method::DELETE, "faults", &()).await
    }

    /// Lets held calls go on.
    pub async fn release(&self) -> Result<(), ControlError> {
        self.change(Method::POST, "release", &()).await
    }

    /// Changes how the simulation behaves.
    pub async fn set(&self, settings: Settings) -> Result<(), ControlError> {
        self.change(Method::POST, "settings", &settings).await
    }

    /// Lets an instance fail as its hardware would.
    pub async fn fail_instance(&self, id: &str) -> Result<(), ControlError> {
        self.change(Method::POST, &format!("instances/{id}/fail"), &()).await
    }

    /// Kills the agent of an instance; it is started again, as systemd would.
    pub async fn kill_agent(&self, id: &str) -> Result<(), ControlError> {
        self.change(Method::POST, &format!("instances/{id}/kill-agent"), &()).await
    }

    /// Announces on the instance's metadata service that it will be taken back.
    pub async fn announce_interruption(
        &self,
        id: &str,
        in_seconds: u64,
    ) -> Result<(), ControlError> {
        let path = format!("instances/{id}/spot-notice");
        self.change(Method::POST, &path, &SpotNotice { in_seconds }).await
    }

    async fn change<T: Serialize + Sync>(
        &self,
        method: Method,
        path: &str,
        body: &T,
    ) -> Result<(), ControlError> {
        let body = serde_json::to_vec(body).map_err(|source| ControlError::Answer { source })?;
        let request = Request::builder()
            .method(method)
            .uri(format!("{}/_sim/{path}", self.url))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(body));
        let (status, body) = self.send(request).await?;
        if status.is_success() {
            return Ok(());
        }
        let message = String::from_utf8_lossy(&body).into_owned();
        Err(ControlError::Refused { path: path.to_owned(), status, message })
    }

    async fn send(
        &self,
        request: Result<Request<Full<Bytes>>, axum::http::Error>,
    ) -> Result<(StatusCode, Bytes), ControlError> {
        let request = request.map_err(|source| ControlError::Request { source })?;
        let lost = |source| ControlError::Connection { source };
        let response = self.client.request(request).await;
        let response = response.map_err(|source| lost(Box::new(source)))?;
        let status = response.status();
        let body = response.into_body().collect().await;
        Ok((status, body.map_err(|source| lost(Box::new(source)))?.to_bytes()))
    }
}

/// Why a call of the simulator came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// What was sent or answered is not JSON of the expected form.
    #[error("the simulator and its client do not understand each other")]
    Answer {
        /// The converter's reason.
        source: serde_json::Error,
    },
    /// The connection ended before an answer came.
    #[error("the simulator did not answer")]
    Connection {
        /// The client's reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The simulator refused.
    #[error("the simulator refused `{path}` with {status}: {message}")]
    Refused {
        /// What was asked for.
        path: String,
        /// The HTTP status.
        status: StatusCode,
        /// Why.
        message: String,
    },
    /// The request could not be made.
    #[error("the request cannot be made")]
    Request {
        /// The builder's reason.
        source: axum::http::Error,
    },
}
