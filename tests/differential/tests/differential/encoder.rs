//! The genuine document in encodings that are unusual, and in some that are wrong.

use bailey_simulated_nsm::Value;

use crate::common::{CHAIN, PROTECTED, builder, signed_elements};
use crate::judgement::Case;
use crate::random::Random;

/// Items in place of right ones: other types, other forms of null and of numbers, and what is no
/// CBOR at all.
const ODDITIES: [&str; 56] = [
    "f6",
    "f7",
    "f4",
    "f5",
    "f0",
    "e0",
    "f816",
    "f818",
    "f81f",
    "f820",
    "f8ff",
    "f93c00",
    "fa47c35000",
    "fb3ff0000000000000",
    "c2420100",
    "c11a68e77fb0",
    "c340",
    "d81843010203",
    "1c",
    "1f",
    "3f",
    "5c",
    "7d",
    "9e",
    "bf",
    "df",
    "ff",
    "40",
    "60",
    "80",
    "a0",
    "9fff",
    "bfff",
    "5fff",
    "7fff",
    "5f5f4100ffff",
    "5f6100ff",
    "7f4100ff",
    "5fc24100ff",
    "7f61c361a9ff",
    "61ff",
    "62c0af",
    "63eda080",
    "64f4908080",
    "20",
    "00",
    "1801",
    "190001",
    "1bffffffffffffffff",
    "3bffffffffffffffff",
    "5bffffffffffffffff",
    "9bffffffffffffffff",
    "bbffffffffffffffff",
    "a1f6f6",
    "bff6ff",
    "818181818181f6",
];

/// Protected headers, of which the first is the usual one.
const HEADERS: [&str; 24] = [
    "a1013822",
    "a101390022",
    "a1013a00000022",
    "a1013b0000000000000022",
    "bf013822ff",
    "a118013822",
    "a11b00000000000000013822",
    "b801013822",
    "",
    "a0",
    "bfff",
    "a10138220a",
    "a2013822013822",
    "a201382218013822",
    "a1013823",
    "a10126",
    "a1015f",
    "a101c24122",
    "a1016545533338 34",
    "a2013822024101",
    "a20138226161f6",
    "a1613138 22",
    "d2a1013822",
    "8101",
];

pub(crate) fn case(random: &mut Random) -> Case {
    let mut encoder = Encoder { faults: random.below(3).saturating_sub(1), unusual: 3, random };
    encoder.unusual = *encoder.random.pick(&[2, 5, 20, 1_000]);
    let payload = encoder.payload();
    let header = if encoder.random.one_in(4) { encoder.header() } else { PROTECTED.to_vec() };
    let elements = signed_elements(&header, &payload);
    Case::authentic("encoded", encoder.envelope(elements))
}

struct Encoder<'a> {
    random: &'a mut Random,
    /// How many wrong things are still to be written.
    faults: usize,
    /// One item in so many is written in an unusual way.
    unusual: usize,
}

