//! One connection between a Unix socket of the host and a port of the guest.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use bailey_vsock::connect::MAX_LINE_LEN;
use nix::sys::epoll::EpollFlags;

/// How many bytes the guest may send before the host's side has taken them.
pub(crate) const BUFFER: u32 = 256 * 1_024;

/// The most that is read from the host's side at once.
const CHUNK: usize = 64 * 1_024;

/// How far a connection is.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum State {
    /// The host's side is saying which port it wants; what has come of that line.
    Naming(Vec<u8>),
    /// The guest was asked.
    Requested,
    /// Data flows.
    Open,
}

/// What reading from the host's side brought.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum FromHost {
    /// Nothing for now.
    Nothing,
    /// These bytes.
    Data(Vec<u8>),
    /// Its end: the host's side sends no more.
    End,
}

/// A connection; both sides' counters are modulo 2³², as the standard has them.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: UnixStream,
    pub(crate) state: State,
    /// What the stream is watched for at present; `None` when it is not.
    pub(crate) watched: Option<EpollFlags>,
    /// Data of the guest's that the host's side has not taken yet.
    waiting: VecDeque<u8>,
    /// Of what the guest sent: taken by the host's side, and as the guest was told.
    taken: u32,
    told: u32,
    /// What was sent to the guest.
    sent: u32,
    /// The guest's buffer, and what it took out of it.
    guest_buffer: u32,
    guest_taken: u32,
    host_ended: bool,
    guest_ended: bool,
}

impl Connection {
    /// `stream` is made to never block.
    pub(crate) fn new(stream: UnixStream, state: State) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            state,
            watched: None,
            waiting: VecDeque::new(),
            taken: 0,
            told: 0,
            sent: 0,
            guest_buffer: 0,
            guest_taken: 0,
            host_ended: false,
            guest_ended: false,
        })
    }

    /// What the stream has to be watched for. `None` while data of the host's would only lie about:
    /// a stream whose other side is gone would else report that without an end.
    pub(crate) fn interest(&self) -> Option<EpollFlags> {
        let mut interest = EpollFlags::empty();
        let reads = match self.state {
            State::Naming(_) => true,
            State::Requested => return None,
            State::Open => !self.host_ended && self.room() > 0,
        };
        interest.set(EpollFlags::EPOLLIN, reads);
        interest.set(EpollFlags::EPOLLOUT, !self.waiting.is_empty());
        (!interest.is_empty() || self.host_ended).then_some(interest)
    }

    /// Whether neither side has anything to say any more.
    pub(crate) fn is_over(&self) -> bool {
        self.host_ended && self.guest_ended && self.waiting.is_empty()
    }

    /// Notes what a packet of the guest's says about its buffer.
    pub(crate) fn note_credit(&mut self, buffer: u32, taken: u32) {
        (self.guest_buffer, self.guest_taken) = (buffer, taken);
    }

    /// How many bytes may be sent to the guest.
    pub(crate) fn room(&self) -> u32 {
        let under_way = self.sent.wrapping_sub(self.guest_taken);
        self.guest_buffer.saturating_sub(under_way)
    }

    /// What the next packet says has been taken of the guest's data.
    pub(crate) fn tell_taken(&mut self) -> u32 {
        self.told = self.taken;
        self.taken
    }

    /// Whether the guest should be told that there is room again, though there is no data for it.
    pub(crate) fn owes_credit(&self) -> bool {
        self.taken.wrapping_sub(self.told) >= BUFFER / 4
    }

    /// More of the line that names a port; whether it is complete.
    pub(crate) fn read_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let State::Naming(line) = &mut self.state else { return Ok(None) };
        // Byte by byte, because whatever follows the newline is for the guest.
        while line.len() < MAX_LINE_LEN {
            let mut byte = [0; 1];
            match self.stream.read(&mut byte) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) if byte == *b"\n" => return Ok(Some(std::mem::take(line))),
                Ok(_) => line.extend(byte),
                Err(err) if err.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
        Err(ErrorKind::InvalidData.into())
    }

    /// Reads what the guest has room for, which counts as sent to it.
    pub(crate) fn read(&mut self) -> io::Result<FromHost> {
        let limit = usize::try_from(self.room()).unwrap_or(usize::MAX).min(CHUNK);
        if limit == 0 || self.host_ended {
            return Ok(FromHost::Nothing);
        }
        let mut data = vec![0; limit];
        let length = match self.stream.read(&mut data) {
            Ok(length) => length,
            Err(err) if err.kind() == ErrorKind::WouldBlock => return Ok(FromHost::Nothing),
            Err(err) if err.kind() == ErrorKind::Interrupted => return Ok(FromHost::Nothing),
            Err(err) => return Err(err),
        };
        if length == 0 {
            self.host_ended = true;
            return Ok(FromHost::End);
        }
        data.truncate(length);
        self.sent = self.sent.wrapping_add(u32::try_from(length).unwrap_or(u32::MAX));
        Ok(FromHost::Data(data))
    }

    /// Takes data of the guest's, and writes what the host's side takes at once.
    ///
    /// It is an error of the guest's to send more than it was told that there is room for.
    pub(crate) fn write(&mut self, data: &[u8]) -> io::Result<()> {
        let limit = usize::try_from(BUFFER).unwrap_or(usize::MAX);
        if self.waiting.len().saturating_add(data.len()) > limit {
            return Err(ErrorKind::InvalidData.into());
        }
        self.waiting.extend(data);
        self.flush()
    }

    /// Writes what is waiting, as far as that is possible without blocking.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while !self.waiting.is_empty() {
            let (front, _) = self.waiting.as_slices();
            match self.stream.write(front) {
                Ok(length) => {
                    self.waiting.drain(..length);
                    self.taken = self.taken.wrapping_add(u32::try_from(length).unwrap_or(0));
                }
                Err(err) if err.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
        if self.guest_ended { self.stream.shutdown(Shutdown::Write) } else { Ok(()) }
    }

    /// Tells the host's side that the guest accepted, before anything else reaches it. This line is no
    /// data of the guest's, and so counts for nothing.
    pub(crate) fn greet(&mut self, line: &[u8]) -> io::Result<()> {
        self.stream.write_all(line)
    }

    /// The guest takes nothing more, so nothing more is read for it.
    pub(crate) fn ignore_host(&mut self) {
        self.host_ended = true;
    }

    /// The guest sends no more; the host's side learns of it behind what is waiting.
    pub(crate) fn end_of_guest(&mut self) -> io::Result<()> {
        self.guest_ended = true;
        self.flush()
    }
}
