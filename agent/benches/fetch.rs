//! What measuring costs a fetch: the throughput of fetching and measuring an image of 1 GiB, as a
//! ratio to the slower of the two alone.
//!
//! S3 is a server on loopback, as fast as the network of a small parent: 1.25 Gbit/s is what an `m5.xlarge` has for
//! good (EC2 User Guide, "Network bandwidth"). The promise is about that. As fast as loopback is, server, fetch and two
//! hashes want more than two processors have, and the ratio says how many there are; it is printed as well.
//! Fetching alone is four ranged reads at a time into a file. The image has most of its
//! bytes in the second ramdisk. `BAILEY_BENCH_MIB` makes it smaller.

#![allow(clippy::unwrap_used, reason = "a benchmark that meets the unexpected should stop there")]

#[path = "../../crates/eif/benches/image/mod.rs"]
mod image;

use aws_sdk_s3::{
    Client,
    config::{BehaviorVersion, Credentials, Region},
};
use bailey_agent::{
    image::{Cache, ProgressBoard, S3Images},
    ports::{FetchOrder, Images as _},
};
use bailey_model::{Generation, hosts::EifSource};
use futures_util::{StreamExt as _, stream};
use image::{MIB, image};
use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

const ROUNDS: usize = 3;
const RANGE_BYTES: u64 = 8 * MIB;
const IN_FLIGHT: usize = 4;

/// Of an `m5.xlarge`, for good.
const NETWORK_BYTES_PER_S: f64 = 1.25e9 / 8.0;

/// The promise.
const GOAL: f64 = 0.9;

fn main() -> ExitCode {
    let size_mib: u64 = std::env::var("BAILEY_BENCH_MIB").map_or(1_024, |mib| mib.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let first_mib = size_mib / 4;
    let path = image(directory.path(), first_mib * MIB, (size_mib - first_mib) * MIB);
    let unbounded = ratio(&path, directory.path(), None);
    println!("bench: eif_fetch_and_measure_over_slower_on_loopback={unbounded:.2}");
    let ratio = ratio(&path, directory.path(), Some(NETWORK_BYTES_PER_S));
    println!("bench: eif_fetch_and_measure_over_slower={ratio:.2}");
    println!("at least {GOAL}: {}", if ratio >= GOAL { "met" } else { "MISSED" });
    if ratio >= GOAL { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The slower of fetching and measuring alone, by both at once; the best of some rounds of each.
fn ratio(path: &Path, directory: &Path, bytes_per_s: Option<f64>) -> f64 {
    let size_bytes = path.metadata().unwrap().len();
    let client = client(serve(path.to_owned(), bytes_per_s));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let [mut fetched, mut measured, mut both] = [f64::INFINITY; 3];
    for _ in 0..ROUNDS {
        let target = directory.join("fetched");
        fetched = fetched.min(timed(|| runtime.block_on(fetch(&client, size_bytes, &target))));
        fs::remove_file(target).unwrap();
        measured = measured.min(timed(|| {
            bailey_eif::measure_file(File::open(path).unwrap()).unwrap();
        }));
        let cache = directory.join("cache");
        let images = S3Images::new(
            client.clone(),
            Cache::open(cache.clone(), u64::MAX).unwrap(),
            ProgressBoard::default(),
        );
        both = both.min(timed(|| {
            runtime.block_on(images.fetch(order())).unwrap();
        }));
        fs::remove_dir_all(cache).unwrap();
    }
    println!("fetched {fetched:.2} s, measured {measured:.2} s, both at once {both:.2} s");
    fetched.max(measured) / both
}

fn timed(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

fn order() -> FetchOrder {
    FetchOrder {
        enclave_id: "bench".parse().unwrap(),
        generation: Generation(1),
        source: EifSource {
            location: "s3://images/bench.eif".parse().unwrap(),
            version_id: None,
            sha384: None,
        },
        in_use: Vec::new(),
    }
}

/// Reads the object into a file that is synced, and does nothing else.
async fn fetch(client: &Client, size_bytes: u64, target: &Path) {
    let mut file = File::create(target).unwrap();
    let ranges = (0..size_bytes.div_ceil(RANGE_BYTES)).map(|index| index * RANGE_BYTES);
    let mut pieces = stream::iter(ranges)
        .map(|first| async move {
            let last = (first + RANGE_BYTES).min(size_bytes) - 1;
            let range = format!("bytes={first}-{last}");
            let get = client.get_object().bucket("images").key("bench.eif").range(range);
            get.send().await.unwrap().body.collect().await.unwrap()
        })
        .buffered(IN_FLIGHT);
    while let Some(piece) = pieces.next().await {
        file.write_all(&piece.into_bytes()).unwrap();
    }
    file.sync_all().unwrap();
}

fn client(port: u16) -> Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(Credentials::new("id", "secret", None, None, "bench"))
        .endpoint_url(format!("http://127.0.0.1:{port}"))
        .force_path_style(true)
        .region(Region::new("us-east-1"));
    Client::from_conf(config.build())
}

/// What all connections share: when the next bytes may leave.
#[derive(Debug)]
struct Network {
    bytes_per_s: Option<f64>,
    free_at: Mutex<Instant>,
}

impl Network {
    /// Returns when so many bytes have their turn.
    fn wait(&self, bytes: usize) {
        let Some(bytes_per_s) = self.bytes_per_s else { return };
        let bytes = f64::from(u32::try_from(bytes).unwrap());
        let turn = {
            let mut free_at = self.free_at.lock().unwrap();
            let turn = (*free_at).max(Instant::now());
            *free_at = turn + Duration::from_secs_f64(bytes / bytes_per_s);
            turn
        };
        thread::sleep(turn.saturating_duration_since(Instant::now()));
    }
}

/// Serves the file as the only object there is; the port.
fn serve(path: PathBuf, bytes_per_s: Option<f64>) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let network = Arc::new(Network { bytes_per_s, free_at: Mutex::new(Instant::now()) });
    thread::spawn(move || {
        for connection in listener.incoming() {
            let (path, network) = (path.clone(), Arc::clone(&network));
            thread::spawn(move || answer_all(&connection.unwrap(), &path, &network));
        }
    });
    port
}

fn answer_all(mut connection: &TcpStream, path: &Path, network: &Network) -> io::Result<()> {
    let mut file = File::open(path)?;
    let size_bytes = file.metadata()?.len();
    let mut lines = BufReader::new(connection).lines();
    let mut range = None;
    while let Some(line) = lines.next().transpose()? {
        if let Some((name, value)) = line.split_once(": ")
            && name.eq_ignore_ascii_case("range")
        {
            let (first, last) = value.trim_start_matches("bytes=").split_once('-').unwrap();
            range = Some((first.parse::<u64>().unwrap(), last.parse::<u64>().unwrap()));
        }
        if !line.is_empty() {
            continue;
        }
        let (status, length) =
            range.map_or((200, size_bytes), |(first, last)| (206, last - first + 1));
        let head =
            format!("HTTP/1.1 {status} -\r\nETag: \"1\"\r\nContent-Length: {length}\r\n\r\n");
        connection.write_all(head.as_bytes())?;
        if let Some((first, _)) = range.take() {
            file.seek(SeekFrom::Start(first))?;
            let mut rest = (&file).take(length);
            let mut block = vec![0; 256 * 1_024];
            loop {
                let count = rest.read(&mut block)?;
                if count == 0 {
                    break;
                }
                network.wait(count);
                connection.write_all(block.get(..count).unwrap())?;
            }
        }
    }
    Ok(())
}
