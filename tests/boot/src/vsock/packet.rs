//! Packets of a virtio socket device (Virtual I/O Device 1.3, section 5.10.6).

/// The length of a header, in bytes; all its numbers are little endian.
pub(crate) const HEADER_LEN: usize = 44;

/// The type of a stream socket's packets.
pub(crate) const STREAM: u16 = 1;

/// The flags of [`Op::Shutdown`]: its sender will receive no more, will send no more.
pub(crate) const NO_MORE_RECEIVED: u32 = 1;
pub(crate) const NO_MORE_SENT: u32 = 2;

/// What a packet is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Op {
    Request,
    Response,
    Reset,
    Shutdown,
    Data,
    CreditUpdate,
    CreditRequest,
}

const OPS: [(u16, Op); 7] = [
    (1, Op::Request),
    (2, Op::Response),
    (3, Op::Reset),
    (4, Op::Shutdown),
    (5, Op::Data),
    (6, Op::CreditUpdate),
    (7, Op::CreditRequest),
];

impl Op {
    fn number(self) -> u16 {
        OPS.iter().find(|(_, op)| *op == self).map_or(0, |(number, _)| *number)
    }
}

/// What stands in front of a packet's data.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Header {
    pub(crate) source_cid: u64,
    pub(crate) target_cid: u64,
    pub(crate) source_port: u32,
    pub(crate) target_port: u32,
    /// How many bytes of data follow.
    pub(crate) length: u32,
    pub(crate) kind: u16,
    /// `None` for a number that the standard does not know.
    pub(crate) op: Option<Op>,
    pub(crate) flags: u32,
    /// How many bytes the sender's buffer has.
    pub(crate) buffer: u32,
    /// How many bytes the sender has taken out of its buffer so far, modulo 2³².
    pub(crate) taken: u32,
}

impl Header {
    pub(crate) fn parse(bytes: &[u8; HEADER_LEN]) -> Self {
        let mut fields = Fields(bytes);
        Self {
            source_cid: fields.u64(),
            target_cid: fields.u64(),
            source_port: fields.u32(),
            target_port: fields.u32(),
            length: fields.u32(),
            kind: fields.u16(),
            op: fields.op(),
            flags: fields.u32(),
            buffer: fields.u32(),
            taken: fields.u32(),
        }
    }

    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_LEN);
        bytes.extend(self.source_cid.to_le_bytes());
        bytes.extend(self.target_cid.to_le_bytes());
        bytes.extend(self.source_port.to_le_bytes());
        bytes.extend(self.target_port.to_le_bytes());
        bytes.extend(self.length.to_le_bytes());
        bytes.extend(self.kind.to_le_bytes());
        bytes.extend(self.op.map_or(0, Op::number).to_le_bytes());
        bytes.extend(self.flags.to_le_bytes());
        bytes.extend(self.buffer.to_le_bytes());
        bytes.extend(self.taken.to_le_bytes());
        bytes
    }
}

/// Takes numbers from the front; a slice that is too short reads as zeros, which a header never is.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let Some((first, rest)) = self.0.split_first_chunk() else { return [0; N] };
        self.0 = rest;
        *first
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    fn op(&mut self) -> Option<Op> {
        let found = self.u16();
        OPS.iter().find(|(number, _)| *number == found).map(|(_, op)| *op)
    }
}

/// A packet: what [`Header::length`] says is what `data` has.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Packet {
    pub(crate) header: Header,
    pub(crate) data: Vec<u8>,
}

impl Packet {
    /// The first part of the packet, with at most `limit` bytes of data, and the rest if there is one.
    pub(crate) fn split(mut self, limit: usize) -> (Self, Option<Self>) {
        if self.data.len() <= limit {
            return (self, None);
        }
        let rest = self.data.split_off(limit);
        let with_length = |header: Header, data: &[u8]| Header {
            length: u32::try_from(data.len()).unwrap_or(u32::MAX),
            ..header
        };
        let rest = Self { header: with_length(self.header, &rest), data: rest };
        self.header = with_length(self.header, &self.data);
        (self, Some(rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            source_cid: 16,
            target_cid: 3,
            source_port: 0x0102_0304,
            target_port: 9_000,
            length: 1,
            kind: STREAM,
            op: Some(Op::Data),
            flags: 0,
            buffer: 262_144,
            taken: 7,
        }
    }

    #[test]
    fn a_header_is_laid_out_as_the_standard_says() {
        let bytes = header().to_bytes();
        assert_eq!(bytes.len(), HEADER_LEN);
        assert_eq!(bytes[..8], [16, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[16..24], [4, 3, 2, 1, 0x28, 0x23, 0, 0]);
        assert_eq!(bytes[24..32], [1, 0, 0, 0, 1, 0, 5, 0]);
        assert_eq!(Header::parse(&bytes.try_into().unwrap()), header());
    }

    #[test]
    fn an_unknown_operation_is_none() {
        let mut bytes: [u8; HEADER_LEN] = header().to_bytes().try_into().unwrap();
        bytes[30] = 8;
        assert_eq!(Header::parse(&bytes).op, None);
    }

    #[test]
    fn a_packet_for_a_small_buffer_is_split_and_loses_nothing() {
        let data: Vec<u8> = (0..10).collect();
        let packet = Packet { header: Header { length: 10, ..header() }, data };
        let (first, rest) = packet.clone().split(6);
        let rest = rest.unwrap();
        assert_eq!((first.header.length, rest.header.length), (6, 4));
        assert_eq!([first.data, rest.data].concat(), packet.data);
        assert_eq!(packet.clone().split(10), (packet, None));
    }
}
