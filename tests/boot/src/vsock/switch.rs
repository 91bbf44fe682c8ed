//! What connects the ports of a guest with Unix sockets of the host.
//!
//! ```text
//! host ── CONNECT 5005 ──▶ listener ── request ─▶ guest        (the parent calls the enclave)
//! host ◀── a socket a port ──────── request ───── guest        (the enclave calls CID 3)
//! ```
//!
//! Nothing here knows of virtqueues: packets come in by [`Switch::take_packet`] and go out by
//! [`Switch::next_packet`].

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use bailey_vsock::PARENT_CID;
use bailey_vsock::connect::{parse_request, reply_line};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::connection::{BUFFER, Connection, FromHost, State};
use super::packet::{Header, NO_MORE_RECEIVED, NO_MORE_SENT, Op, Packet, STREAM};

/// The token under which the listener is watched; those of connections are higher.
const LISTENER: u64 = 0;

/// The first port that the parent's side of a connection gets; those below are for listeners.
const FIRST_PORT: u32 = 1 << 30;

/// Both ends of a connection.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Ends {
    guest: u32,
    parent: u32,
}

/// The connections of one guest.
#[derive(Debug)]
pub(crate) struct Switch {
    guest_cid: u64,
    listener: UnixListener,
    parent_ports: BTreeMap<u32, PathBuf>,
    epoll: Epoll,
    connections: BTreeMap<u64, Connection>,
    /// By which token a connection of the guest's is known; one that names its port is not here yet.
    tokens: BTreeMap<Ends, u64>,
    ends: BTreeMap<u64, Ends>,
    next_token: u64,
    next_port: u32,
    outgoing: VecDeque<Packet>,
}

impl Switch {
    /// A switch for the guest with this CID, whose ports are reached through `listener`, and which
    /// reaches each of `parent_ports` at the socket with that path.
    pub(crate) fn new(
        guest_cid: u32,
        listener: UnixListener,
        parent_ports: BTreeMap<u32, PathBuf>,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
        Ok(Self {
            guest_cid: guest_cid.into(),
            listener,
            parent_ports,
            epoll,
            connections: BTreeMap::new(),
            tokens: BTreeMap::new(),
            ends: BTreeMap::new(),
            next_token: LISTENER + 1,
            next_port: FIRST_PORT,
            outgoing: VecDeque::new(),
        })
    }

    /// Readable when [`Switch::serve_host`] has something to do.
    pub(crate) fn readiness(&self) -> &Epoll {
        &self.epoll
    }

    /// The next packet for the guest, with at most `limit` bytes of data.
    pub(crate) fn next_packet(&mut self, limit: usize) -> Option<Packet> {
        let (packet, rest) = self.outgoing.pop_front()?.split(limit);
        if let Some(rest) = rest {
            self.outgoing.push_front(rest);
        }
        Some(packet)
    }

