//! The genuine document with a certificate that was changed and then signed again by its issuer.

use std::sync::LazyLock;

use bailey_simulated_nsm::{CertificatePlan, Chain, DocumentKey, Value};

use crate::common::{AUTHORITY, CHAIN, INSTANCE, MADE_MS, MODULE, builder, raw_signature};
use crate::judgement::Case;
use crate::random::Random;

/// Chains that end in one of the authorities, for its key.
static ZONAL: LazyLock<Chain> = LazyLock::new(|| chain_down_to(2));
static PARENT: LazyLock<Chain> = LazyLock::new(|| chain_down_to(3));

fn chain_down_to(count: usize) -> Chain {
    let plans = CertificatePlan::below_root(INSTANCE, MODULE, MADE_MS);
    Chain::issue(&AUTHORITY, &plans[..count]).unwrap()
}

pub(crate) fn case(random: &mut Random) -> Case {
    let mut parent = Der::read(&PARENT.leaf).unwrap();
    let mut leaf = Der::read(&CHAIN.leaf).unwrap();
    let (name, what) = if random.one_in(3) {
        ("instance", parent.change(random))
    } else {
        ("leaf", leaf.change(random))
    };
    let parent = parent.signed_again(&ZONAL.key);
    let leaf = leaf.signed_again(&PARENT.key);
    let bundle = ZONAL.bundle.iter().chain([&ZONAL.leaf, &parent]);
    let document = builder(&CHAIN)
        .with("cabundle", Value::Array(bundle.cloned().map(Value::Bytes).collect()))
        .with("certificate", Value::Bytes(leaf))
        .sign(&CHAIN.key)
        .unwrap();
    Case::authentic(format!("{name}: {what}"), document)
}

/// An element of a certificate's DER (X.690, section 8.1).
#[derive(Debug, Clone)]
struct Der {
    tag: u8,
    body: Body,
    /// Whether its length is written in more bytes than it needs, which is no DER.
    long: bool,
}

#[derive(Debug, Clone)]
enum Body {
    Plain(Vec<u8>),
    Inner(Vec<Der>),
}

const OCTET_STRING: u8 = 0x04;
const CONSTRUCTED: u8 = 0x20;

impl Der {
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut all = Self::read_all(bytes)?;
        (all.len() == 1).then(|| all.remove(0))
    }

    fn read_all(mut bytes: &[u8]) -> Option<Vec<Self>> {
        let mut found = Vec::new();
        while let [tag, length, rest @ ..] = bytes {
            let digits = usize::from(length & 0x7F);
            let (length, rest) = if *length < 0x80 {
                (usize::from(*length), rest)
            } else {
                let (length, rest) = rest.split_at_checked(digits)?;
                (length.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)), rest)
            };
            let (content, rest) = rest.split_at_checked(length)?;
            // The contents of extensions are DER in an octet string.
            let opens = tag & CONSTRUCTED != 0 || *tag == OCTET_STRING;
            let inner = opens.then(|| Self::read_all(content)).flatten();
            let body = inner.map_or_else(|| Body::Plain(content.to_vec()), Body::Inner);
            found.push(Self { tag: *tag, body, long: false });
            bytes = rest;
        }
        bytes.is_empty().then_some(found)
    }

    fn write(&self) -> Vec<u8> {
        let content = match &self.body {
            Body::Plain(content) => content.clone(),
            Body::Inner(inner) => inner.iter().flat_map(Self::write).collect(),
        };
        let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
        let length = match (high, low, self.long) {
            (0, 0..=0x7F, false) => vec![low],
            (0, 0x80.., false) | (0, 0..=0x7F, true) => vec![0x81, low],
            (1.., _, false) | (0, 0x80.., true) => vec![0x82, high, low],
            (1.., _, true) => vec![0x83, 0, high, low],
        };
        [vec![self.tag], length, content].concat()
    }

    fn count(&self) -> usize {
        match &self.body {
            Body::Plain(_) => 1,
            Body::Inner(inner) => 1 + inner.iter().map(Self::count).sum::<usize>(),
        }
    }

    /// Changes one element in one way, and says which and how.
    fn change(&mut self, random: &mut Random) -> String {
        let mut at = 1 + random.below(self.count() - 1);
        let before = self.write();
        let place = at;
        self.change_at(&mut at, random);
        let changed = if self.write() == before { "unchanged" } else { "changed" };
        format!("element {place} {changed}")
    }

    /// Counts down through the elements inside; the one at 1 is changed.
    fn change_at(&mut self, at: &mut usize, random: &mut Random) {
        let Body::Inner(inner) = &mut self.body else { return };
        for index in 0..inner.len() {
            if *at == 0 {
                return;
            }
            *at -= 1;
            if *at == 0 {
                change_element(inner, index, random);
                return;
            }
            inner[index].change_at(at, random);
        }
    }

    /// The certificate with a signature over what it says now, if it still has the usual parts.
    fn signed_again(mut self, key: &DocumentKey) -> Vec<u8> {
        if let Body::Inner(parts) = &mut self.body
            && let [signed, _, signature] = &mut parts[..]
        {
            let raw = raw_signature(key, &signed.write());
            let numbers = raw.chunks(48).map(integer).collect();
            let sequence = Self { tag: 0x30, body: Body::Inner(numbers), long: false };
            signature.body = Body::Plain([vec![0], sequence.write()].concat());
        }
        self.write()
    }
}

/// A positive integer in as few bytes as it needs (X.690, section 8.3).
fn integer(number: &[u8]) -> Der {
    let start = number.iter().position(|byte| *byte != 0).unwrap_or(number.len() - 1);
    let padding: &[u8] = if number[start] >= 0x80 { &[0] } else { &[] };
    Der { tag: 0x02, body: Body::Plain([padding, &number[start..]].concat()), long: false }
}

fn change_element(siblings: &mut Vec<Der>, index: usize, random: &mut Random) {
    const TAGS: [u8; 14] =
        [0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0C, 0x13, 0x17, 0x18, 0x30, 0x31, 0xA1, 0x81];
    let element = &mut siblings[index];
    match (random.below(9), &mut element.body) {
        (0, _) => element.tag = *random.pick(&TAGS),
        (1, _) => drop(siblings.remove(index)),
        (2, _) => {
            let twin = element.clone();
            siblings.insert(index, twin);
        }
        (3, _) => element.long = true,
        (4, _) if index > 0 => siblings.swap(index - 1, index),
        (_, Body::Plain(content)) => change_content(content, random),
        (_, Body::Inner(inner)) => {
            let odd = Der::read(&hex::decode(random.pick(&ODD_ELEMENTS)).unwrap()).unwrap();
            inner.insert(random.below(inner.len() + 1), odd);
        }
    }
}

/// Null, a true and a false in their right and in wrong forms, numbers, strings, a bit string, an
/// empty sequence and an object identifier.
const ODD_ELEMENTS: [&str; 14] = [
    "0500",
    "0101ff",
    "010101",
    "010100",
    "020100",
    "020101",
    "02020001",
    "0201ff",
    "0400",
    "0c0161",
    "130140",
    "03020780",
    "3000",
    "06032a0304",
];

fn change_content(content: &mut Vec<u8>, random: &mut Random) {
    if content.is_empty() || random.one_in(6) {
        content.insert(random.below(content.len() + 1), random.byte());
        return;
    }
    let at = random.below(content.len());
    match random.below(5) {
        0 => content.clear(),
        1 => drop(content.remove(at)),
        2 => content[at] = random.byte(),
        3 => content[at] = *random.pick(b"0159Z\x00\x80\xff"),
        _ => content[at] ^= 1 << random.below(8),
    }
}
