use std::io::{Read as _, Write as _};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::*;

const CID: u32 = 16;
/// A guest's buffer that is smaller than what is sent through it.
const SMALL: u32 = 1_000;

struct Wire {
    switch: Switch,
    dir: TempDir,
    parent: UnixListener,
}

impl Wire {
    /// A switch whose guest finds somebody on port 9000 of its parent.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let parent = UnixListener::bind(path("parent.sock")).unwrap();
        let ports = [(9_000, path("parent.sock")), (9_001, path("nobody.sock"))];
        let listener = UnixListener::bind(path("guest.sock")).unwrap();
        let switch = Switch::new(CID, listener, ports.into()).unwrap();
        Self { switch, dir, parent }
    }

    /// Somebody on the host who asks for a port of the guest's.
    fn call(&self, port: u32) -> UnixStream {
        let mut caller = UnixStream::connect(self.dir.path().join("guest.sock")).unwrap();
        caller.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        writeln!(caller, "CONNECT {port}").unwrap();
        caller
    }

    /// The guest says something to a port of its parent's.
    fn say(&mut self, ends: Ends, op: Op, flags: u32, data: &[u8], taken: u32) {
        let header = Header {
            source_cid: CID.into(),
            target_cid: PARENT_CID.into(),
            source_port: ends.guest,
            target_port: ends.parent,
            length: u32::try_from(data.len()).unwrap(),
            kind: STREAM,
            op: Some(op),
            flags,
            buffer: SMALL,
            taken,
        };
        self.switch.take_packet(&Packet { header, data: data.to_vec() });
    }

    /// Serves the host until there is a packet for the guest.
    fn hear(&mut self) -> Packet {
        loop {
            if let Some(packet) = self.switch.next_packet(usize::MAX) {
                return packet;
            }
            self.switch.serve_host().unwrap();
            thread::yield_now();
        }
    }

    fn hear_op(&mut self) -> Option<Op> {
        self.hear().header.op
    }

    /// A connection that a caller opened to port 5005, and both of its ends.
    fn open(&mut self) -> (UnixStream, Ends) {
        let mut caller = self.call(5_005);
        let request = self.hear().header;
        assert_eq!((request.op, request.target_port), (Some(Op::Request), 5_005));
        assert_eq!((request.source_cid, request.target_cid), (3, u64::from(CID)));
        let ends = Ends { guest: 5_005, parent: request.source_port };
        self.say(ends, Op::Response, 0, b"", 0);
        let mut line = [0; 8];
        caller.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"OK 5005\n");
        (caller, ends)
    }
}

#[test]
fn a_caller_and_the_guest_talk_and_hang_up() {
    let mut wire = Wire::new();
    let (mut caller, ends) = wire.open();
    caller.write_all(b"question").unwrap();
    let packet = wire.hear();
    assert_eq!((packet.header.op, packet.data.as_slice()), (Some(Op::Data), &b"question"[..]));
    wire.say(ends, Op::Data, 0, b"answer", 8);
    wire.say(ends, Op::Shutdown, NO_MORE_RECEIVED | NO_MORE_SENT, b"", 8);
    assert_eq!(wire.hear_op(), Some(Op::Reset));
    let mut answer = String::new();
    caller.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "answer");
    assert!(wire.switch.connections.is_empty() && wire.switch.tokens.is_empty());
}

#[test]
fn a_port_on_which_the_guest_does_not_listen_closes_the_callers_connection() {
    let mut wire = Wire::new();
    let mut caller = wire.call(5_005);
    let request = wire.hear().header;
    let ends = Ends { guest: 5_005, parent: request.source_port };
    wire.say(ends, Op::Reset, 0, b"", 0);
    assert_eq!(caller.read(&mut [0; 1]).unwrap(), 0);
    assert!(wire.switch.connections.is_empty() && wire.switch.tokens.is_empty());
}

#[test]
fn a_caller_whose_line_names_no_port_is_hung_up() {
    let mut wire = Wire::new();
    let mut caller = UnixStream::connect(wire.dir.path().join("guest.sock")).unwrap();
    caller.write_all(b"GET / HTTP/1.1\n").unwrap();
    while wire.switch.connections.is_empty() {
        wire.switch.serve_host().unwrap();
    }
    while !wire.switch.connections.is_empty() {
        wire.switch.serve_host().unwrap();
    }
    assert_eq!(caller.read(&mut [0; 1]).unwrap(), 0);
    assert!(!wire.switch.has_packet());
}

