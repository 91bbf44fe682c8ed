//! Lambda's runtime API, as functions poll it.
//!
//! Source: AWS, "Using the Lambda runtime API for custom runtimes".

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, State},
    http::{Response, StatusCode},
    routing::{get, post},
};
use bailey_runtime::now;
use serde_json::Value;
use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::TcpListener,
    sync::{Notify, oneshot},
    task::AbortHandle,
};

/// How long an invocation may take: as the function's timeout is meant to be set.
const TIMEOUT: Duration = Duration::from_mins(1);

/// What came of an invocation.
#[derive(Clone, Debug, PartialEq)]
pub enum Invoked {
    /// The function answered.
    Answered(Value),
    /// It failed, or ended.
    Failed(Value),
}

/// A runtime API on loopback.
#[derive(Debug)]
pub(super) struct RuntimeApi {
    address: String,
    shared: Arc<Shared>,
    server: AbortHandle,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<VecDeque<Invocation>>,
    changed: Notify,
    answers: Mutex<HashMap<String, oneshot::Sender<Invoked>>>,
    count: AtomicU64,
}

#[derive(Debug)]
struct Invocation {
    id: String,
    event: Value,
}

impl RuntimeApi {
    pub(super) async fn serve() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?.to_string();
        let shared = Arc::new(Shared::default());
        let base = "/2018-06-01/runtime";
        let router = Router::new()
            .route(&format!("{base}/invocation/next"), get(next))
            .route(&format!("{base}/invocation/{{id}}/response"), post(answered))
            .route(&format!("{base}/invocation/{{id}}/error"), post(failed))
            .route(&format!("{base}/init/error"), post(StatusCode::ACCEPTED))
            .with_state(Arc::clone(&shared));
        let server = async move { axum::serve(listener, router).await };
        Ok(Self { address, shared, server: tokio::spawn(server).abort_handle() })
    }

    /// Host and port.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Gives the event to the next function that asks for one, and waits for what comes of it.
    pub(super) async fn invoke(&self, event: Value) -> Invoked {
        let number = self.shared.count.fetch_add(1, Ordering::Relaxed);
        let id = format!("{number:08x}-0000-4000-8000-000000000000");
        let (sender, answer) = oneshot::channel();
        lock(&self.shared.answers).insert(id.clone(), sender);
        lock(&self.shared.waiting).push_back(Invocation { id: id.clone(), event });
        self.shared.changed.notify_one();
        let outcome = tokio::time::timeout(TIMEOUT, answer).await;
        lock(&self.shared.answers).remove(&id);
        match outcome {
            Ok(Ok(invoked)) => invoked,
            Ok(Err(_)) | Err(_) => Invoked::Failed("no answer in time".into()),
        }
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    async fn next(&self) -> Invocation {
        loop {
            if let Some(invocation) = lock(&self.waiting).pop_front() {
                return invocation;
            }
            // A permit is kept when it comes before this.
            self.changed.notified().await;
        }
    }

    fn settle(&self, id: &str, invoked: Invoked) -> StatusCode {
        let Some(sender) = lock(&self.answers).remove(id) else { return StatusCode::NOT_FOUND };
        // Whoever waited may have given up.
        let _ = sender.send(invoked);
        StatusCode::ACCEPTED
    }
}

async fn next(State(shared): State<Arc<Shared>>) -> Result<Response<Body>, StatusCode> {
    let Invocation { id, event } = shared.next().await;
    // One permit may stand for several invocations.
    shared.changed.notify_one();
    let deadline = now().plus(TIMEOUT).0;
    Response::builder()
        .header("content-type", "application/json")
        .header("lambda-runtime-aws-request-id", id)
        .header("lambda-runtime-deadline-ms", deadline)
        .header(
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:eu-west-1:123456789012:function:bailey-coordinator",
        )
        .body(Body::from(event.to_string()))
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

async fn answered(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    answer: Bytes,
) -> StatusCode {
    shared.settle(&id, Invoked::Answered(read(&answer)))
}

async fn failed(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    reason: Bytes,
) -> StatusCode {
    shared.settle(&id, Invoked::Failed(read(&reason)))
}

/// Functions say what they send by no header.
fn read(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_default()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one of these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
