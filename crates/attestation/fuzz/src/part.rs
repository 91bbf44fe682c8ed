//! Encodings taken apart, so that a change deep inside leaves the lengths around it right.

/// A stretch of an encoding.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) frame: Frame,
    pub(crate) body: Body,
}

/// What stands in front of the body, with its length.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Frame {
    /// Nothing.
    None,
    /// A DER identifier octet.
    Der(u8),
    /// A CBOR string of this major type.
    Cbor(u8),
}

#[derive(Debug, Clone)]
pub(crate) enum Body {
    Bytes(Vec<u8>),
    Parts(Vec<Part>),
}

impl Part {
    pub(crate) fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { frame: Frame::None, body: Body::Bytes(bytes.into()) }
    }

    pub(crate) fn cbor(major: u8, content: impl Into<Vec<u8>>) -> Self {
        Self { frame: Frame::Cbor(major), body: Body::Bytes(content.into()) }
    }

    pub(crate) fn der(tag: u8, parts: Vec<Self>) -> Self {
        Self { frame: Frame::Der(tag), body: Body::Parts(parts) }
    }

    pub(crate) fn der_bytes(tag: u8, content: Vec<u8>) -> Self {
        Self { frame: Frame::Der(tag), body: Body::Bytes(content) }
    }

    /// Takes apart DER, and what octet strings in it hold; `None` if it is none.
    pub(crate) fn parse_der(der: &[u8]) -> Option<Vec<Self>> {
        const CONSTRUCTED: u8 = 0x20;
        const OCTET_STRING: u8 = 0x04;
        let mut parts = Vec::new();
        let mut rest = der;
        while let [tag, after @ ..] = rest {
            let (length, after) = der_length(after)?;
            let (content, after) = after.split_at_checked(length)?;
            let holds = *tag & CONSTRUCTED != 0 || *tag == OCTET_STRING;
            let inner = if holds { Self::parse_der(content) } else { None };
            parts.push(match inner {
                Some(inner) => Self::der(*tag, inner),
                None => Self::der_bytes(*tag, content.to_vec()),
            });
            rest = after;
        }
        Some(parts)
    }

    pub(crate) fn encoded(&self) -> Vec<u8> {
        let content = self.content();
        let mut bytes = self.frame.head(content.len());
        bytes.extend(content);
        bytes
    }

    pub(crate) fn content(&self) -> Vec<u8> {
        match &self.body {
            Body::Bytes(bytes) => bytes.clone(),
            Body::Parts(parts) => encoded(parts),
        }
    }
}

/// One part after the other.
pub(crate) fn encoded(parts: &[Part]) -> Vec<u8> {
    let parts: Vec<Vec<u8>> = parts.iter().map(Part::encoded).collect();
    parts.concat()
}

impl Frame {
    fn head(self, length: usize) -> Vec<u8> {
        match self {
            Self::None => Vec::new(),
            Self::Der(tag) => der_head(tag, length),
            Self::Cbor(major) => cbor_head(major, length),
        }
    }
}

fn der_head(tag: u8, length: usize) -> Vec<u8> {
    let length = u32::try_from(length).expect("parts are short");
    match length.to_be_bytes() {
        [0, 0, 0, short @ 0..=0x7F] => vec![tag, short],
        [0, 0, 0, one] => vec![tag, 0x81, one],
        [0, 0, one, two] => vec![tag, 0x82, one, two],
        [0, one, two, three] => vec![tag, 0x83, one, two, three],
        [one, two, three, four] => vec![tag, 0x84, one, two, three, four],
    }
}

fn cbor_head(major: u8, length: usize) -> Vec<u8> {
    let length = u32::try_from(length).expect("parts are short");
    let first = (major & 7) << 5;
    match length.to_be_bytes() {
        [0, 0, 0, short @ 0..=23] => vec![first | short],
        [0, 0, 0, one] => vec![first | 0x18, one],
        [0, 0, one, two] => vec![first | 0x19, one, two],
        four => [&[first | 0x1A][..], &four].concat(),
    }
}

fn der_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match bytes {
        [short @ 0..=0x7F, rest @ ..] => Some((usize::from(*short), rest)),
        [0x81, one, rest @ ..] => Some((usize::from(*one), rest)),
        [0x82, one, two, rest @ ..] => Some((usize::from(u16::from_be_bytes([*one, *two])), rest)),
        _ => None,
    }
}