#[test]
fn the_guest_reaches_the_ports_of_its_parent_and_no_others() {
    let mut wire = Wire::new();
    let ends = |parent| Ends { guest: 1_024, parent };
    for nobody in [80, 9_001] {
        wire.say(ends(nobody), Op::Request, 0, b"", 0);
        let refusal = wire.hear().header;
        assert_eq!((refusal.op, refusal.source_port), (Some(Op::Reset), nobody));
    }
    wire.say(ends(9_000), Op::Request, 0, b"", 0);
    assert_eq!(wire.hear_op(), Some(Op::Response));
    let (mut parent, _) = wire.parent.accept().unwrap();
    wire.say(ends(9_000), Op::Data, 0, &[0xB7], 0);
    let mut byte = [0; 1];
    parent.read_exact(&mut byte).unwrap();
    parent.write_all(&byte).unwrap();
    assert_eq!(wire.hear().data, [0xB7]);
}

#[test]
fn the_guest_is_sent_no_more_than_it_has_room_for() {
    let mut wire = Wire::new();
    let (mut caller, ends) = wire.open();
    let sent: Vec<u8> = (0..=255).cycle().take(3_500).collect();
    caller.write_all(&sent).unwrap();
    drop(caller);
    let mut received = Vec::new();
    loop {
        let packet = wire.hear();
        if packet.header.op == Some(Op::Reset) {
            break;
        }
        assert_eq!(packet.header.op, Some(Op::Data));
        received.extend(packet.data);
        if received.len() % usize::try_from(SMALL).unwrap() == 0 {
            // Full: nothing comes, however often the host is served, until some was taken.
            wire.switch.serve_host().unwrap();
            assert!(!wire.switch.has_packet());
            let taken = u32::try_from(received.len()).unwrap();
            wire.say(ends, Op::CreditUpdate, 0, b"", taken);
        }
    }
    assert_eq!(received, sent);
}

#[test]
fn a_caller_that_does_not_read_fills_the_buffer_and_one_that_does_makes_room() {
    let mut wire = Wire::new();
    let (mut caller, ends) = wire.open();
    let mut left = 4 * usize::try_from(BUFFER).unwrap();
    let (mut given, mut taken) = (0_u32, 0);
    while left > 0 {
        // As much as the guest was told that there is room for.
        let room = BUFFER - given.wrapping_sub(taken);
        let length = left.min(usize::try_from(room).unwrap()).min(60_000);
        if length > 0 {
            wire.say(ends, Op::Data, 0, &vec![9; length], 0);
            given += u32::try_from(length).unwrap();
            left -= length;
        } else {
            let mut some = vec![0; 100_000];
            let count = caller.read(&mut some).unwrap();
            assert!(some[..count].iter().all(|byte| *byte == 9));
        }
        wire.switch.serve_host().unwrap();
        while let Some(packet) = wire.switch.next_packet(usize::MAX) {
            assert_eq!(packet.header.op, Some(Op::CreditUpdate));
            taken = packet.header.taken;
        }
    }
}

#[test]
fn a_guest_that_sends_more_than_there_is_room_for_is_reset() {
    let mut wire = Wire::new();
    let (caller, ends) = wire.open();
    for _ in 0..64 {
        wire.say(ends, Op::Data, 0, &vec![1; 65_536], 0);
    }
    let ops: Vec<_> =
        std::iter::from_fn(|| wire.switch.next_packet(usize::MAX)).map(|it| it.header.op).collect();
    assert!(ops.contains(&Some(Op::Reset)), "{ops:?}");
    assert!(wire.switch.connections.is_empty());
    drop(caller);
}

#[test]
fn packets_of_no_connection_and_for_others_than_the_parent_are_reset() {
    let mut wire = Wire::new();
    wire.say(Ends { guest: 1, parent: 2 }, Op::Data, 0, b"x", 0);
    assert_eq!(wire.hear_op(), Some(Op::Reset));
    let (_caller, ends) = wire.open();
    let header = Header { target_cid: 2, ..wire.switch.header(ends, Op::Data) };
    wire.switch.take_packet(&Packet { header, data: Vec::new() });
    assert_eq!(wire.hear_op(), Some(Op::Reset));
    assert_eq!(wire.switch.connections.len(), 1);
}
