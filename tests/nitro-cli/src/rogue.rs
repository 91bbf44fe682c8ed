//! A hostile or broken responder, to be put into an image as `/keep`. For tests only: it shows that
//! whoever asks an enclave for a document survives whatever comes back.
//!
//! It does what the file [`MODE_FILE`] beside it says, and is otherwise addressed like the real
//! responder, through `KEEP_LISTEN`, `KEEP_NSM` and `KEEP_HEARTBEAT`.

mod answer;

use std::env;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::ExitCode;
use std::str::FromStr;
use std::thread;

use bailey_vsock::{AttestRequest, HEARTBEAT_BYTE, MAX_REQUEST_LEN, frame};

use answer::{Next, answer};

/// The file, in the directory of the program, that holds the name of a [`Mode`].
pub const MODE_FILE: &str = "rogue-mode";

/// What is wrong with the responder.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// `dies`: ends after its first answer, which is good.
    Dies,
    /// `flipped`: one bit of the document's signature is another.
    Flipped,
    /// `garbage`: answers a frame that holds no JSON.
    Garbage,
    /// `honest`: nothing; for comparison.
    Honest,
    /// `huge`: claims an answer of 1 GiB.
    Huge,
    /// `mute`: gives its sign of life and never listens.
    Mute,
    /// `no-heartbeat`: listens, and gives no sign of life.
    NoHeartbeat,
    /// `silent`: accepts connections and never answers.
    Silent,
    /// `wrong-binding`: binds the document to another enclave id.
    WrongBinding,
    /// `wrong-nonce`: puts another nonce into the document.
    WrongNonce,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 10] = [
        Self::Dies,
        Self::Flipped,
        Self::Garbage,
        Self::Honest,
        Self::Huge,
        Self::Mute,
        Self::NoHeartbeat,
        Self::Silent,
        Self::WrongBinding,
        Self::WrongNonce,
    ];

    /// The mode's name in [`MODE_FILE`].
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dies => "dies",
            Self::Flipped => "flipped",
            Self::Garbage => "garbage",
            Self::Honest => "honest",
            Self::Huge => "huge",
            Self::Mute => "mute",
            Self::NoHeartbeat => "no-heartbeat",
            Self::Silent => "silent",
            Self::WrongBinding => "wrong-binding",
            Self::WrongNonce => "wrong-nonce",
        }
    }
}

impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<Self, UnknownMode> {
        let name = text.trim();
        let found = Self::ALL.into_iter().find(|mode| mode.name() == name);
        found.ok_or_else(|| UnknownMode { name: name.to_owned() })
    }
}

/// A text names no mode.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{name}` is no way of going wrong")]
pub struct UnknownMode {
    /// The text.
    pub name: String,
}

/// Behaves badly until it is killed, or ends with an error when it cannot even do that.
#[must_use]
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("rogue-keep: {err}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    let mode = fs::read_to_string(env::current_exe()?.with_file_name(MODE_FILE))?;
    let mode: Mode = mode.parse().map_err(io::Error::other)?;
    if mode == Mode::Mute {
        beat()?;
        park();
    }
    let listener = UnixListener::bind(path("KEEP_LISTEN")?)?;
    if mode != Mode::NoHeartbeat {
        beat()?;
    }
    // One after the other is enough for a responder that nobody should rely on.
    for stream in listener.incoming() {
        let mut stream = stream?;
        match converse(mode, &mut stream) {
            Ok(Next::Continue) => {}
            Ok(Next::End) => return Ok(()),
            // The connection stays open, held by a thread that never ends.
            Ok(Next::Hold) => drop(thread::spawn(move || hold(&stream))),
            Err(err) => eprintln!("rogue-keep: a connection failed: {err}"),
        }
    }
    Ok(())
}

/// Answers every request of one connection.
fn converse(mode: Mode, stream: &mut UnixStream) -> io::Result<Next> {
    if matches!(mode, Mode::Silent | Mode::NoHeartbeat) {
        return Ok(Next::Hold);
    }
    while let Some(body) = frame::read(stream, MAX_REQUEST_LEN).map_err(io::Error::other)? {
        let request = AttestRequest::parse(&body).map_err(io::Error::other)?;
        let mut nsm = UnixStream::connect(path("KEEP_NSM")?)?;
        let (bytes, next) = answer(mode, &request, &mut nsm)?;
        stream.write_all(&bytes)?;
        if next != Next::Continue {
            return Ok(next);
        }
    }
    Ok(Next::Continue)
}

/// Gives the sign of life that nitro-cli waits for.
fn beat() -> io::Result<()> {
    let mut stream = UnixStream::connect(path("KEEP_HEARTBEAT")?)?;
    stream.write_all(&[HEARTBEAT_BYTE])?;
    stream.read_exact(&mut [0; 1])
}

/// The path in an address of the form `unix:<path>`.
fn path(variable: &str) -> io::Result<String> {
    let address = env::var(variable).map_err(io::Error::other)?;
    let path = address.strip_prefix("unix:").map(str::to_owned);
    path.ok_or_else(|| io::Error::other(format!("{variable} is no Unix address: `{address}`")))
}

fn hold(_stream: &UnixStream) {
    park();
}

fn park() -> ! {
    loop {
        thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_is_found_by_its_name() {
        for mode in Mode::ALL {
            assert_eq!(format!("{}\n", mode.name()).parse(), Ok(mode));
        }
        let unknown = UnknownMode { name: "polite".to_owned() };
        assert_eq!("polite".parse::<Mode>(), Err(unknown));
    }
}
