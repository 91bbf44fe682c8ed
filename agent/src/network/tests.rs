//! Enclaves that are Unix sockets, servers on the loopback, and names that a test makes up.

use super::*;
use crate::workload::{Finding, Findings, Running};
use bailey_model::{
    Generation, UnixMillis,
    hosts::{RunningEnclave, WorkloadHealth},
    network::HostName,
};
use bailey_vsock::EGRESS_PORT;
use futures_util::FutureExt as _;
use proptest::prelude::*;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::{
        Arc, Mutex, Once,
        atomic::{AtomicU32, Ordering},
    },
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::watch,
    task::JoinHandle,
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// Names and their addresses, as somebody's name server would have them.
#[derive(Clone, Default)]
struct Names(Arc<BTreeMap<&'static str, Vec<IpAddr>>>);

impl Resolver for Names {
    async fn resolve(&self, name: &HostName) -> io::Result<Vec<IpAddr>> {
        self.0.get(name.as_str()).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn names(list: &[(&'static str, &[&str])]) -> Names {
    let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    Names(Arc::new(list.iter().map(|(name, texts)| (*name, parse(texts))).collect()))
}

/// A parent whose enclaves the test plays.
struct Parent {
    directory: TempDir,
    running: watch::Sender<Vec<Running>>,
    findings: watch::Sender<Findings>,
    figures: FiguresBoard,
    ingress_address: Ipv4Addr,
    _serving: JoinHandle<()>,
}

impl Parent {
    fn new(enclaves: Vec<Running>, names: Names, limits: Limits) -> Self {
        keep_log();
        let directory = tempfile::tempdir().unwrap();
        let (running, to_serve) = watch::channel(enclaves);
        let (findings, found) = watch::channel(Findings::new());
        let figures = FiguresBoard::default();
        let ingress_address = loopback_of_its_own();
        let settings = Settings {
            vsock: Vsock::Unix(directory.path().to_owned()),
            ingress_address: ingress_address.into(),
            limits,
        };
        let shown = figures.clone();
        let serving = tokio::spawn(serve(settings, move || names.clone(), to_serve, found, shown));
        Self { directory, running, findings, figures, ingress_address, _serving: serving }
    }

    /// A connection of an enclave to its parent, as soon as that listens.
    async fn call(&self, cid: u32) -> UnixStream {
        let path = self.directory.path().join(format!("{cid}.sock_{EGRESS_PORT}"));
        let connect = async {
            loop {
                match UnixStream::connect(&path).await {
                    Ok(stream) => return stream,
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        };
        timeout(PATIENCE, connect).await.unwrap()
    }

    /// Sends a request and returns the answer's head and what follows it until the end.
    async fn ask(&self, cid: u32, request: &[u8]) -> String {
        let mut call = self.call(cid).await;
        call.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        timeout(PATIENCE, call.read_to_end(&mut answer)).await.unwrap().unwrap();
        String::from_utf8(answer).unwrap()
    }

    /// A tunnel.
    async fn tunnel(&self, cid: u32, to: &str) -> UnixStream {
        let mut call = self.call(cid).await;
        call.write_all(connect(to).as_bytes()).await.unwrap();
        let mut head = vec![0; bailey_network::answer::TUNNEL.len()];
        timeout(PATIENCE, call.read_exact(&mut head)).await.unwrap().unwrap();
        assert_eq!(String::from_utf8(head).unwrap(), bailey_network::answer::TUNNEL);
        call
    }

    async fn visit(&self, port: u16) -> TcpStream {
        let visit = async {
            loop {
                match TcpStream::connect((self.ingress_address, port)).await {
                    Ok(stream) => return stream,
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        };
        timeout(PATIENCE, visit).await.unwrap()
    }

    async fn is_closed(&self, port: u16) {
        let refused = async {
            while TcpStream::connect((self.ingress_address, port)).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, refused).await.unwrap();
    }
}

/// An address of the loopback that no other test listens on.
fn loopback_of_its_own() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    Ipv4Addr::new(127, high.max(1), low, u8::try_from(next).unwrap())
}

fn enclave(id: &str, cid: u32, egress: &[&str], ingress: &[&str]) -> Running {
    Running {
        enclave_id: id.parse().unwrap(),
        generation: Generation(1),
        enclave: RunningEnclave { nitro_id: format!("i-1-enc{cid}"), cid },
        egress: egress.iter().map(|text| text.parse().unwrap()).collect(),
        ingress: ingress.iter().map(|text| text.parse().unwrap()).collect(),
        debug: false,
    }
}

fn connect(to: &str) -> String {
    format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n")
}

/// A server that sends back what it gets.
async fn echo() -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = split(stream);
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
                let _ = writer.shutdown().await;
            });
        }
    });
    (address, serving)
}

/// An enclave's own listener: echoes on `port`, after telling which port was asked for.
fn enclave_listening(directory: &Path, cid: u32) -> JoinHandle<()> {
    let listener = UnixListener::bind(directory.join(format!("{cid}.sock"))).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut line = Vec::new();
                while !line.ends_with(b"\n") {
                    line.push(stream.read_u8().await.unwrap());
                }
                let port = bailey_vsock::connect::parse_request(line.trim_ascii_end()).unwrap();
                stream.write_all(bailey_vsock::connect::reply_line(port).as_bytes()).await.unwrap();
                let (mut reader, mut writer) = split(stream);
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
                let _ = writer.shutdown().await;
            });
        }
    })
}

static LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Keeps what is logged in this process, by all its tests.
fn keep_log() {
    struct Keeper;
    struct Values(String);
    impl<'kvs> log::kv::VisitSource<'kvs> for Values {
        fn visit_pair(
            &mut self,
            key: log::kv::Key<'kvs>,
            value: log::kv::Value<'kvs>,
        ) -> Result<(), log::kv::Error> {
            let _ = write!(self.0, " {key}={value}");
            Ok(())
        }
    }
    impl log::Log for Keeper {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            let mut values = Values(record.args().to_string());
            record.key_values().visit(&mut values).unwrap();
            LOG.lock().unwrap().push(values.0);
        }
        fn flush(&self) {}
    }
    static KEEPER: Once = Once::new();
    KEEPER.call_once(|| {
        log::set_logger(&Keeper).unwrap();
        log::set_max_level(log::LevelFilter::Info);
    });
}

/// The refusals that were logged of an enclave.
fn refusals(id: &str) -> Vec<String> {
    let of = format!("egress refused enclave_id={id} ");
    LOG.lock().unwrap().iter().filter(|line| line.starts_with(&of)).cloned().collect()
}

async fn says(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut heard = vec![0; text.len()];
    timeout(PATIENCE, stream.read_exact(&mut heard)).await.unwrap().unwrap();
    assert_eq!(String::from_utf8(heard).unwrap(), text);
}

