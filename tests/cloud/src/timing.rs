//! What the coordinator itself takes, told apart from what it waits for.
//!
//! [`Timing::proxy`] stands between the coordinator and a part of the local cloud and notes when each
//! request arrives and when its answer is there to be handed back. The coordinator is the one that is
//! built for production and knows nothing of it; its connections just lead here.
//!
//! From these notes [`event_to_launch`] takes, for a record that is alone in an otherwise idle cloud,
//! the time from the answer of `GetRecords` that brought the record's event to the arrival of its
//! `RunInstances`, without the time in which one of its requests in between was with the emulator or
//! the simulator. What is left is what the coordinator computes, and its share of the connections: the
//! way of each request here and of each answer back counts as the coordinator's.

use axum::http::{HeaderMap, Request, Response, StatusCode, Uri, header, uri::PathAndQuery};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use std::{
    convert::Infallible,
    error::Error,
    io,
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};

/// What passes through the proxies, in the order in which it was answered.
#[derive(Clone, Debug, Default)]
pub struct Timing {
    exchanges: Arc<Mutex<Vec<Exchange>>>,
}

/// A request and its answer.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The action: `TransactGetItems`, `RunInstances`; `GET` and the path for S3.
    pub action: String,
    /// When the request arrived.
    pub arrived: Instant,
    /// When the whole answer was there.
    pub answered: Instant,
    /// The answer.
    pub answer: Bytes,
}

/// A proxy that runs until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    url: String,
    task: AbortHandle,
}

