//! The process that answers for DynamoDB, its streams and S3: `ministack`.
//!
//! It listens on loopback, keeps everything below one directory and is gone when its handle is.

use crate::processes::{self, Program};
use nix::sys::signal::Signal;
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{io::AsyncReadExt as _, io::AsyncWriteExt as _, net::TcpStream, process::Child};

/// The environment variable that names the Python environment in which `ministack` is installed.
pub const VENV: &str = "BAILEY_VENV";

/// What starts the emulator, with a correction of its S3.
const LAUNCHER: &str = include_str!("emulator.py");
/// How long the emulator may take to answer for the first time.
const START_LIMIT: Duration = Duration::from_mins(1);
const PROBE_PERIOD: Duration = Duration::from_millis(20);
/// A port that was free may be taken before the emulator binds it.
const TRIES: usize = 5;

/// An emulator that runs.
#[derive(Debug)]
pub struct Emulator {
    child: Child,
    url: String,
}

/// Where the emulator is and where it keeps things.
#[derive(Clone, Debug)]
pub struct EmulatorOptions {
    /// The Python environment with `ministack`.
    pub venv: PathBuf,
    /// The directory of the local cloud.
    pub state: PathBuf,
    /// The region that it answers for.
    pub region: String,
}

impl Emulator {
    /// Starts the emulator and waits until it answers.
    pub async fn start(options: &EmulatorOptions) -> Result<Self, EmulatorError> {
        let python = options.venv.join("bin/python");
        if !options.venv.join("bin/ministack").is_file() || !python.is_file() {
            return Err(EmulatorError::Missing { venv: options.venv.clone() });
        }
        let launcher = options.state.join("emulator/launch.py");
        fs::write(&launcher, LAUNCHER).map_err(|source| EmulatorError::Start { source })?;
        let log = options.state.join("logs/emulator.log");
        for _ in 0..TRIES {
            let port = free_port().map_err(|source| EmulatorError::Start { source })?;
            let program = program(options, &python, &launcher, &log, port);
            let mut child = program.start().map_err(|source| EmulatorError::Start { source })?;
            let url = format!("http://127.0.0.1:{port}");
            tokio::select! {
                () = answers(port) => return Ok(Self { child, url }),
                _ = child.wait() => {}
                () = tokio::time::sleep(START_LIMIT) => return Err(EmulatorError::Mute { log }),
            }
        }
        Err(EmulatorError::Ended { log })
    }

    /// The address that every AWS client is given.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Ends the emulator; what it held is lost.
    pub async fn end(mut self) {
        let _ = self.child.kill().await;
    }
}

fn program(
    options: &EmulatorOptions,
    python: &Path,
    launcher: &Path,
    log: &Path,
    port: u16,
) -> Program {
    let state = |name: &str| options.state.join("emulator").join(name).into_os_string();
    let environment: [(&str, OsString); 10] = [
        (processes::ENVIRONMENT, options.state.clone().into_os_string()),
        ("BIND_HOST", "127.0.0.1".into()),
        ("GATEWAY_PORT", port.to_string().into()),
        ("LAMBDA_EXECUTOR", "local".into()),
        ("LOG_LEVEL", "WARNING".into()),
        ("MINISTACK_REGION", options.region.clone().into()),
        ("PYTHONUNBUFFERED", "1".into()),
        ("S3_DATA_DIR", state("s3")),
        ("STATE_DIR", state("state")),
        // It keeps a file with its process id among the temporary ones.
        ("TMPDIR", options.state.join("emulator").into_os_string()),
    ];
    let named = |(name, value): (&str, OsString)| (name.to_owned(), value);
    Program {
        path: python.to_owned(),
        arguments: vec![launcher.into()],
        environment: environment.into_iter().map(named).collect::<BTreeMap<_, _>>(),
        log: log.to_owned(),
        when_orphaned: Signal::SIGKILL,
    }
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Asks for the emulator's health again and again until it answers well.
async fn answers(port: u16) {
    while !is_healthy(port).await.unwrap_or_default() {
        tokio::time::sleep(PROBE_PERIOD).await;
    }
}

async fn is_healthy(port: u16) -> io::Result<bool> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    let request =
        b"GET /_ministack/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await?;
    let mut status_line = [0; 12];
    stream.read_exact(&mut status_line).await?;
    Ok(&status_line == b"HTTP/1.1 200")
}

/// Why the emulator does not run.
#[derive(Debug, thiserror::Error)]
pub enum EmulatorError {
    /// It ended at once, each time.
    #[error("the emulator ends at its start, see `{}`", log.display())]
    Ended {
        /// Its output.
        log: PathBuf,
    },
    /// It is not installed.
    #[error("`{}` holds no ministack: run scripts/setup, or set {VENV}", venv.display())]
    Missing {
        /// Where it was looked for.
        venv: PathBuf,
    },
    /// It runs and does not answer.
    #[error("the emulator does not answer, see `{}`", log.display())]
    Mute {
        /// Its output.
        log: PathBuf,
    },
    /// The process could not be started.
    #[error("the emulator cannot be started")]
    Start {
        /// Why.
        source: io::Error,
    },
}
