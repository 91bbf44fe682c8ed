//! Asking the workload whether it is healthy.

use super::{
    chain, clock,
    connection::{Connection, Timed},
};
use crate::workload::{Health, Probe};
use bailey_vsock::workload::{self as protocol, HealthStatus};
use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// An answer up to this age is given again, so that a parent that asks all the time does not keep
/// the workload busy with it.
const REUSED_FOR: Duration = Duration::from_millis(250);

/// Enough for a status line.
const MAX_STATUS_LINE_LEN: usize = 256;

/// Carries out the image's probe, once at a time.
#[derive(Debug)]
pub(super) struct Prober {
    health: Option<Health>,
    last: Mutex<Option<(Instant, protocol::Health)>>,
}

impl Prober {
    pub(super) fn new(health: Option<Health>) -> Self {
        Self { health, last: Mutex::new(None) }
    }

    /// How the workload is; takes the probe's deadline at most, and as long again while another
    /// peer's probe is under way.
    pub(super) fn health(&self) -> protocol::Health {
        let Some(health) = &self.health else {
            return report(HealthStatus::NotConfigured, "the image configures no probe".to_owned());
        };
        // A probe that panicked left no answer.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, answer)) = last.as_ref().filter(|(at, _)| at.elapsed() < REUSED_FOR) {
            return answer.clone();
        }
        let answer = match probe(health) {
            Ok(detail) => report(HealthStatus::Healthy, detail),
            Err(err) => report(HealthStatus::Unhealthy, chain(&err)),
        };
        *last = Some((Instant::now(), answer.clone()));
        answer
    }
}

fn report(status: HealthStatus, detail: String) -> protocol::Health {
    protocol::Health { status, detail: protocol::shorten(detail), at_ms: clock::now_ms() }
}

fn probe(health: &Health) -> Result<String, ProbeError> {
    let started = Instant::now();
    let deadline = Duration::from_millis(health.timeout_ms.into());
    let (Probe::Http { port, .. } | Probe::Tcp { port }) = health.probe;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, deadline)
        .map_err(|source| ProbeError::Connect { port, source })?;
    match &health.probe {
        Probe::Tcp { .. } => Ok(format!("port {port} accepts connections")),
        Probe::Http { path, .. } => {
            let rest = deadline.saturating_sub(started.elapsed());
            let status = get(&mut stream, path, rest)?;
            Ok(format!("HTTP status {status}"))
        }
    }
}

/// The status of a GET, from 200 to 399.
fn get(stream: &mut dyn Connection, path: &str, deadline: Duration) -> Result<u16, ProbeError> {
    let mut stream = Timed::new(stream, deadline);
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: keep\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).map_err(ProbeError::Exchange)?;
    let mut answer = Vec::with_capacity(MAX_STATUS_LINE_LEN);
    let mut chunk = [0; MAX_STATUS_LINE_LEN];
    while answer.len() < MAX_STATUS_LINE_LEN && !answer.contains(&b'\n') {
        match stream.read(&mut chunk).map_err(ProbeError::Exchange)? {
            0 => break,
            count => answer.extend_from_slice(chunk.get(..count).unwrap_or_default()),
        }
    }
    let status = status(&answer).ok_or(ProbeError::NotHttp)?;
    if (200..400).contains(&status) { Ok(status) } else { Err(ProbeError::Status { status }) }
}

/// From `HTTP/1.1 200 OK`; RFC 9112, section 4.
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\n').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    words.next().filter(|code| code.len() == 3)?.parse().ok()
}

/// Why the workload is not healthy.
#[derive(Debug, thiserror::Error)]
enum ProbeError {
    #[error("cannot connect to port {port}")]
    Connect { port: u16, source: io::Error },
    #[error("no HTTP answer in time")]
    Exchange(#[source] io::Error),
    #[error("the answer is not HTTP")]
    NotHttp,
    #[error("HTTP status {status}")]
    Status { status: u16 },
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{net::TcpListener, thread};

    /// Asks a workload that answers one request with `answer`, or holds the connection open.
    fn ask(answer: Option<&'static str>, timeout_ms: u32) -> protocol::Health {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let workload = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.extend(byte);
            }
            assert!(request.starts_with(b"GET /healthz HTTP/1.1\r\n"));
            match answer {
                Some(answer) => stream.write_all(answer.as_bytes()).unwrap(),
                // Until the probe gives up.
                None => assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0),
            }
        });
        let probe = Probe::Http { port, path: "/healthz".into() };
        let health = Prober::new(Some(Health { probe, timeout_ms })).health();
        workload.join().unwrap();
        health
    }

    #[test]
    fn http_statuses_decide() {
        for (answer, status, detail) in [
            ("HTTP/1.1 200 OK\r\n\r\n", HealthStatus::Healthy, "HTTP status 200"),
            ("HTTP/1.0 302 Found\r\n\r\n", HealthStatus::Healthy, "HTTP status 302"),
            ("HTTP/1.1 503 No\r\n\r\n", HealthStatus::Unhealthy, "HTTP status 503"),
            ("SSH-2.0-x\r\n", HealthStatus::Unhealthy, "the answer is not HTTP"),
            ("", HealthStatus::Unhealthy, "the answer is not HTTP"),
        ] {
            let health = ask(Some(answer), 20_000);
            assert_eq!((health.status, health.detail.as_str()), (status, detail), "{answer:?}");
        }
    }

    #[test]
    fn a_workload_that_does_not_answer_in_time_is_unhealthy() {
        let health = ask(None, 50);
        assert_eq!(health.status, HealthStatus::Unhealthy);
        assert!(health.detail.starts_with("no HTTP answer in time"), "{}", health.detail);
    }

    #[test]
    fn a_port_is_healthy_while_somebody_listens() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let health = || Prober::new(Some(Health::new(Probe::Tcp { port }))).health().status;
        assert_eq!(health(), HealthStatus::Healthy);
        drop(listener);
        assert_eq!(health(), HealthStatus::Unhealthy);
    }

    #[test]
    fn without_a_probe_there_is_nothing_to_say() {
        assert_eq!(Prober::new(None).health().status, HealthStatus::NotConfigured);
    }
}
