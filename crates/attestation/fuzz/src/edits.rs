//! The changes that an input asks for.
//!
//! An input is a byte that chooses the policy, and then edits of five bytes and data: what is
//! edited, which part of it (counted from the front, outer parts before what they hold), what is
//! done, where, and how many bytes of data follow. 255 stands for all that is left.

use std::{iter, mem};

use crate::part::{Body, Frame, Part};

/// How many edits are made: enough to combine, and few enough that no document gets out of hand.
const MOST_EDITS: usize = 16;

/// The longest stretch that one edit makes by repeating: beyond all limits of the verifier.
const LONGEST: usize = 64 << 10;

/// How many certificates a chain has: root, regional, zonal, instance, leaf.
pub(crate) const CERTIFICATES: u8 = 5;

/// What an edit is made to, in the order in which a document is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// What the issuer of this certificate signs.
    Body(u8),
    /// This certificate, after it was signed.
    Certificate(u8),
    /// What the leaf signs.
    Payload,
    /// The protected header, which is signed too.
    Protected,
    /// The COSE_Sign1, after it was signed.
    Envelope,
}

#[derive(Debug)]
pub(crate) struct Edit<'a> {
    pub(crate) target: Target,
    part: u8,
    action: u8,
    at: u8,
    data: &'a [u8],
}

impl Target {
    fn of(byte: u8) -> Self {
        match byte % (2 * CERTIFICATES + 6) {
            index @ 0..CERTIFICATES => Self::Body(index),
            index @ CERTIFICATES..10 => Self::Certificate(index - CERTIFICATES),
            10 => Self::Protected,
            11 => Self::Envelope,
            _ => Self::Payload,
        }
    }
}

impl<'a> Edit<'a> {
    /// Reads all edits; what is too short for another one is passed over.
    pub(crate) fn read_all(mut bytes: &'a [u8]) -> Vec<Self> {
        let mut edits = Vec::new();
        while edits.len() < MOST_EDITS
            && let [target, part, action, at, length, rest @ ..] = bytes
        {
            let length = match length {
                255 => rest.len(),
                _ => usize::from(*length).min(rest.len()),
            };
            let (data, rest) = rest.split_at(length);
            let target = Target::of(*target);
            edits.push(Self { target, part: *part, action: *action, at: *at, data });
            bytes = rest;
        }
        edits
    }

    /// Makes the change, unless there is no such part.
    pub(crate) fn apply(&self, parts: &mut Vec<Part>) {
        let mut index = usize::from(self.part);
        self.find(parts, &mut index);
    }

    /// Counts down to the part that is meant; `true` when it was found.
    fn find(&self, parts: &mut Vec<Part>, index: &mut usize) -> bool {
        for at in 0..parts.len() {
            if *index == 0 {
                self.change(parts, at);
                return true;
            }
            *index -= 1;
            if let Body::Parts(inner) = &mut parts[at].body
                && self.find(inner, index)
            {
                return true;
            }
        }
        false
    }

    fn change(&self, parts: &mut Vec<Part>, index: usize) {
        let first = self.data.first().copied();
        let count = parts.len();
        let part = &mut parts[index];
        match self.action % 12 {
            0 => part.body = Body::Bytes(self.data.to_vec()),
            1 => *part = Part::raw(self.data),
            2 => part.body = Body::Bytes(flipped(part.content(), self.at, first.unwrap_or(1))),
            3 => part.body = Body::Bytes(inserted(part.content(), self.at, self.data)),
            4 => part.body = Body::Bytes(cut(part.content(), self.at)),
            5 => drop(parts.remove(index)),
            6 => self.repeat(parts, index),
            7 if index + 1 < count => parts.swap(index, index + 1),
            8 => parts.insert(index, Part::raw(self.data)),
            9 => part.frame = reframed(part.frame, first.unwrap_or(0)),
            10 => part.body = Body::Bytes(self.data.repeat(self.count(self.data.len()))),
            11 => self.nest(part),
            _ => {}
        }
    }

    fn repeat(&self, parts: &mut Vec<Part>, index: usize) {
        let part = parts[index].clone();
        let count = self.count(part.encoded().len());
        parts.splice(index..index, iter::repeat_n(part, count));
    }

    /// Puts the part into many others of its kind.
    fn nest(&self, part: &mut Part) {
        for _ in 0..self.at % 64 {
            let body = mem::replace(&mut part.body, Body::Parts(Vec::new()));
            part.body = Body::Parts(vec![Part { frame: part.frame, body }]);
        }
    }

    /// How often something of this size is repeated.
    fn count(&self, size: usize) -> usize {
        (usize::from(self.at) + 1).min(LONGEST / size.max(1))
    }
}

fn flipped(mut content: Vec<u8>, at: u8, mask: u8) -> Vec<u8> {
    if let Some(byte) = content.get_mut(usize::from(at)) {
        *byte ^= mask;
    }
    content
}

fn inserted(mut content: Vec<u8>, at: u8, data: &[u8]) -> Vec<u8> {
    let at = usize::from(at).min(content.len());
    content.splice(at..at, data.iter().copied());
    content
}

fn cut(mut content: Vec<u8>, at: u8) -> Vec<u8> {
    content.truncate(usize::from(at));
    content
}

fn reframed(frame: Frame, byte: u8) -> Frame {
    match frame {
        Frame::Der(_) => Frame::Der(byte),
        Frame::None | Frame::Cbor(_) => Frame::Cbor(byte),
    }
}
