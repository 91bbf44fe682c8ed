//! Connections, and the bounds on them.

use crate::{identity::Identity, service::Service};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{convert::Infallible, io, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

/// How many connections are served at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 256;

/// How long a handshake may take, and a request's head.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a connection may go on.
const LIFE: Duration = Duration::from_mins(5);

/// What hyper may hold of a request's head, in bytes.
const HEAD: usize = 16 * 1024;

/// After a failure to accept, as without free descriptors; nothing announces that there are some again.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves for ever.
pub async fn serve(listener: TcpListener, identity: &Identity, service: Arc<Service>) {
    let seats = Arc::new(Semaphore::new(CONNECTIONS));
    let tls = TlsAcceptor::from(identity.tls());
    loop {
        // Nobody closes it.
        let Ok(seat) = Arc::clone(&seats).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (tls, service) = (tls.clone(), Arc::clone(&service));
                tokio::spawn(async move {
                    // A client that breaks off, or speaks something else, is its own trouble.
                    let _ = timeout(LIFE, converse(stream, tls, service)).await;
                    drop(seat);
                });
            }
            Err(err) => {
                eprintln!("attested-https: cannot accept: {err}");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, tls: TlsAcceptor, service: Arc<Service>) -> io::Result<()> {
    let stream = timeout(PATIENCE, tls.accept(stream)).await??;
    let answer = move |request: hyper::Request<Incoming>| {
        let service = Arc::clone(&service);
        async move { Ok::<_, Infallible>(service.answer(request).await) }
    };
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), service_fn(answer))
        .await
        .map_err(io::Error::other)
}
