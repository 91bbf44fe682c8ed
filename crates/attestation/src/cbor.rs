//! A strict, bounded reader for the CBOR (RFC 8949) that attestation documents are made of.
//!
//! The caller says what must come next, so nothing is ever skipped and nothing recurses: memory and
//! depth are bounded by the shape that the caller reads. Definite and indefinite lengths are both
//! read, because the module has emitted both. Lengths are checked against what is there before
//! anything is allocated.

use std::borrow::Cow;
use std::str;

use crate::Rejection;

/// Reads one item after the other from a slice.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// How many entries of an array or a map are still to come.
#[derive(Debug)]
pub(crate) enum Remaining {
    /// This many.
    Counted(u64),
    /// As many as stand before the end mark.
    UntilBreak,
}

/// An item's first bytes: its major type (RFC 8949, section 3.1) and its argument.
#[derive(Debug, Clone, Copy)]
struct Head {
    major: u8,
    /// `None` for an indefinite length.
    argument: Option<u64>,
}

const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;
const NULL: u8 = 0xF6;
const BREAK: u8 = 0xFF;

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Ends the reading: nothing may be left.
    pub(crate) fn finish(self) -> Result<(), Rejection> {
        match self.bytes.len().saturating_sub(self.at) {
            0 => Ok(()),
            count => Err(Rejection::TrailingBytes { count }),
        }
    }

    /// Reads a tag when one comes next.
    pub(crate) fn optional_tag(&mut self) -> Result<Option<u64>, Rejection> {
        if self.peek()? >> 5 != TAG {
            return Ok(None);
        }
        self.definite_head("tag", TAG, "a tag").map(Some)
    }

    /// Reads a null when one comes next, and says whether it did.
    pub(crate) fn optional_null(&mut self) -> Result<bool, Rejection> {
        let is_null = self.peek()? == NULL;
        if is_null {
            self.take(1)?;
        }
        Ok(is_null)
    }

    /// Reads an unsigned integer.
    pub(crate) fn unsigned(&mut self, field: &'static str) -> Result<u64, Rejection> {
        self.definite_head(field, UNSIGNED, "an unsigned integer")
    }

    /// Reads an integer of either sign.
    pub(crate) fn integer(&mut self, field: &'static str) -> Result<i128, Rejection> {
        if self.peek()? >> 5 == NEGATIVE {
            // RFC 8949, section 3.1: the argument n stands for -1 - n.
            return self
                .definite_head(field, NEGATIVE, "an integer")
                .map(|argument| -1 - i128::from(argument));
        }
        self.definite_head(field, UNSIGNED, "an integer").map(i128::from)
    }

    /// Reads a byte string.
    pub(crate) fn bytes(&mut self, field: &'static str) -> Result<Cow<'a, [u8]>, Rejection> {
        self.string(field, BYTES, "a byte string", |_| Ok(()))
    }

    /// Reads a text string.
    pub(crate) fn text(&mut self, field: &'static str) -> Result<String, Rejection> {
        // Each chunk is UTF-8 by itself: no character is spread over two (RFC 8949, section 3.2.3).
        let check = |part: &[u8]| match str::from_utf8(part) {
            Ok(_) => Ok(()),
            Err(_) => Err(Rejection::NotUtf8 { field }),
        };
        let whole = self.string(field, TEXT, "a text string", check)?;
        String::from_utf8(whole.into_owned()).map_err(|_| Rejection::NotUtf8 { field })
    }

    /// Opens an array.
    pub(crate) fn array(&mut self, field: &'static str) -> Result<Remaining, Rejection> {
        self.container(field, ARRAY, "an array")
    }

    /// Opens a map.
    pub(crate) fn map(&mut self, field: &'static str) -> Result<Remaining, Rejection> {
        self.container(field, MAP, "a map")
    }

    /// Whether another entry of the open array or map follows; reads the end mark if not.
    pub(crate) fn has_next(&mut self, remaining: &mut Remaining) -> Result<bool, Rejection> {
        match remaining {
            Remaining::Counted(0) => Ok(false),
            Remaining::Counted(count) => {
                *count -= 1;
                Ok(true)
            }
            Remaining::UntilBreak if self.peek()? == BREAK => {
                self.take(1)?;
                Ok(false)
            }
            Remaining::UntilBreak => Ok(true),
        }
    }

    fn container(
        &mut self,
        field: &'static str,
        major: u8,
        wanted: &'static str,
    ) -> Result<Remaining, Rejection> {
        let head = self.head(field, major, wanted)?;
        Ok(head.argument.map_or(Remaining::UntilBreak, Remaining::Counted))
    }

    /// The bytes of a string, after `check` has seen them as a whole or chunk by chunk.
    fn string(
        &mut self,
        field: &'static str,
        major: u8,
        wanted: &'static str,
        check: impl Fn(&[u8]) -> Result<(), Rejection>,
    ) -> Result<Cow<'a, [u8]>, Rejection> {
        if let Some(length) = self.head(field, major, wanted)?.argument {
            let whole = self.take_long(length)?;
            check(whole)?;
            return Ok(Cow::Borrowed(whole));
        }
        // The definite chunks of an indefinite string, up to its end mark.
        let mut whole = Vec::new();
        while self.peek()? != BREAK {
            let length = self.definite_head(field, major, wanted)?;
            let chunk = self.take_long(length)?;
            check(chunk)?;
            whole.extend_from_slice(chunk);
        }
        self.take(1)?;
        Ok(Cow::Owned(whole))
    }

    fn definite_head(
        &mut self,
        field: &'static str,
        major: u8,
        wanted: &'static str,
    ) -> Result<u64, Rejection> {
        let at = self.at;
        self.head(field, major, wanted)?.argument.ok_or(Rejection::Malformed { at })
    }

    fn head(
        &mut self,
        field: &'static str,
        major: u8,
        wanted: &'static str,
    ) -> Result<Head, Rejection> {
        let at = self.at;
        let initial = self.peek()?;
        if initial >> 5 != major {
            return Err(Rejection::WrongType { field, wanted, found: kind(initial) });
        }
        self.take(1)?;
        let argument = match initial & 0x1F {
            value @ 0..=23 => Some(u64::from(value)),
            24 => Some(self.big_endian(1)?),
            25 => Some(self.big_endian(2)?),
            26 => Some(self.big_endian(4)?),
            27 => Some(self.big_endian(8)?),
            31 => None,
            _ => return Err(Rejection::Malformed { at }),
        };
        Ok(Head { major, argument }).and_then(|head| match (head.major, head.argument) {
            (UNSIGNED | NEGATIVE | TAG, None) => Err(Rejection::Malformed { at }),
            _ => Ok(head),
        })
    }

    fn big_endian(&mut self, count: usize) -> Result<u64, Rejection> {
        let bytes = self.take(count)?;
        Ok(bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    fn peek(&self) -> Result<u8, Rejection> {
        self.bytes.get(self.at).copied().ok_or(Rejection::Truncated { at: self.at })
    }

    fn take_long(&mut self, length: u64) -> Result<&'a [u8], Rejection> {
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Rejection> {
        let taken = self
            .bytes
            .get(self.at..)
            .and_then(|rest| rest.get(..count))
            .ok_or(Rejection::Truncated { at: self.at })?;
        self.at += count;
        Ok(taken)
    }
}

/// What an item is, by its first byte.
fn kind(initial: u8) -> &'static str {
    match initial >> 5 {
        UNSIGNED => "an unsigned integer",
        NEGATIVE => "a negative integer",
        BYTES => "a byte string",
        TEXT => "a text string",
        ARRAY => "an array",
        MAP => "a map",
        TAG => "a tag",
        _ => match initial {
            0xF4 | 0xF5 => "a boolean",
            NULL => "null",
            0xF9..=0xFB => "a floating-point number",
            BREAK => "an end mark",
            _ => "a simple value",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_read_whole_whether_definite_or_in_chunks() {
        assert_eq!(Reader::new(b"\x43abc").bytes("f").unwrap(), b"abc".as_slice());
        assert_eq!(Reader::new(b"\x58\x03abc").bytes("f").unwrap(), b"abc".as_slice());
        assert_eq!(Reader::new(b"\x5F\x41a\x42bc\xFF").bytes("f").unwrap(), b"abc".as_slice());
        assert_eq!(Reader::new(b"\x7F\x61a\x62bc\xFF").text("f").unwrap(), "abc");
    }

    #[test]
    fn text_is_not_read_as_bytes_nor_bytes_as_text() {
        assert_eq!(
            Reader::new(b"\x63abc").bytes("f"),
            Err(Rejection::WrongType {
                field: "f",
                wanted: "a byte string",
                found: "a text string"
            })
        );
        assert_eq!(
            Reader::new(b"\x43abc").text("f"),
            Err(Rejection::WrongType {
                field: "f",
                wanted: "a text string",
                found: "a byte string"
            })
        );
    }

    #[test]
    fn an_announced_length_beyond_the_end_allocates_nothing() {
        let claim = b"\x5B\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF";
        assert_eq!(Reader::new(claim).bytes("f"), Err(Rejection::Truncated { at: 9 }));
    }

    #[test]
    fn chunks_of_another_type_or_without_length_are_refused() {
        assert_eq!(
            Reader::new(b"\x5F\x61a\xFF").bytes("f"),
            Err(Rejection::WrongType {
                field: "f",
                wanted: "a byte string",
                found: "a text string"
            })
        );
        assert_eq!(
            Reader::new(b"\x5F\x5F\x41a\xFF\xFF").bytes("f"),
            Err(Rejection::Malformed { at: 1 })
        );
    }

    #[test]
    fn a_character_spread_over_two_chunks_is_refused() {
        // U+00E9 is the bytes C3 A9.
        assert_eq!(Reader::new(b"\x7F\x62\xC3\xA9\x61a\xFF").text("f").unwrap(), "\u{E9}a");
        assert_eq!(
            Reader::new(b"\x7F\x61\xC3\x61\xA9\xFF").text("f"),
            Err(Rejection::NotUtf8 { field: "f" })
        );
    }

    #[test]
    fn reserved_heads_are_malformed() {
        for initial in [0x1C, 0x1D, 0x1E, 0x1F] {
            assert_eq!(Reader::new(&[initial]).unsigned("f"), Err(Rejection::Malformed { at: 0 }));
        }
    }

    #[test]
    fn integers_of_both_signs_are_read_at_their_limits() {
        let mut bytes = vec![0x3B];
        bytes.extend([0xFF; 8]);
        assert_eq!(Reader::new(&bytes).integer("f").unwrap(), -1 - i128::from(u64::MAX));
        assert_eq!(Reader::new(b"\x38\x22").integer("f").unwrap(), -35);
        assert_eq!(Reader::new(b"\x18\x22").integer("f").unwrap(), 34);
    }
}
