//! Connections to enclaves.
//!
//! On a parent this is the kernel's `AF_VSOCK`. In the local cloud each enclave has a Unix socket
//! `<dir>/<cid>.sock` that starts with the `CONNECT` handshake of Firecracker and Cloud Hypervisor.

use bailey_vsock::{
    connect::{self, HandshakeError},
    frame::{self, FrameError, HEADER_LEN},
};
use std::{
    io,
    path::{Path, PathBuf},
    str::FromStr,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::UnixStream,
};
use tokio_vsock::{VsockAddr, VsockStream};

/// How enclaves are reached; in the configuration `kernel` or `unix:<dir>`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Vsock {
    /// `AF_VSOCK`.
    Kernel,
    /// Unix sockets below this directory.
    Unix(PathBuf),
}

/// A connection to an enclave.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Vsock {
    /// Connects to a port of the enclave with this context id.
    pub async fn connect(&self, cid: u32, port: u32) -> Result<Box<dyn Stream>, ConnectError> {
        match self {
            Self::Kernel => {
                let stream = VsockStream::connect(VsockAddr::new(cid, port)).await;
                Ok(Box::new(stream.map_err(ConnectError::Connect)?))
            }
            Self::Unix(directory) => Ok(Box::new(hybrid(directory, cid, port).await?)),
        }
    }
}

/// Reads the body of the next frame, of at most `limit` bytes.
pub(crate) async fn read_frame(
    stream: &mut dyn Stream,
    limit: usize,
) -> Result<Vec<u8>, ReadFrameError> {
    let mut header = [0; HEADER_LEN];
    stream.read_exact(&mut header).await.map_err(ReadFrameError::Io)?;
    let length = frame::body_length(header, limit).map_err(ReadFrameError::Frame)?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.map_err(ReadFrameError::Io)?;
    Ok(body)
}

/// Why there is no frame; whoever asked says what of.
#[derive(Debug)]
pub(crate) enum ReadFrameError {
    Frame(FrameError),
    Io(io::Error),
}

async fn hybrid(directory: &Path, cid: u32, port: u32) -> Result<UnixStream, ConnectError> {
    let path = directory.join(format!("{cid}.sock"));
    let mut stream = UnixStream::connect(path).await.map_err(ConnectError::Connect)?;
    let request = connect::request_line(port);
    stream.write_all(request.as_bytes()).await.map_err(ConnectError::Connect)?;
    let reply = read_line(&mut stream).await.map_err(ConnectError::Handshake)?;
    connect::parse_reply(&reply).map_err(ConnectError::Handshake)?;
    Ok(stream)
}

/// Reads one line, without its newline, and not a byte beyond it: the rest is the stream's.
async fn read_line(stream: &mut UnixStream) -> Result<Vec<u8>, HandshakeError> {
    let mut line = Vec::with_capacity(connect::MAX_LINE_LEN);
    while line.len() < connect::MAX_LINE_LEN {
        match stream.read_u8().await {
            Ok(b'\n') => return Ok(line),
            Ok(byte) => line.push(byte),
            Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(HandshakeError::Closed);
            }
            Err(err) => return Err(HandshakeError::Io(err)),
        }
    }
    Err(HandshakeError::TooLong)
}

impl FromStr for Vsock {
    type Err = VsockFormError;

    fn from_str(text: &str) -> Result<Self, VsockFormError> {
        match text.strip_prefix("unix:") {
            Some(directory) if !directory.is_empty() => Ok(Self::Unix(directory.into())),
            None if text == "kernel" => Ok(Self::Kernel),
            _ => Err(VsockFormError { text: text.to_owned() }),
        }
    }
}

/// The text names no way to reach enclaves.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("vsock is `{text}`, it must be `kernel` or `unix:<directory>`")]
pub struct VsockFormError {
    text: String,
}

/// Why there is no connection to an enclave.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The socket cannot be connected.
    #[error("cannot connect to the enclave")]
    Connect(#[source] io::Error),
    /// The Unix socket that stands for a vsock did not accept.
    #[error("the enclave's socket did not accept")]
    Handshake(#[source] HandshakeError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixListener;

    async fn connect_to(reply: &'static [u8]) -> Result<String, ConnectError> {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("16.sock")).unwrap();
        let guest = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let line = read_line(&mut stream).await.unwrap();
            assert_eq!(line, b"CONNECT 5005");
            stream.write_all(reply).await.unwrap();
        });
        let connected = Vsock::Unix(directory.path().to_owned()).connect(16, 5_005).await;
        guest.await.unwrap();
        let mut rest = String::new();
        connected?.read_to_string(&mut rest).await.unwrap();
        Ok(rest)
    }

    #[tokio::test]
    async fn what_follows_the_handshake_is_the_stream() {
        assert_eq!(connect_to(b"OK 5005\nhello").await.unwrap(), "hello");
    }

    #[tokio::test]
    async fn a_connection_closed_without_an_ok_means_that_nobody_listens() {
        let err = connect_to(b"").await.unwrap_err();
        assert!(matches!(err, ConnectError::Handshake(HandshakeError::Closed)), "{err:?}");
    }

    #[test]
    fn the_two_forms_are_read() {
        assert_eq!("kernel".parse(), Ok(Vsock::Kernel));
        assert_eq!("unix:/run/v".parse(), Ok(Vsock::Unix("/run/v".into())));
        for text in ["", "unix:", "tcp:1"] {
            assert_eq!(text.parse::<Vsock>(), Err(VsockFormError { text: text.to_owned() }));
        }
    }
}
