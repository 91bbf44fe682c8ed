//! Carrying the workload's bytes: out through the parent's proxy, and in from the parent's vsock.
//!
//! `keep` decides nothing here and reads nothing: the parent lets out what the enclave's record lists,
//! and what has to be secret or genuine is protected by the workload, by TLS for example.

use super::{
    STACK_BYTES,
    connection::{Connection, Listener, connect},
    settings::{ListenAddress, PeerAddress},
};
use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Connections in each direction, or of each port; more wait in the kernel's queue.
const CONNECTIONS: usize = 512;
/// What one direction of a connection holds.
const BUFFER: usize = 32 * 1024;
/// How long the parent's proxy may be away: it comes up with the enclave, and an agent may be started
/// again meanwhile.
const PARENT_PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries; nothing announces that the parent listens.
const PAUSE: Duration = Duration::from_millis(100);
/// After how long without a byte in either direction a connection is ended; longer than the parent's
/// own limit, which comes first.
const SILENCE: Duration = Duration::from_mins(15);

/// What the workload is told when the parent cannot be reached.
const NO_PARENT: &[u8] =
    b"HTTP/1.1 502 Bad Gateway\r\nconnection: close\r\ncontent-length: 37\r\n\r\n\
the parent's proxy cannot be reached\n";

/// Listens on the loopback and carries each connection to the parent's proxy; returns where.
pub(super) fn outward(parent: PeerAddress, port: u16) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let address = listener.local_addr()?;
    serve_in_background(
        "egress",
        move || Ok(Box::new(listener.accept()?.0)),
        move |mut workload| match reach(&parent) {
            Ok(parent) => join(workload, parent),
            Err(err) => {
                log::warn!(error = err.to_string().as_str(); "the parent's proxy cannot be reached");
                workload.write_all(NO_PARENT)
            }
        },
    )?;
    Ok(address)
}

/// Carries each connection that comes from the parent to this port of the loopback.
pub(super) fn inward(from: &ListenAddress, port: u16) -> io::Result<()> {
    let listener = Listener::bind(from)?;
    serve_in_background(
        "ingress",
        move || listener.accept(),
        move |parent| join(parent, Box::new(TcpStream::connect((Ipv4Addr::LOCALHOST, port))?)),
    )
}

/// The variables by which usual programs find the way out.
pub(super) fn variables(proxy: SocketAddr) -> impl Iterator<Item = (String, String)> {
    let url = format!("http://{proxy}");
    let names =
        ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
    let proxies = names.map(|name| (name.to_owned(), url.clone()));
    let local = "localhost,127.0.0.1,::1";
    let direct = ["NO_PROXY", "no_proxy"].map(|name| (name.to_owned(), local.to_owned()));
    proxies.into_iter().chain(direct)
}

fn reach(parent: &PeerAddress) -> io::Result<Box<dyn Connection>> {
    let deadline = Instant::now() + PARENT_PATIENCE;
    loop {
        match connect(parent) {
            Err(_) if Instant::now() < deadline => thread::sleep(PAUSE),
            reached => return reached,
        }
    }
}

/// Serves each connection in a thread of its own, for ever.
fn serve_in_background(
    name: &'static str,
    accept: impl Fn() -> io::Result<Box<dyn Connection>> + Send + 'static,
    serve: impl Fn(Box<dyn Connection>) -> io::Result<()> + Clone + Send + Sync + 'static,
) -> io::Result<()> {
    let (serve, seats) = (Arc::new(serve), Arc::new(Seats::default()));
    in_background(name, move || {
        loop {
            let seat = Seats::take(&seats);
            let begun = accept().and_then(|connection| {
                let serve = Arc::clone(&serve);
                in_background(name, move || {
                    // A side that broke off is the other side's end, and nobody's trouble here.
                    let _ = serve(connection);
                    drop(seat);
                })
            });
            if let Err(err) = begun {
                log::warn!(error = err.to_string().as_str(); "a connection was not carried");
                thread::sleep(PAUSE);
            }
        }
    })
}

fn in_background(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES);
    thread.spawn(work).map(drop)
}

