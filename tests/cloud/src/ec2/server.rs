//! The listener: EC2's calls on `/`, the control interface on `/_sim/…`.

use super::{Query, Refusal, actions, control, fault::FaultKind, simulator::Simulator};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{RawQuery, State},
    http::{HeaderMap, Response, StatusCode, header},
    routing::any,
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{io, sync::Arc};
use tokio::net::{TcpListener, TcpStream};

/// Serves the simulation until the future is dropped.
pub async fn serve(listener: TcpListener, simulator: Arc<Simulator>) -> io::Result<()> {
    let router =
        Router::new().route("/", any(call)).nest("/_sim", control::routes()).with_state(simulator);
    loop {
        let (stream, _) = listener.accept().await?;
        let router = router.clone();
        tokio::spawn(async move { serve_connection(stream, router).await });
    }
}

/// The answer to a call is lost: put on a response in the place of which the connection ends.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the answer is lost, on demand")]
struct Lost;

async fn serve_connection(stream: TcpStream, router: Router) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut router = router.clone();
        async move {
            let response = match tower_service(&mut router, request).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            match response.extensions().get::<Lost>() {
                Some(lost) => Err(*lost),
                None => Ok(response),
            }
        }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        log::debug!(error = error.to_string(); "connection ended");
    }
}

fn tower_service(
    router: &mut Router,
    request: hyper::Request<Incoming>,
) -> impl Future<Output = Result<Response<Body>, std::convert::Infallible>> {
    use hyper::service::Service as _;
    hyper_util::service::TowerToHyperService::new(router.clone()).call(request.map(Body::new))
}

async fn call(
    State(simulator): State<Arc<Simulator>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let query = match query {
        Some(query) if body.is_empty() => Query::parse(query.as_bytes()),
        _ => Query::parse(&body),
    };
    let request_id = request_id(&simulator);
    let signed = query.text("X-Amz-Signature").is_some() || is_signed(&headers);
    let answer = if signed { answer(&simulator, &query, &request_id).await } else { unsigned() };
    match answer {
        Ok(Some(body)) => xml(StatusCode::OK, body),
        Ok(None) => lost(),
        Err(refusal) => xml(refusal.status, refusal.body(&request_id)),
    }
}

/// Carries the call out, or what a fault makes of it; nothing when the answer is lost.
async fn answer(
    simulator: &Arc<Simulator>,
    query: &Query,
    request_id: &str,
) -> Result<Option<String>, Refusal> {
    let fault = simulator.count(query.text("Action").unwrap_or_default());
    if let Some(refusal) = fault.as_ref().and_then(FaultKind::refusal) {
        return Err(refusal);
    }
    match fault {
        Some(FaultKind::DropBefore) => return Ok(None),
        Some(FaultKind::HoldBefore) => simulator.hold().await,
        _ => {}
    }
    let answer = actions::answer(simulator, query, request_id);
    match fault {
        Some(FaultKind::DropAfter) => return Ok(None),
        Some(FaultKind::HoldAfter) => simulator.hold().await,
        _ => {}
    }
    answer.map(Some)
}

/// A version 4 signature is there; whether it is right is not checked.
fn is_signed(headers: &HeaderMap) -> bool {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    authorization
        .is_some_and(|text| text.starts_with("AWS4-HMAC-SHA256 ") && text.contains("Credential="))
}

fn unsigned() -> Result<Option<String>, Refusal> {
    Err(Refusal {
        status: StatusCode::FORBIDDEN,
        ..Refusal::new("MissingAuthenticationToken", "Request is missing Authentication Token")
    })
}

fn request_id(simulator: &Simulator) -> String {
    simulator.lock().region.new_id("req")
}

fn xml(status: StatusCode, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let content_type = header::HeaderValue::from_static("text/xml;charset=UTF-8");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

fn lost() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(Lost);
    response
}