#[tokio::test]
async fn a_listed_name_and_a_listed_address_are_reached() {
    let (server, _serving) = echo().await;
    let port = server.port();
    let listed = [format!("service.test:{port}"), format!("127.0.0.1:{port}")];
    let listed: Vec<&str> = listed.iter().map(String::as_str).collect();
    let parent = Parent::new(
        vec![enclave("reaches", 16, &listed, &[])],
        names(&[("service.test", &["127.0.0.1"])]),
        Limits::default(),
    );
    for to in &listed {
        let mut tunnel = parent.tunnel(16, to).await;
        says(&mut tunnel, "hello").await;
        // The end of one direction, and the answer's end.
        tunnel.shutdown().await.unwrap();
        assert_eq!(
            timeout(PATIENCE, tunnel.read_u8()).await.unwrap().unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
    }
    let traffic = parent.figures.traffic();
    assert_eq!((traffic[0].tunnels, traffic[0].bytes_out, traffic[0].bytes_in), (2, 10, 10));
    assert_eq!(refusals("reaches"), Vec::<String>::new());
}

/// What an attacker inside of an enclave would try; each is refused and told in the log.
#[tokio::test]
async fn whatever_is_not_listed_is_refused_and_logged() {
    // Who would be reached if anything passed.
    let victim = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = victim.local_addr().unwrap().port();
    let names = names(&[
        ("rebound.test", &["127.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1"]),
        ("metadata.test", &["169.254.169.254"]),
        ("metadata6.test", &["fd00:ec2::254"]),
        ("private.test", &["10.0.0.1"]),
        ("hidden.test", &["127.0.0.1"]),
    ]);
    let listed = ["rebound.test", "metadata.test", "metadata6.test", "private.test"];
    let listed: Vec<String> = listed.iter().map(|name| format!("{name}:{port}")).collect();
    let listed: Vec<&str> = listed.iter().map(String::as_str).collect();
    let parent = Parent::new(vec![enclave("attacks", 17, &listed, &[])], names, Limits::default());
    let plain = |to: &str| connect(&format!("{to}:{port}"));
    let smuggled = |fields: &str| format!("CONNECT rebound.test:{port} HTTP/1.1\r\n{fields}\r\n");
    let attempts = [
        ("403", "not listed in the record", plain("hidden.test")),
        ("403", "not listed in the record", plain("127.0.0.1")),
        ("403", "not listed in the record", plain("10.0.0.1")),
        ("403", "not listed in the record", plain("169.254.169.254")),
        ("403", "not listed in the record", plain("[fd00:ec2::254]")),
        ("403", "not listed in the record", plain("[::ffff:127.0.0.1]")),
        ("403", "not listed in the record", connect("rebound.test:22")),
        ("403", "resolves to", plain("rebound.test")),
        ("403", "a metadata service", plain("metadata.test")),
        ("403", "a metadata service", plain("metadata6.test")),
        ("403", "private", plain("private.test")),
        ("400", "target is not host:port", plain("2130706433")),
        ("400", "target is not host:port", plain("0x7f.1")),
        ("400", "no body", smuggled("Content-Length: 5\r\n")),
        ("400", "no body", smuggled("Transfer-Encoding: chunked\r\n")),
        ("400", "header field", smuggled("Transfer-Encoding : chunked\r\n")),
        ("400", "header field", smuggled("X: 1\n\nCONNECT hidden.test:1 HTTP/1.1\r\n")),
        ("400", "Host field", smuggled("Host: hidden.test\r\n")),
        ("400", "before it was answered", smuggled("") + "GET / HTTP/1.1\r\n\r\n"),
        ("405", "only CONNECT", format!("GET http://127.0.0.1:{port}/ HTTP/1.1\r\n\r\n")),
    ];
    for (status, reason, request) in &attempts {
        let answer = parent.ask(17, request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}\n{answer}");
        assert!(answer.contains(reason), "{request}\n{answer}");
    }
    assert!(victim.accept().now_or_never().is_none());
    assert_eq!(usize::try_from(parent.figures.traffic()[0].refused), Ok(attempts.len()));
    let logged = refusals("attacks");
    assert_eq!(logged.len(), attempts.len(), "{logged:#?}");
    for ((_, reason, _), line) in attempts.iter().zip(&logged) {
        assert!(line.contains(reason) && line.contains("destination="), "{reason}\n{line}");
    }
}

#[tokio::test]
async fn an_enclave_whose_record_lists_nothing_reaches_nothing() {
    let parent =
        Parent::new(vec![enclave("silent", 18, &[], &[])], Names::default(), Limits::default());
    let answer = parent.ask(18, connect("example.com:443").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}

#[tokio::test]
async fn of_a_names_addresses_only_those_are_connected_to_that_may_be() {
    let (server, _serving) = echo().await;
    let port = server.port();
    let listed = [format!("mixed.test:{port}"), format!("127.0.0.1:{port}")];
    let listed: Vec<&str> = listed.iter().map(String::as_str).collect();
    let names = names(&[("mixed.test", &["169.254.169.254", "127.0.0.1"])]);
    let parent = Parent::new(vec![enclave("mixed", 19, &listed, &[])], names, Limits::default());
    let mut tunnel = parent.tunnel(19, listed[0]).await;
    says(&mut tunnel, "hello").await;
    let logged = refusals("mixed");
    assert!(logged.len() == 1 && logged[0].contains("at 169.254.169.254"), "{logged:?}");
}

#[tokio::test]
async fn one_who_asks_for_too_much_or_not_at_all_is_sent_away() {
    let (server, _serving) = echo().await;
    let to = server.to_string();
    let limits = Limits { connections: 2, head: Duration::from_millis(50), ..Limits::default() };
    let parent = Parent::new(vec![enclave("greedy", 20, &[&to], &[])], Names::default(), limits);
    let answer = parent.ask(20, b"CONNECT ").await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let (mut first, _second) = (parent.tunnel(20, &to).await, parent.tunnel(20, &to).await);
    let mut third = parent.call(20).await;
    assert_eq!(timeout(PATIENCE, third.read(&mut [0; 1])).await.unwrap().unwrap(), 0);
    says(&mut first, "goes on").await;
    assert!(refusals("greedy").iter().any(|line| line.contains("2 connections are open already")));
}

#[tokio::test]
async fn connections_end_with_the_enclave_and_what_follows_has_its_own() {
    let (server, _serving) = echo().await;
    let to = server.to_string();
    let first = enclave("first", 21, &[&to], &["8081:80"]);
    let parent = Parent::new(vec![first], Names::default(), Limits::default());
    let _enclave = enclave_listening(parent.directory.path(), 21);
    let mut tunnel = parent.tunnel(21, &to).await;
    let mut visitor = parent.visit(8_081).await;
    says(&mut visitor, "hello").await;
    // Another enclave with the same context id, which may reach nothing.
    let mut second = enclave("second", 21, &[], &[]);
    second.enclave.nitro_id = "i-1-enc99".to_owned();
    parent.running.send(vec![second]).unwrap();
    assert_eq!(timeout(PATIENCE, tunnel.read(&mut [0; 1])).await.unwrap().unwrap(), 0);
    assert!(matches!(timeout(PATIENCE, visitor.read(&mut [0; 1])).await.unwrap(), Ok(0) | Err(_)));
    parent.is_closed(8_081).await;
    let answer = parent.ask(21, connect(&to).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert_eq!(refusals("second").len(), 1);
}

#[tokio::test]
async fn a_port_leads_into_the_enclave_and_tells_who_connected_when_asked_to() {
    let ports = ["8443:443", "8080:80,proxy"];
    let parent =
        Parent::new(vec![enclave("reached", 22, &[], &ports)], Names::default(), Limits::default());
    let _enclave = enclave_listening(parent.directory.path(), 22);
    let mut visitor = parent.visit(8_443).await;
    says(&mut visitor, "hello").await;
    visitor.shutdown().await.unwrap();
    assert_eq!(timeout(PATIENCE, visitor.read(&mut [0; 1])).await.unwrap().unwrap(), 0);
    let mut visitor = parent.visit(8_080).await;
    let expected = bailey_network::proxy_header::encode(
        visitor.local_addr().unwrap(),
        visitor.peer_addr().unwrap(),
    );
    let mut header = vec![0; expected.len()];
    timeout(PATIENCE, visitor.read_exact(&mut header)).await.unwrap().unwrap();
    assert_eq!(header, expected);
    says(&mut visitor, "and then the bytes").await;
}

#[tokio::test]
async fn a_port_that_waits_for_health_is_open_while_the_workload_is_healthy() {
    let parent = Parent::new(
        vec![enclave("gated", 23, &[], &["8082:80,healthy", "8083:80"])],
        Names::default(),
        Limits::default(),
    );
    let _enclave = enclave_listening(parent.directory.path(), 23);
    let tell = |healthy| {
        let health = WorkloadHealth { healthy, detail: String::new(), since: UnixMillis(0) };
        let finding = Finding { health: Some(health), ..Finding::default() };
        parent.findings.send(Findings::from([("i-1-enc23".to_owned(), finding)])).unwrap();
    };
    says(&mut parent.visit(8_083).await, "not gated").await;
    parent.is_closed(8_082).await;
    tell(true);
    let mut visitor = parent.visit(8_082).await;
    says(&mut visitor, "open").await;
    tell(false);
    parent.is_closed(8_082).await;
    says(&mut visitor, "goes on").await;
    tell(true);
    says(&mut parent.visit(8_082).await, "open again").await;
}

/// The kernel's form, with a listener that the test plays: a call is whose context id it has.
mod one_listener_for_all {
    use super::{
        super::accept::{Call, Calls, Listener, Switchboard},
        *,
    };
    use tokio::{io::duplex, sync::mpsc};

    struct Kernel(mpsc::UnboundedReceiver<(Call, u32)>);

    impl Listener for Kernel {
        async fn accept(&mut self) -> io::Result<(Call, u32)> {
            match self.0.recv().await {
                Some(call) => Ok(call),
                None => std::future::pending().await,
            }
        }
    }

    async fn heard(calls: &mut Calls) -> String {
        let mut call = calls.next().await.unwrap();
        let mut said = String::new();
        call.read_to_string(&mut said).await.unwrap();
        said
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_waits_until_it_is_known_whose_it_is_and_a_strangers_is_dropped() {
        let switchboard = Switchboard::new();
        let (kernel, calls) = mpsc::unbounded_channel();
        let serving = switchboard.clone();
        tokio::spawn(async move { serving.serve(Kernel(calls)).await });
        let call = |cid: u32, text: &'static str| {
            let (mut here, there) = duplex(64);
            kernel.send((Box::new(there), cid)).unwrap();
            async move {
                here.write_all(text.as_bytes()).await.unwrap();
                here.shutdown().await.unwrap();
                here
            }
        };
        call(16, "early").await;
        let mut stranger = call(99, "stranger").await;
        tokio::task::yield_now().await;
        let mut sixteen = switchboard.register(16);
        let mut seventeen = switchboard.register(17);
        call(17, "of 17").await;
        call(16, "of 16").await;
        assert_eq!(heard(&mut seventeen).await, "of 17");
        assert_eq!(heard(&mut sixteen).await, "early");
        assert_eq!(heard(&mut sixteen).await, "of 16");
        assert_eq!(stranger.read(&mut [0; 1]).await.unwrap(), 0);
        // Whoever is registered anew under a context id is the one who is called, and stays it.
        let mut anew = switchboard.register(16);
        drop(sixteen);
        call(16, "anew").await;
        assert_eq!(heard(&mut anew).await, "anew");
    }
}

/// What one of two enclaves of a parent sends, in pieces.
fn talk() -> impl Strategy<Value = Vec<(bool, Vec<u8>)>> {
    prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 1..3_000)), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However their tunnels interleave, each of two enclaves hears what it said and nothing else, and
    /// neither reaches what only the other may.
    #[test]
    fn two_enclaves_of_one_parent_never_hear_each_other(talk in talk()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let ((one, _serving_one), (two, _serving_two)) = (echo().await, echo().await);
            let (one, two) = (one.to_string(), two.to_string());
            let enclaves = vec![enclave("one", 30, &[&one], &[]), enclave("two", 31, &[&two], &[])];
            let parent = Parent::new(enclaves, Names::default(), Limits::default());
            for (cid, others) in [(30, &two), (31, &one)] {
                let answer = parent.ask(cid, connect(others).as_bytes()).await;
                assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
            }
            let mut tunnels = [parent.tunnel(30, &one).await, parent.tunnel(31, &two).await];
            let mut said = [Vec::new(), Vec::new()];
            for (second, bytes) in &talk {
                let index = usize::from(*second);
                tunnels[index].write_all(bytes).await.unwrap();
                said[index].extend_from_slice(bytes);
            }
            for (tunnel, said) in tunnels.iter_mut().zip(said) {
                tunnel.shutdown().await.unwrap();
                let mut heard = Vec::new();
                timeout(PATIENCE, tunnel.read_to_end(&mut heard)).await.unwrap().unwrap();
                assert!(heard == said, "{} bytes said, {} heard", said.len(), heard.len());
            }
        });
    }
}
