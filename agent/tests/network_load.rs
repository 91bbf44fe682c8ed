//! A thousand connections of two enclaves at once, with peers that misbehave and an agent that ends in the
//! middle: nothing is mixed up, and nothing is left. Alone in its process, because it counts descriptors.

#![allow(clippy::unwrap_used, reason = "an agent that cannot be prepared has failed its test")]

use bailey_agent::{
    network::{FiguresBoard, Limits, Resolver, Settings, serve},
    vsock::Vsock,
    workload::{Findings, Running},
};
use bailey_model::{Generation, hosts::RunningEnclave, network::HostName};
use bailey_vsock::EGRESS_PORT;
use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, UnixStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};

const PATIENCE: Duration = Duration::from_mins(1);
const CONNECTIONS: usize = 1_000;

struct NoNames;

impl Resolver for NoNames {
    async fn resolve(&self, _: &HostName) -> io::Result<Vec<IpAddr>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// A server that says its letter again and again while it is read, or sends back, or just sits there.
#[derive(Clone, Copy)]
enum Manner {
    Echo,
    Endless(u8),
    Silent,
    Reset,
}

async fn server(manner: Manner) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let mut open = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            open.spawn(async move {
                match manner {
                    Manner::Echo => {
                        let (mut reader, mut writer) = stream.split();
                        let _ = tokio::io::copy(&mut reader, &mut writer).await;
                        let _ = writer.shutdown().await;
                    }
                    Manner::Endless(letter) => {
                        while stream.write_all(&[letter; 4_096]).await.is_ok() {}
                    }
                    Manner::Silent => drop(stream.read_to_end(&mut Vec::new()).await),
                    // Closing with unread bytes resets.
                    Manner::Reset => drop(stream.read_u8().await),
                }
            });
        }
    });
    (address, serving)
}

fn agent(
    directory: &Path,
    enclaves: &[Running],
    limits: Limits,
) -> (JoinHandle<()>, watch::Sender<Vec<Running>>, FiguresBoard) {
    let settings = Settings {
        vsock: Vsock::Unix(directory.to_owned()),
        ingress_address: Ipv4Addr::LOCALHOST.into(),
        limits,
    };
    let (running, to_serve) = watch::channel(enclaves.to_vec());
    let (_, findings) = watch::channel(Findings::new());
    let figures = FiguresBoard::default();
    let serving = tokio::spawn(serve(settings, || NoNames, to_serve, findings, figures.clone()));
    (serving, running, figures)
}

async fn tunnel(directory: &Path, cid: u32, to: SocketAddr) -> io::Result<UnixStream> {
    let path = directory.join(format!("{cid}.sock_{EGRESS_PORT}"));
    let mut stream = loop {
        match UnixStream::connect(&path).await {
            Ok(stream) => break stream,
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    };
    stream.write_all(format!("CONNECT {to} HTTP/1.1\r\n\r\n").as_bytes()).await?;
    let mut head = vec![0; bailey_network::answer::TUNNEL.len()];
    stream.read_exact(&mut head).await?;
    assert!(head.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&head));
    Ok(stream)
}

/// Says a text of its own and hears it, in several turns.
async fn converse(directory: &Path, cid: u32, to: SocketAddr, number: usize) {
    let mut stream = tunnel(directory, cid, to).await.unwrap();
    for turn in 0..5 {
        let said = format!("enclave {cid}, connection {number}, turn {turn};").repeat(20);
        stream.write_all(said.as_bytes()).await.unwrap();
        let mut heard = vec![0; said.len()];
        stream.read_exact(&mut heard).await.unwrap();
        assert_eq!(String::from_utf8(heard).unwrap(), said);
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(timeout(PATIENCE, waiting).await.is_ok(), "{what}: {} descriptors", descriptors());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_connections_misbehaving_peers_and_a_restart_leave_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let (echo, _s1) = server(Manner::Echo).await;
    let (endless, _s2) = server(Manner::Endless(b'x')).await;
    let (silent, _s3) = server(Manner::Silent).await;
    let (reset, _s4) = server(Manner::Reset).await;
    let all: Vec<_> =
        [echo, endless, silent, reset].iter().map(|it| it.to_string().parse().unwrap()).collect();
    let enclave = |cid: u32| Running {
        enclave_id: format!("load-{cid}").parse().unwrap(),
        generation: Generation(1),
        enclave: RunningEnclave { nitro_id: format!("i-1-enc{cid}"), cid },
        egress: all.clone(),
        ingress: vec![],
        debug: false,
    };
    let enclaves = [enclave(16), enclave(17)];
    let before = descriptors();

    // 1. A thousand at once, 500 of each enclave, all open before the first ends.
    let limits = Limits { idle: Duration::from_secs(2), ..Limits::default() };
    let (serving, running, figures) = agent(path, &enclaves, limits);
    let mut talks = JoinSet::new();
    for number in 0..CONNECTIONS {
        let path = path.to_owned();
        let cid = 16 + u32::from(number % 2 == 1);
        talks.spawn(async move { converse(&path, cid, echo, number).await });
    }
    while let Some(done) = timeout(PATIENCE, talks.join_next()).await.unwrap() {
        done.unwrap();
    }
    let open = || figures.traffic().iter().map(|it| it.open).sum::<u64>();
    until("all connections have ended", || open() == 0).await;
    assert_eq!(figures.traffic().iter().map(|it| it.tunnels).collect::<Vec<_>>(), [500, 500]);

    // 2. Peers that do not read, do not write, leave in the middle, or say the end of one side only.
    let mut odd = Vec::new();
    for number in 0..200 {
        let to = [endless, silent, reset, echo][number % 4];
        let mut stream = timeout(PATIENCE, tunnel(path, 16, to)).await.unwrap().unwrap();
        match number % 4 {
            2 => drop(stream.write_all(b"two bytes at least").await),
            3 => stream.shutdown().await.unwrap(),
            _ => {}
        }
        odd.push(stream);
    }
    // The slow readers and the silent are given up when nothing was carried for long enough, though none
    // of these streams was closed here.
    until("misbehaving connections were ended", || open() == 0).await;
    drop(odd);

    // 3. The agent ends in the middle of five hundred tunnels, and another one takes over.
    let mut streams = Vec::new();
    for number in 0..CONNECTIONS / 2 {
        let cid = 16 + u32::from(number % 2 == 1);
        streams.push(timeout(PATIENCE, tunnel(path, cid, echo)).await.unwrap().unwrap());
    }
    serving.abort();
    for stream in &mut streams {
        assert!(matches!(
            timeout(PATIENCE, stream.read(&mut [0; 1])).await.unwrap(),
            Ok(0) | Err(_)
        ));
    }
    drop((streams, running));
    let (serving, running, _figures) = agent(path, &enclaves, Limits::default());
    for cid in [16, 17] {
        timeout(PATIENCE, converse(path, cid, echo, 0)).await.unwrap();
    }

    // 4. The enclaves end.
    running.send(vec![]).unwrap();
    let gone = || fs::read_dir(path).unwrap().count() == 0;
    until("the enclaves' sockets are gone", gone).await;
    drop(running);
    timeout(PATIENCE, serving).await.unwrap().unwrap();
    until("all descriptors were given back", || descriptors() <= before).await;
}