    /// Whether there is a packet for the guest.
    pub(crate) fn has_packet(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Does what the host's sides of the connections are ready for, without waiting.
    pub(crate) fn serve_host(&mut self) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); 64];
        let count = self.epoll.wait(&mut events, EpollTimeout::ZERO)?;
        for event in events.iter().take(count) {
            match event.data() {
                LISTENER => self.accept(),
                token => self.attend(token, event.events()),
            }
        }
        Ok(())
    }

    /// Takes a packet of the guest's.
    pub(crate) fn take_packet(&mut self, packet: &Packet) {
        let header = packet.header;
        if header.kind != STREAM || header.target_cid != u64::from(PARENT_CID) {
            return self.refuse(header);
        }
        let ends = Ends { guest: header.source_port, parent: header.target_port };
        let Some(token) = self.tokens.get(&ends).copied() else {
            return match header.op {
                Some(Op::Request) => self.connect(ends, header),
                Some(Op::Reset) => {}
                _ => self.refuse(header),
            };
        };
        let Some(connection) = self.connections.get_mut(&token) else { return };
        connection.note_credit(header.buffer, header.taken);
        let outcome = match header.op {
            Some(Op::Response) => self.opened(token),
            Some(Op::Data) => connection.write(&packet.data),
            Some(Op::Shutdown) => Self::guest_shut(connection, header.flags),
            Some(Op::CreditRequest) => {
                self.send(token, Op::CreditUpdate, 0, Vec::new());
                Ok(())
            }
            Some(Op::CreditUpdate) => Ok(()),
            Some(Op::Reset) => return self.forget(token),
            Some(Op::Request) | None => Err(io::ErrorKind::InvalidData.into()),
        };
        self.settle(token, &outcome);
    }

    /// The guest closes: what it sent before is written, then the connection is over.
    fn guest_shut(connection: &mut Connection, flags: u32) -> io::Result<()> {
        if flags & NO_MORE_RECEIVED != 0 {
            connection.ignore_host();
        }
        if flags & NO_MORE_SENT != 0 { connection.end_of_guest() } else { Ok(()) }
    }

    /// The guest calls a port of its parent's.
    fn connect(&mut self, ends: Ends, header: Header) {
        let stream = self.parent_ports.get(&ends.parent).map(UnixStream::connect);
        let opened = stream.and_then(Result::ok);
        let opened = opened.and_then(|stream| Connection::new(stream, State::Open).ok());
        let Some(mut connection) = opened else { return self.refuse(header) };
        connection.note_credit(header.buffer, header.taken);
        let token = self.add(connection);
        self.name(token, ends);
        self.send(token, Op::Response, 0, Vec::new());
        self.settle(token, &Ok(()));
    }

    /// Somebody on the host wants to call the guest, and is to say which port.
    fn accept(&mut self) {
        let accepted = self.listener.accept();
        let made =
            accepted.and_then(|(stream, _)| Connection::new(stream, State::Naming(Vec::new())));
        if let Ok(connection) = made {
            let token = self.add(connection);
            self.settle(token, &Ok(()));
        }
    }

    fn attend(&mut self, token: u64, events: EpollFlags) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        let outcome = match &connection.state {
            State::Naming(_) => self.named(token),
            State::Requested => Ok(()),
            State::Open => self.exchange(token, events),
        };
        self.settle(token, &outcome);
    }

    fn named(&mut self, token: u64) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(&token) else { return Ok(()) };
        let Some(line) = connection.read_line()? else { return Ok(()) };
        let guest = parse_request(&line).map_err(io::Error::other)?;
        connection.state = State::Requested;
        let ends = Ends { guest, parent: self.free_port(guest) };
        self.name(token, ends);
        self.send(token, Op::Request, 0, Vec::new());
        Ok(())
    }

    /// The guest accepted a call of the host's.
    fn opened(&mut self, token: u64) -> io::Result<()> {
        let guest = self.ends.get(&token).map_or(0, |ends| ends.guest);
        let Some(connection) = self.connections.get_mut(&token) else { return Ok(()) };
        if connection.state != State::Requested {
            return Err(io::ErrorKind::InvalidData.into());
        }
        connection.state = State::Open;
        connection.greet(reply_line(guest).as_bytes())
    }

    fn exchange(&mut self, token: u64, events: EpollFlags) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(&token) else { return Ok(()) };
        if events.contains(EpollFlags::EPOLLOUT) {
            connection.flush()?;
        }
        let gone = events.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
        match connection.read()? {
            FromHost::Data(data) => self.send(token, Op::Data, 0, data),
            FromHost::End if !gone => self.send(token, Op::Shutdown, NO_MORE_SENT, Vec::new()),
            FromHost::End => return Err(io::ErrorKind::UnexpectedEof.into()),
            FromHost::Nothing if gone => return Err(io::ErrorKind::UnexpectedEof.into()),
            FromHost::Nothing => {}
        }
        Ok(())
    }

    /// After anything was done with a connection: ends it, or says and watches what has to be.
    fn settle(&mut self, token: u64, outcome: &io::Result<()>) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        if outcome.is_err() || connection.is_over() {
            if self.ends.contains_key(&token) {
                self.send(token, Op::Reset, 0, Vec::new());
            }
            return self.forget(token);
        }
        let interest = connection.interest();
        if interest != connection.watched {
            let changed = match (connection.watched, interest) {
                (_, None) => self.epoll.delete(&connection.stream),
                (None, Some(flags)) => {
                    self.epoll.add(&connection.stream, EpollEvent::new(flags, token))
                }
                (Some(_), Some(flags)) => {
                    let mut event = EpollEvent::new(flags, token);
                    self.epoll.modify(&connection.stream, &mut event)
                }
            };
            if changed.is_err() {
                return self.forget(token);
            }
            connection.watched = interest;
        }
        if connection.owes_credit() {
            self.send(token, Op::CreditUpdate, 0, Vec::new());
        }
    }

    fn add(&mut self, connection: Connection) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        self.connections.insert(token, connection);
        token
    }

    fn name(&mut self, token: u64, ends: Ends) {
        self.tokens.insert(ends, token);
        self.ends.insert(token, ends);
    }

    /// Closes the stream, which epoll forgets with it.
    fn forget(&mut self, token: u64) {
        self.connections.remove(&token);
        if let Some(ends) = self.ends.remove(&token) {
            self.tokens.remove(&ends);
        }
    }

    fn free_port(&mut self, guest: u32) -> u32 {
        loop {
            let parent = self.next_port;
            self.next_port = parent.checked_add(1).unwrap_or(FIRST_PORT);
            if !self.tokens.contains_key(&Ends { guest, parent }) {
                return parent;
            }
        }
    }

    fn send(&mut self, token: u64, op: Op, flags: u32, data: Vec<u8>) {
        let Some(ends) = self.ends.get(&token).copied() else { return };
        let header = self.header(ends, op);
        let Some(connection) = self.connections.get_mut(&token) else { return };
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let header = Header { flags, length, taken: connection.tell_taken(), ..header };
        self.outgoing.push_back(Packet { header, data });
    }

    fn refuse(&mut self, header: Header) {
        if header.op == Some(Op::Reset) {
            return;
        }
        let reset = Header {
            source_cid: header.target_cid,
            target_cid: header.source_cid,
            source_port: header.target_port,
            target_port: header.source_port,
            length: 0,
            kind: header.kind,
            op: Some(Op::Reset),
            flags: 0,
            buffer: 0,
            taken: 0,
        };
        self.outgoing.push_back(Packet { header: reset, data: Vec::new() });
    }

    fn header(&self, ends: Ends, op: Op) -> Header {
        Header {
            source_cid: PARENT_CID.into(),
            target_cid: self.guest_cid,
            source_port: ends.parent,
            target_port: ends.guest,
            length: 0,
            kind: STREAM,
            op: Some(op),
            flags: 0,
            buffer: BUFFER,
            taken: 0,
        }
    }
}

#[cfg(test)]
#[path = "switch_tests.rs"]
mod tests;
