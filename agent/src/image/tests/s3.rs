//! One object in an S3 that goes wrong on demand: a small HTTP server on loopback.

use aws_sdk_s3::{
    Client,
    config::{BehaviorVersion, Credentials, Region, retry::RetryConfig},
};
use std::{
    collections::BTreeMap,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// The region of the parent.
pub(super) const REGION: &str = "us-east-1";

/// What goes wrong with one answer to a range.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// S3 asks for patience.
    Busy,
    /// A byte is another.
    Corrupt,
    /// Half of the bytes, and the connection ends.
    Cut,
    /// The object is another from now on.
    Replace(Contents),
    /// Half of the bytes, and then nothing more.
    Stall,
}

/// An object's bytes and what S3 says about them.
#[derive(Clone, Debug)]
pub(super) struct Contents {
    pub(super) bytes: Vec<u8>,
    pub(super) etag: &'static str,
    /// CRC-64/NVME in base64.
    pub(super) checksum: Option<String>,
}

/// How every call is answered.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) bucket_region: Option<&'static str>,
}

/// The server; clones are the same.
#[derive(Clone, Debug)]
pub(super) struct FaultyS3 {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    contents: Contents,
    /// By the first byte of a range; each happens once, unless it is for ever.
    faults: Vec<(u64, Fault)>,
    for_ever: BTreeMap<u64, Fault>,
    refusal: Option<Refusal>,
    asked: Vec<u64>,
}

impl FaultyS3 {
    pub(super) fn start(contents: Contents) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let state = State {
            contents,
            faults: Vec::new(),
            for_ever: BTreeMap::new(),
            refusal: None,
            asked: Vec::new(),
        };
        let server =
            Self { address: listener.local_addr().unwrap(), state: Arc::new(Mutex::new(state)) };
        let shared = server.clone();
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let server = shared.clone();
                // A client that gave up is no concern of the server's.
                thread::spawn(move || server.serve(&connection).ok());
            }
        });
        server
    }

    pub(super) fn client(&self) -> Client {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .credentials_provider(Credentials::new("id", "secret", None, None, "test"))
            .endpoint_url(format!("http://{}", self.address))
            .force_path_style(true)
            .region(Region::new(REGION))
            .retry_config(RetryConfig::disabled());
        Client::from_conf(config.build())
    }

    /// Lets something go wrong with the next answer to the range that starts at `first`.
    pub(super) fn once(&self, first: u64, fault: Fault) {
        self.state.lock().unwrap().faults.push((first, fault));
    }

    /// Lets something go wrong with every answer to the range that starts at `first`.
    pub(super) fn always(&self, first: u64, fault: Fault) {
        self.state.lock().unwrap().for_ever.insert(first, fault);
    }

    pub(super) fn refuse(&self, refusal: Refusal) {
        self.state.lock().unwrap().refusal = Some(refusal);
    }

    /// The first bytes of all ranges that were asked for so far, in order of size.
    pub(super) fn asked(&self) -> Vec<u64> {
        let mut asked = self.state.lock().unwrap().asked.clone();
        asked.sort_unstable();
        asked
    }

    fn serve(&self, connection: &TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(connection.try_clone()?);
        loop {
            let Some(request) = Request::read(&mut reader)? else { return Ok(()) };
            if !self.answer(&request, connection)? {
                return Ok(());
            }
        }
    }

    /// Answers; whether the connection goes on.
    fn answer(&self, request: &Request, mut to: &TcpStream) -> io::Result<bool> {
        let mut state = self.state.lock().unwrap();
        if let Some(Refusal { status, code, bucket_region }) = state.refusal.clone() {
            drop(state);
            let region = bucket_region.map(|region| ("x-amz-bucket-region", region.to_owned()));
            return refuse(to, request, status, code, region.as_slice());
        }
        let Some((first, last)) = request.range() else {
            let Contents { bytes, etag, checksum } = &state.contents;
            let mut headers = vec![("ETag", (*etag).to_owned())];
            if let Some(checksum) = checksum {
                headers.push(("x-amz-checksum-crc64nvme", checksum.clone()));
                headers.push(("x-amz-checksum-type", "FULL_OBJECT".to_owned()));
            }
            to.write_all(head(200, bytes.len(), &headers).as_bytes())?;
            return Ok(true);
        };
        state.asked.push(first);
        let place = state.faults.iter().position(|(at, _)| *at == first);
        let fault = place
            .map(|place| state.faults.remove(place).1)
            .or_else(|| state.for_ever.get(&first).cloned());
        if let Some(Fault::Replace(contents)) = &fault {
            state.contents = contents.clone();
        }
        let Contents { bytes, etag, .. } = state.contents.clone();
        drop(state);
        if request.headers.get("if-match").is_some_and(|wanted| wanted != etag) {
            return refuse(to, request, 412, "PreconditionFailed", &[]);
        }
        let from = usize::try_from(first).unwrap();
        let to_end = usize::try_from(last + 1).unwrap().min(bytes.len());
        let mut range = bytes[from..to_end].to_vec();
        let head = head(206, range.len(), &[("ETag", etag.to_owned())]);
        match fault {
            Some(Fault::Busy) => return refuse(to, request, 503, "SlowDown", &[]),
            Some(Fault::Corrupt) => {
                let middle = range.len() / 2;
                range[middle] ^= 1;
            }
            Some(Fault::Cut) => {
                to.write_all(head.as_bytes())?;
                to.write_all(&range[..range.len() / 2])?;
                return Ok(false);
            }
            Some(Fault::Stall) => {
                to.write_all(head.as_bytes())?;
                to.write_all(&range[..range.len() / 2])?;
                // Until the client has had enough.
                let _ = to.read(&mut [0])?;
                return Ok(false);
            }
            Some(Fault::Replace(_)) | None => {}
        }
        to.write_all(head.as_bytes())?;
        to.write_all(&range)?;
        Ok(true)
    }
}

/// A request of which only the head matters.
struct Request {
    method: String,
    headers: BTreeMap<String, String>,
}

impl Request {
    fn read(from: &mut impl io::BufRead) -> io::Result<Option<Self>> {
        let mut lines = from.lines();
        let Some(first) = lines.next().transpose()? else { return Ok(None) };
        let mut headers = BTreeMap::new();
        for line in lines {
            let line = line?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let method = first.split(' ').next().unwrap_or_default().to_owned();
        Ok(Some(Self { method, headers }))
    }

    /// The first and the last byte asked for.
    fn range(&self) -> Option<(u64, u64)> {
        let (first, last) = self.headers.get("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse().ok()?, last.parse().ok()?))
    }
}

fn refuse(
    mut to: &TcpStream,
    request: &Request,
    status: u16,
    code: &str,
    headers: &[(&str, String)],
) -> io::Result<bool> {
    let body = format!("<Error><Code>{code}</Code><Message>no</Message></Error>");
    to.write_all(head(status, body.len(), headers).as_bytes())?;
    if request.method != "HEAD" {
        to.write_all(body.as_bytes())?;
    }
    Ok(true)
}

fn head(status: u16, length: usize, headers: &[(&str, String)]) -> String {
    let headers: Vec<_> =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("HTTP/1.1 {status} -\r\nContent-Length: {length}\r\n{}\r\n", headers.concat())
}