impl Proxy {
    /// The address that leads through it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Upstream = Client<HttpConnector, Full<Bytes>>;
type AnyError = Box<dyn Error + Send + Sync>;

impl Timing {
    /// A proxy on loopback that leads to `upstream`, `http://127.0.0.1:PORT`.
    pub async fn proxy(&self, upstream: &str) -> io::Result<Proxy> {
        let upstream = upstream.parse::<Uri>().map_err(io::Error::other)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let mut connector = HttpConnector::new();
        // A request is one small write, and whoever waits for more to come with it is measured here.
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let timing = self.clone();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                tokio::spawn(timing.clone().serve(stream, client.clone(), upstream.clone()));
            }
        });
        Ok(Proxy { url, task: serving.abort_handle() })
    }

    /// Takes what was noted so far.
    #[must_use]
    pub fn take(&self) -> Vec<Exchange> {
        std::mem::take(&mut *self.lock())
    }

    async fn serve(self, stream: TcpStream, client: Upstream, upstream: Uri) {
        let service = service_fn(|request| {
            let (timing, client, upstream) = (self.clone(), client.clone(), upstream.clone());
            async move { Ok::<_, Infallible>(timing.pass(request, &client, &upstream).await) }
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        if let Err(error) = connection.await {
            log::debug!(error = error.to_string(); "connection ended");
        }
    }

    /// Passes a request on and its answer back.
    async fn pass(
        &self,
        request: Request<Incoming>,
        client: &Upstream,
        upstream: &Uri,
    ) -> Response<Full<Bytes>> {
        let arrived = Instant::now();
        match pass(request, client, upstream).await {
            Ok((action, response)) => {
                let answer = response.body().clone();
                let answered = Instant::now();
                self.lock().push(Exchange { action, arrived, answered, answer });
                response.map(Full::new)
            }
            Err(error) => {
                log::warn!(error = error.to_string(); "request cannot be passed on");
                let mut response = Response::new(Full::default());
                *response.status_mut() = StatusCode::BAD_GATEWAY;
                response
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Exchange>> {
        // Nothing panics while it holds the lock; if it did, the list would still be usable.
        self.exchanges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn pass(
    request: Request<Incoming>,
    client: &Upstream,
    upstream: &Uri,
) -> Result<(String, Response<Bytes>), AnyError> {
    let (mut head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let action = action(head.method.as_str(), &head.uri, &head.headers, &body);
    let mut to = upstream.clone().into_parts();
    to.path_and_query =
        Some(head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")));
    head.uri = Uri::from_parts(to)?;
    forget_hop(&mut head.headers);
    let answer = client.request(Request::from_parts(head, Full::new(body))).await?;
    let (mut head, body) = answer.into_parts();
    forget_hop(&mut head.headers);
    Ok((action, Response::from_parts(head, body.collect().await?.to_bytes())))
}

/// Removes what holds for one connection only; lengths are stated anew.
fn forget_hop(headers: &mut HeaderMap) {
    for name in [header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
        headers.remove(name);
    }
}

fn action(method: &str, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> String {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok());
    if let Some((_, action)) = target.and_then(|target| target.rsplit_once('.')) {
        return action.to_owned();
    }
    let mut pairs = url::form_urlencoded::parse(body);
    match pairs.find(|(name, _)| name == "Action") {
        Some((_, action)) => action.into_owned(),
        None => format!("{method} {}", uri.path()),
    }
}

/// What reads the streams: it goes on all the time, and nobody waits for it.
const OF_STREAMS: [&str; 3] = ["DescribeStream", "GetRecords", "GetShardIterator"];

/// The coordinator's own time from the event of the record `id` to its launch; none when either is
/// missing. Nothing else may have happened meanwhile.
#[must_use]
pub fn event_to_launch(exchanges: &[Exchange], id: &str) -> Option<Duration> {
    let tells = |exchange: &&Exchange| {
        exchange.action == "GetRecords" && contains(&exchange.answer, id.as_bytes())
    };
    let seen = exchanges.iter().filter(tells).map(|exchange| exchange.answered).min()?;
    let calls = exchanges.iter().filter(|exchange| exchange.action == "RunInstances");
    let launched = calls.map(|exchange| exchange.arrived).filter(|at| *at >= seen).min()?;
    let mut waits: Vec<_> = exchanges
        .iter()
        .filter(|exchange| !OF_STREAMS.contains(&exchange.action.as_str()))
        .map(|exchange| (exchange.arrived.max(seen), exchange.answered.min(launched)))
        .filter(|(from, to)| from < to)
        .collect();
    waits.sort_unstable();
    let mut own = Duration::ZERO;
    let mut at = seen;
    for (from, to) in waits {
        own += from.saturating_duration_since(at);
        at = at.max(to);
    }
    Some(own + launched.saturating_duration_since(at))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// The value below which the given share of all lies, of values in ascending order; none of none.
#[must_use]
pub fn percentile(sorted: &[Duration], per_cent: usize) -> Option<Duration> {
    let rank = (sorted.len() * per_cent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn exchanges(of: &[(&str, u64, u64, &'static str)]) -> Vec<Exchange> {
        let start = Instant::now();
        of.iter()
            .map(|(action, arrived, answered, answer)| Exchange {
                action: (*action).to_owned(),
                arrived: start + MS(*arrived),
                answered: start + MS(*answered),
                answer: Bytes::from_static(answer.as_bytes()),
            })
            .collect()
    }

    #[test]
    fn what_was_waited_for_is_left_out_once_and_the_streams_are_not_waited_for() {
        let noted = exchanges(&[
            ("GetRecords", 0, 10, "enc_1"),
            ("TransactGetItems", 12, 20, ""),
            // Two at once are waited for once.
            ("PutItem", 21, 30, ""),
            ("UpdateItem", 25, 35, ""),
            ("GetRecords", 15, 40, "enc_1"),
            ("RunInstances", 38, 90, ""),
            ("PutItem", 91, 95, ""),
        ]);
        assert_eq!(event_to_launch(&noted, "enc_1"), Some(MS(2 + 1 + 3)));
        assert_eq!(event_to_launch(&noted, "enc_2"), None);
    }

    #[test]
    fn what_was_under_way_before_the_event_counts_from_it_on() {
        let noted = exchanges(&[
            ("Query", 0, 20, ""),
            ("GetRecords", 5, 10, "enc_1"),
            ("RunInstances", 25, 30, ""),
        ]);
        assert_eq!(event_to_launch(&noted, "enc_1"), Some(MS(5)));
    }

    #[test]
    fn percentiles_are_values_that_were_met() {
        let values: Vec<_> = (1..=50).map(MS).collect();
        assert_eq!(percentile(&values, 50), Some(MS(25)));
        assert_eq!(percentile(&values, 99), Some(MS(50)));
        assert_eq!(percentile(&[], 50), None);
    }
}
