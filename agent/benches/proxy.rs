//! What the egress proxy costs a tunnel: throughput as a ratio to the same two sockets joined by nothing but
//! a copy, and latency added to a direct connection. Prints the figures; fails when a promise is missed.
//!
//! `cargo bench -p bailey-agent --bench proxy`

use bailey_agent::{
    network::{FiguresBoard, Limits, Resolver, Settings, serve},
    vsock::Vsock,
    workload::{Findings, Running},
};
use bailey_model::{Generation, hosts::RunningEnclave, network::HostName};
use bailey_vsock::EGRESS_PORT;
use std::{
    error::Error,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional_with_sizes},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    runtime::Runtime,
    sync::watch,
    task::JoinSet,
};

const BLOCK: usize = 64 * 1_024;
const CONNECTIONS: usize = 100;
const PER_CONNECTION: usize = 4 * 1_024 * 1_024;
const LAPS: usize = 5;
const TURNS: usize = 2_000;
/// At least so much of what a mere copy carries.
const RATIO: f64 = 0.8;
/// At most so much more than a direct connection takes, for one byte there and back.
const ADDED: Duration = Duration::from_micros(50);

type Failure = Box<dyn Error + Send + Sync>;

struct NoNames;

impl Resolver for NoNames {
    async fn resolve(&self, _: &HostName) -> io::Result<Vec<IpAddr>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

fn main() -> ExitCode {
    match measure() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("proxy: a promise is missed");
            ExitCode::FAILURE
        }
        Err(err) => {
            eprintln!("proxy: {err}");
            ExitCode::FAILURE
        }
    }
}

/// Peers and what is measured live on runtimes of their own, so that none counts on the other's threads.
fn measure() -> Result<bool, Failure> {
    let directory = tempfile::tempdir()?;
    let (peers, between) = (Runtime::new()?, Runtime::new()?);
    let sink = peers.block_on(bind_sink())?;
    let echo = peers.block_on(bind_echo())?;
    let mere = directory.path().join("mere.sock");
    between.spawn(join_merely(UnixListener::bind_in(&between, &mere)?, sink));
    let settings = Settings {
        vsock: Vsock::Unix(directory.path().to_owned()),
        ingress_address: Ipv4Addr::LOCALHOST.into(),
        limits: Limits::default(),
    };
    let enclave = Running {
        enclave_id: "bench".parse()?,
        generation: Generation(1),
        enclave: RunningEnclave { nitro_id: "i-1-enc1".into(), cid: 16 },
        egress: vec![sink.to_string().parse()?, echo.to_string().parse()?],
        ingress: vec![],
        debug: false,
    };
    let (_running, to_serve) = watch::channel(vec![enclave]);
    let (_found, findings) = watch::channel(Findings::new());
    between.spawn(serve(settings, || NoNames, to_serve, findings, FiguresBoard::default()));
    let ours = directory.path().join(format!("16.sock_{EGRESS_PORT}"));

    let (mut best_mere, mut best_ours) = (0.0_f64, 0.0_f64);
    for _ in 0..LAPS {
        best_mere = best_mere.max(peers.block_on(throughput(&mere, None))?);
        best_ours = best_ours.max(peers.block_on(throughput(&ours, Some(sink)))?);
    }
    let direct = peers.block_on(async { turns(TcpStream::connect(echo).await?).await })?;
    let through = peers.block_on(async { turns(open(&ours, Some(echo)).await?).await })?;
    let (ratio, added) = (best_ours / best_mere, through.saturating_sub(direct));
    println!(
        "egress proxy, {CONNECTIONS} connections, blocks of 64 KiB: {best_ours:.0} MiB/s, {ratio:.2} x a mere copy \
         between the same sockets ({best_mere:.0} MiB/s), at least {RATIO} is promised"
    );
    println!(
        "egress proxy, one byte there and back, median: {:.1} us, {:.1} us more than directly ({:.1} us), at most {} us \
         are promised",
        micros(through),
        micros(added),
        micros(direct),
        ADDED.as_micros()
    );
    Ok(ratio >= RATIO && added <= ADDED)
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

trait BindIn: Sized {
    fn bind_in(runtime: &Runtime, path: &Path) -> io::Result<Self>;
}

impl BindIn for UnixListener {
    fn bind_in(runtime: &Runtime, path: &Path) -> io::Result<Self> {
        let _entered = runtime.enter();
        Self::bind(path)
    }
}

/// What any proxy has to do at least: both ways, with buffers of the same size.
async fn join_merely(listener: UnixListener, to: SocketAddr) {
    while let Ok((mut inner, _)) = listener.accept().await {
        tokio::spawn(async move {
            let Ok(mut outer) = TcpStream::connect(to).await else { return };
            let _ = outer.set_nodelay(true);
            let _ = copy_bidirectional_with_sizes(&mut inner, &mut outer, BLOCK, BLOCK).await;
        });
    }
}

/// Reads all that comes and answers with one byte at its end.
async fn bind_sink() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut block = vec![0; BLOCK];
                while matches!(stream.read(&mut block).await, Ok(1..)) {}
                let _ = stream.write_all(b".").await;
            });
        }
    });
    Ok(address)
}

async fn bind_echo() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.set_nodelay(true);
                let (mut reader, mut writer) = stream.split();
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
            });
        }
    });
    Ok(address)
}

async fn open(path: &Path, to: Option<SocketAddr>) -> Result<UnixStream, Failure> {
    let mut stream = loop {
        match UnixStream::connect(path).await {
            Ok(stream) => break stream,
            // The agent has not bound it yet.
            Err(err) if err.kind() == io::ErrorKind::NotFound => tokio::task::yield_now().await,
            Err(err) => return Err(err.into()),
        }
    };
    if let Some(to) = to {
        stream.write_all(format!("CONNECT {to} HTTP/1.1\r\n\r\n").as_bytes()).await?;
        let mut head = vec![0; bailey_network::answer::TUNNEL.len()];
        stream.read_exact(&mut head).await?;
        if !head.starts_with(b"HTTP/1.1 200 ") {
            return Err(String::from_utf8_lossy(&head).into());
        }
    }
    Ok(stream)
}

/// MiB per second, over all connections together.
async fn throughput(path: &Path, to: Option<SocketAddr>) -> Result<f64, Failure> {
    let mut streams = Vec::new();
    for _ in 0..CONNECTIONS {
        streams.push(open(path, to).await?);
    }
    let begun = Instant::now();
    let mut sending = JoinSet::new();
    for mut stream in streams {
        sending.spawn(async move {
            let block = vec![7; BLOCK];
            for _ in 0..PER_CONNECTION / BLOCK {
                stream.write_all(&block).await?;
            }
            stream.shutdown().await?;
            stream.read_u8().await
        });
    }
    while let Some(sent) = sending.join_next().await {
        sent??;
    }
    let mebibytes = (CONNECTIONS * PER_CONNECTION / (1_024 * 1_024)).to_string().parse::<f64>()?;
    Ok(mebibytes / begun.elapsed().as_secs_f64())
}

/// The median time of one byte there and back.
async fn turns<S: AsyncReadWrite>(mut stream: S) -> Result<Duration, Failure> {
    let mut times = Vec::with_capacity(TURNS);
    for _ in 0..TURNS {
        let begun = Instant::now();
        stream.write_all(b"x").await?;
        stream.read_u8().await?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    times.get(TURNS / 2).copied().ok_or_else(|| "no turns".into())
}

trait AsyncReadWrite: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin {}

impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> AsyncReadWrite for T {}
