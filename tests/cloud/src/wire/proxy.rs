//! Passing calls on, or what a fault makes of that.

use super::{
    Held, Plan, Shared, answer,
    call::{Call, Party},
    fault::{Side, WireFault},
};
use axum::http::{Request, Response, Uri, header, request::Parts, uri::Authority};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use std::{io, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

type Answer = Response<BoxBody<Bytes, hyper::Error>>;

/// The caller gets no answer: its connection ends.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no answer")]
struct Lost;

/// The service that calls are passed on to.
#[derive(Clone, Debug)]
pub(super) struct Upstream {
    client: Client<HttpConnector, Full<Bytes>>,
    authority: Authority,
}

/// The emulator closes connections that are idle for five seconds.
const IDLE: Duration = Duration::from_secs(2);

impl Upstream {
    pub(super) fn new(url: &str) -> io::Result<Self> {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
        let address = url.trim_start_matches("http://").trim_end_matches('/');
        let authority = address.parse::<Authority>().map_err(invalid)?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).pool_idle_timeout(IDLE).build(connector);
        Ok(Self { client, authority })
    }

    /// Sends a request as it came, but for what is about the connection alone.
    async fn send(&self, head: &Parts, body: &Bytes) -> Result<Response<Incoming>, Lost> {
        let mut head = head.clone();
        let path = head.uri.path_and_query().cloned();
        head.uri = Uri::builder()
            .scheme("http")
            .authority(self.authority.clone())
            .path_and_query(path.map_or_else(|| "/".to_owned(), |path| path.to_string()))
            .build()
            .map_err(|_| Lost)?;
        for name in [header::CONNECTION, header::EXPECT, header::TRANSFER_ENCODING] {
            head.headers.remove(name);
        }
        let request = Request::from_parts(head, Full::from(body.clone()));
        self.client.request(request).await.map_err(|error| {
            log::debug!(error = bailey_runtime::chain(&error); "the service did not answer");
            Lost
        })
    }
}

/// Serves one party's calls of one service until the future is dropped.
pub(super) async fn serve(
    listener: TcpListener,
    party: Party,
    upstream: Upstream,
    shared: Arc<Shared>,
) {
    loop {
        // A connection that is gone before it was accepted is the caller's concern.
        let Ok((stream, _)) = listener.accept().await else { continue };
        tokio::spawn(serve_connection(stream, party, upstream.clone(), Arc::clone(&shared)));
    }
}

async fn serve_connection(
    stream: TcpStream,
    party: Party,
    upstream: Upstream,
    shared: Arc<Shared>,
) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request: Request<Incoming>| {
        let (upstream, shared) = (upstream.clone(), Arc::clone(&shared));
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map_err(|_| Lost)?.to_bytes();
            let call = Call::of(party, &head, &body);
            let plan = shared.plan(&call);
            // On its own, for a call takes its course although its caller hangs up.
            let passing = tokio::spawn(pass_on(upstream, head, body, call, plan));
            passing.await.unwrap_or(Err(Lost))
        }
    });
    if let Err(error) = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
    {
        log::debug!(error = error.to_string(); "connection ended");
    }
}

async fn pass_on(
    upstream: Upstream,
    head: Parts,
    body: Bytes,
    call: Call,
    plan: Plan,
) -> Result<Answer, Lost> {
    if let Some((side, reached)) = plan.stop {
        let answer = match side {
            Side::Before => None,
            Side::After => Some(upstream.send(&head, &body).await?),
        };
        hold(call, reached).await?;
        return match answer {
            Some(answer) => Ok(streamed(answer)),
            None => upstream.send(&head, &body).await.map(streamed),
        };
    }
    let send = || upstream.send(&head, &body);
    let trouble = |trouble| whole(answer::error(&call, trouble));
    match plan.fault {
        None => send().await.map(streamed),
        Some(WireFault::Delay(Side::Before, delay)) => {
            tokio::time::sleep(delay).await;
            send().await.map(streamed)
        }
        Some(WireFault::Delay(Side::After, delay)) => {
            let answer = send().await?;
            tokio::time::sleep(delay).await;
            Ok(streamed(answer))
        }
        Some(WireFault::Drop(Side::Before)) => Err(Lost),
        Some(WireFault::Drop(Side::After)) => {
            spend(send().await?).await;
            Err(Lost)
        }
        Some(WireFault::Duplicate) => {
            spend(send().await?).await;
            send().await.map(streamed)
        }
        Some(WireFault::Error(Side::Before, what)) => Ok(trouble(what)),
        Some(WireFault::Error(Side::After, what)) => {
            spend(send().await?).await;
            Ok(trouble(what))
        }
    }
}

/// Shows whom it concerns that the call is held, and waits until it goes on or is lost.
async fn hold(call: Call, reached: oneshot::Sender<Held>) -> Result<(), Lost> {
    let (goes_on, told) = oneshot::channel();
    match reached.send(Held { call, goes_on }) {
        Ok(()) => {}
        // Nobody waits for it any more.
        Err(held) => held.pass(),
    }
    told.await.map_err(|_| Lost)
}

/// Reads an answer to its end, for nobody.
async fn spend(answer: Response<Incoming>) {
    let mut body = answer.into_body();
    while let Some(Ok(_)) = body.frame().await {}
}

fn streamed(mut answer: Response<Incoming>) -> Answer {
    answer.headers_mut().remove(header::CONNECTION);
    answer.map(http_body_util::BodyExt::boxed)
}

fn whole(answer: Response<Full<Bytes>>) -> Answer {
    answer.map(|body| body.map_err(|never| match never {}).boxed())
}