impl Encoder<'_> {
    fn payload(&mut self) -> Vec<u8> {
        let mut fields = builder(&CHAIN).fields;
        // A name of which a chunk may end inside a character.
        if self.random.one_in(3) {
            fields[0].1 = Value::from("i-0é世🔏");
        }
        if self.random.one_in(4) {
            let (from, to) = (self.random.below(fields.len()), self.random.below(fields.len()));
            fields.swap(from, to);
        }
        self.encode(&Value::Map(fields))
    }

    fn header(&mut self) -> Vec<u8> {
        hex::decode(self.random.pick(&HEADERS).replace(' ', "")).unwrap()
    }

    fn envelope(&mut self, elements: Vec<Value>) -> Vec<u8> {
        let tag = match self.random.below(12) {
            0..=3 => "",
            4..=7 => "d2",
            8 => "d812",
            9 => "da00000012",
            10 => *self.random.pick(&["d2d2", "d1", "d862", "df", "db0000000000000012", "c0"]),
            _ => *self.random.pick(&["d90012", "f6", "d9d9f7", ""]),
        };
        let mut bytes = hex::decode(tag).unwrap();
        bytes.extend(self.encode(&Value::Array(elements)));
        if self.faults > 0 && self.random.one_in(4) {
            bytes.push(self.random.byte());
        }
        bytes
    }

    fn encode(&mut self, value: &Value) -> Vec<u8> {
        // About 75 items make up a payload.
        if self.faults > 0 && self.random.one_in(40) {
            self.faults -= 1;
            return hex::decode(self.random.pick(&ODDITIES)).unwrap();
        }
        match value {
            Value::Integer(number) => {
                let number = i128::from(*number);
                match u64::try_from(number) {
                    Ok(argument) => self.head(0, argument),
                    Err(_) => self.head(1, u64::try_from(-1 - number).unwrap()),
                }
            }
            Value::Bytes(bytes) => self.string(2, bytes),
            Value::Text(text) => self.string(3, text.as_bytes()),
            Value::Array(items) => {
                let items = items.iter().map(|item| self.encode(item)).collect();
                self.container(4, 1, items)
            }
            Value::Map(entries) => {
                let entries = entries.iter();
                let pairs = entries.flat_map(|(key, value)| [self.encode(key), self.encode(value)]);
                let pairs = pairs.collect();
                self.container(5, 2, pairs)
            }
            Value::Null => vec![0xF6],
            other => panic!("no document has {other:?}"),
        }
    }

    /// A head in the shortest form or, as unusual things go, in a longer one.
    fn head(&mut self, major: u8, argument: u64) -> Vec<u8> {
        let shortest = match argument {
            0..=23 => 0,
            24..=0xFF => 1,
            0x100..=0xFFFF => 2,
            0x1_0000..=0xFFFF_FFFF => 3,
            _ => 4,
        };
        let longer = self.random.one_in(self.unusual);
        let form = if longer { shortest + self.random.below(5 - shortest) } else { shortest };
        let all = argument.to_be_bytes();
        let (information, bytes) = match form {
            0 => (all[7], &all[8..]),
            1 => (24, &all[7..]),
            2 => (25, &all[6..]),
            3 => (26, &all[4..]),
            _ => (27, &all[..]),
        };
        [&[major << 5 | information], bytes].concat()
    }

    fn string(&mut self, major: u8, bytes: &[u8]) -> Vec<u8> {
        let length = u64::try_from(bytes.len()).unwrap();
        if !self.random.one_in(self.unusual) {
            return [self.head(major, length), bytes.to_vec()].concat();
        }
        let mut whole = vec![major << 5 | 0x1F];
        let mut rest = bytes;
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(1 + self.random.below(rest.len()));
            whole.extend(self.head(major, u64::try_from(chunk.len()).unwrap()));
            whole.extend(chunk);
            rest = after;
        }
        whole.push(0xFF);
        whole
    }

    /// An array, or a map, whose entries are two items each.
    fn container(&mut self, major: u8, per_entry: usize, mut items: Vec<Vec<u8>>) -> Vec<u8> {
        if self.faults > 0 && self.random.one_in(6) {
            self.faults -= 1;
            self.spoil(&mut items, per_entry);
        }
        if self.random.one_in(self.unusual) {
            return [vec![major << 5 | 0x1F], items.concat(), vec![0xFF]].concat();
        }
        let count = u64::try_from(items.len() / per_entry).unwrap();
        [self.head(major, count), items.concat()].concat()
    }

    /// Drops, repeats or adds an entry, or half of one.
    fn spoil(&mut self, items: &mut Vec<Vec<u8>>, per_entry: usize) {
        let at = self.random.below((items.len() / per_entry).max(1)) * per_entry;
        let end = items.len().min(at + per_entry);
        let entry = items[at..end].to_vec();
        match self.random.below(5) {
            0 => drop(items.drain(at..end)),
            1 => items.extend(entry),
            2 => drop(items.pop()),
            3 => items.push(vec![0x20]),
            // The same key again, with another value, perhaps in another form.
            _ => items.extend([entry.first().cloned().unwrap_or_default(), vec![0x40]]),
        }
    }
}