/// Carries both ways until both sides have said their end.
fn join(one: Box<dyn Connection>, other: Box<dyn Connection>) -> io::Result<()> {
    for side in [&one, &other] {
        side.set_read_timeout(SILENCE)?;
        side.set_write_timeout(SILENCE)?;
    }
    let (from, to) = (one.duplicate()?, other.duplicate()?);
    let carried = Arc::new(AtomicBool::new(false));
    let carried_too = Arc::clone(&carried);
    let there = thread::Builder::new().name("carry".into()).stack_size(STACK_BYTES);
    let there = there.spawn(move || copy(from, to, &carried_too))?;
    copy(other, one, &carried);
    let _ = there.join();
    Ok(())
}

/// Copies until the end, which is passed on; a failure ends both sides.
fn copy(mut from: Box<dyn Connection>, mut to: Box<dyn Connection>, carried: &AtomicBool) {
    let mut buffer = vec![0; BUFFER];
    let ended = loop {
        match from.read(&mut buffer) {
            Ok(0) => break to.end_writing(),
            Ok(count) => {
                carried.store(true, Ordering::Relaxed);
                if let Err(err) = to.write_all(buffer.get(..count).unwrap_or_default()) {
                    break Err(err);
                }
            }
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            // The limit passed; the other direction may have carried something.
            Err(err) if is_timeout(&err) && carried.swap(false, Ordering::Relaxed) => {}
            Err(err) => break Err(err),
        }
    };
    if ended.is_err() {
        let _ = from.hang_up();
        let _ = to.hang_up();
    }
}

fn is_timeout(err: &io::Error) -> bool {
    matches!(err.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// How many connections are open.
#[derive(Default)]
struct Seats {
    taken: Mutex<usize>,
    given_back: Condvar,
}

struct Seat(Arc<Seats>);

impl Seats {
    /// Waits for a seat and takes it.
    fn take(seats: &Arc<Self>) -> Seat {
        let taken = seats.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let free = seats.given_back.wait_while(taken, |taken| *taken >= CONNECTIONS);
        *free.unwrap_or_else(PoisonError::into_inner) += 1;
        Seat(Arc::clone(seats))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        *self.0.taken.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.given_back.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn what_the_workload_sends_reaches_the_parents_proxy_and_the_end_of_each_side_is_passed_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("16.sock_3128");
        let proxy = outward(PeerAddress::Unix(path.clone()), 0).unwrap();
        let mut workload = TcpStream::connect(proxy).unwrap();
        // The parent listens later than the workload calls.
        let parent = UnixListener::bind(&path).unwrap();
        workload.write_all(b"CONNECT a.example:443 HTTP/1.1\r\n\r\n").unwrap();
        workload.shutdown(std::net::Shutdown::Write).unwrap();
        let (mut call, _) = parent.accept().unwrap();
        let mut asked = String::new();
        call.read_to_string(&mut asked).unwrap();
        assert_eq!(asked, "CONNECT a.example:443 HTTP/1.1\r\n\r\n");
        call.write_all(&vec![7; 100_000]).unwrap();
        drop(call);
        let mut answer = Vec::new();
        workload.read_to_end(&mut answer).unwrap();
        assert!(answer == vec![7; 100_000]);
    }

    #[test]
    fn what_comes_from_the_parent_reaches_the_port_of_the_loopback() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("port_80");
        let workload = TcpListener::bind("127.0.0.1:0").unwrap();
        inward(&ListenAddress::Unix(path.clone()), workload.local_addr().unwrap().port()).unwrap();
        let mut parent = UnixStream::connect(&path).unwrap();
        parent.write_all(b"hello").unwrap();
        let (mut served, _) = workload.accept().unwrap();
        let mut heard = [0; 5];
        served.read_exact(&mut heard).unwrap();
        served.write_all(&heard).unwrap();
        drop(served);
        let mut answer = String::new();
        parent.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "hello");
    }

    #[test]
    fn a_workload_is_told_the_way_out_in_every_usual_spelling() {
        let all: std::collections::BTreeMap<_, _> =
            variables("127.0.0.1:3128".parse().unwrap()).collect();
        assert_eq!(all["HTTPS_PROXY"], "http://127.0.0.1:3128");
        assert_eq!(all["https_proxy"], all["HTTPS_PROXY"]);
        assert_eq!(all["no_proxy"], "localhost,127.0.0.1,::1");
    }
}
