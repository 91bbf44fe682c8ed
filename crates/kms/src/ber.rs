//! Elements of ASN.1's basic encoding rules (X.690), of definite and of indefinite length.
//!
//! KMS writes CMS as a stream, with indefinite lengths, which readers of DER refuse.

/// Bit of a tag: the contents are elements.
const CONSTRUCTED: u8 = 0x20;
/// Bits of a tag that would announce a number in further bytes; CMS has none.
const NUMBER: u8 = 0x1f;
/// A length that is where two zero bytes follow.
const INDEFINITE: u8 = 0x80;
/// How deep elements of indefinite length may lie in each other; KMS's answer has five.
const DEEPEST: u8 = 16;

/// One element.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Element<'a> {
    /// Class, form and number in one byte.
    pub(crate) tag: u8,
    /// What is between its head and its end.
    pub(crate) contents: &'a [u8],
}

/// Why bytes are no elements.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BerError {
    /// They end within an element.
    #[error("it ends within an element")]
    Cut,
    /// A length has more than four bytes, or a primitive element none.
    #[error("an element has a length of a form that is not supported")]
    Length,
    /// Elements of indefinite length lie too deep in each other.
    #[error("elements lie more than {DEEPEST} deep in each other")]
    Deep,
    /// A tag has a number above 30.
    #[error("a tag has a number above 30")]
    Tag,
}

/// Reads one element after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next element; none at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Element<'a>>, BerError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let (element, rest) = element(self.0, 0)?;
        self.0 = rest;
        Ok(Some(element))
    }

    /// The contents of the next element if it has this tag; otherwise none, and the element stays.
    pub(crate) fn take(&mut self, tag: u8) -> Result<Option<&'a [u8]>, BerError> {
        if self.0.first() != Some(&tag) {
            return Ok(None);
        }
        Ok(self.next()?.map(|element| element.contents))
    }
}

/// The element at the beginning, and what is behind it.
fn element(bytes: &[u8], depth: u8) -> Result<(Element<'_>, &[u8]), BerError> {
    let [tag, length, rest @ ..] = bytes else { return Err(BerError::Cut) };
    if tag & NUMBER == NUMBER {
        return Err(BerError::Tag);
    }
    if *length == INDEFINITE {
        if tag & CONSTRUCTED == 0 {
            return Err(BerError::Length);
        }
        let (contents, rest) = until_end(rest, depth)?;
        return Ok((Element { tag: *tag, contents }, rest));
    }
    let (length, rest) = definite(*length, rest)?;
    let (contents, rest) = rest.split_at_checked(length).ok_or(BerError::Cut)?;
    Ok((Element { tag: *tag, contents }, rest))
}

/// What comes before the two zero bytes that end an element of indefinite length, and what is behind them.
fn until_end(bytes: &[u8], depth: u8) -> Result<(&[u8], &[u8]), BerError> {
    if depth >= DEEPEST {
        return Err(BerError::Deep);
    }
    let mut rest = bytes;
    loop {
        if let [0, 0, behind @ ..] = rest {
            let contents = bytes.get(..bytes.len().saturating_sub(rest.len()));
            return Ok((contents.unwrap_or_default(), behind));
        }
        rest = element(rest, depth.saturating_add(1))?.1;
    }
}

/// A length in one byte, or in those that the byte announces.
fn definite(first: u8, rest: &[u8]) -> Result<(usize, &[u8]), BerError> {
    if first < INDEFINITE {
        return Ok((first.into(), rest));
    }
    let count = usize::from(first & !INDEFINITE);
    if count > size_of::<u32>() {
        return Err(BerError::Length);
    }
    let (bytes, rest) = rest.split_at_checked(count).ok_or(BerError::Cut)?;
    let length = bytes.iter().fold(0_u32, |sum, byte| (sum << 8) | u32::from(*byte));
    Ok((usize::try_from(length).map_err(|_| BerError::Length)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(bytes: &[u8]) -> Result<Vec<(u8, Vec<u8>)>, BerError> {
        let mut reader = Reader::new(bytes);
        let mut found = Vec::new();
        while let Some(element) = reader.next()? {
            found.push((element.tag, element.contents.to_vec()));
        }
        Ok(found)
    }

    #[test]
    fn both_forms_of_length_are_read() {
        let definite = [0x04, 2, 7, 8, 0x30, 0x81, 1, 9];
        assert_eq!(all(&definite), Ok(vec![(0x04, vec![7, 8]), (0x30, vec![9])]));
        let nested = [0x30, 0x80, 0xa0, 0x80, 0x04, 1, 5, 0, 0, 0, 0, 0x02, 1, 1];
        let inner = vec![0xa0, 0x80, 0x04, 1, 5, 0, 0];
        assert_eq!(all(&nested), Ok(vec![(0x30, inner), (0x02, vec![1])]));
    }

    #[test]
    fn what_is_no_element_is_refused_with_its_reason() {
        assert_eq!(all(&[0x30]), Err(BerError::Cut));
        assert_eq!(all(&[0x04, 3, 1]), Err(BerError::Cut));
        assert_eq!(all(&[0x30, 0x80, 0x04, 1, 1]), Err(BerError::Cut));
        assert_eq!(all(&[0x04, 0x80, 0, 0]), Err(BerError::Length));
        assert_eq!(all(&[0x04, 0x85, 0, 0, 0, 0, 1, 1]), Err(BerError::Length));
        assert_eq!(all(&[0x1f, 0x81, 0]), Err(BerError::Tag));
        assert_eq!(all(&[0x30, 0x80].repeat(40)), Err(BerError::Deep));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = all(&bytes);
        }

        #[test]
        fn elements_that_were_written_are_read_back(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..5),
        ) {
            let mut bytes = Vec::new();
            for part in &parts {
                bytes.extend([0x04, 0x82]);
                bytes.extend(u16::try_from(part.len()).unwrap().to_be_bytes());
                bytes.extend(part);
            }
            let wanted: Vec<_> = parts.iter().map(|part| (0x04, part.clone())).collect();
            prop_assert_eq!(all(&bytes).unwrap(), wanted.clone());
            // The same as the contents of an element of indefinite length.
            let wrapped = [&[0x30, 0x80][..], &bytes, &[0, 0]].concat();
            prop_assert_eq!(all(&wrapped).unwrap(), vec![(0x30, bytes)]);
        }
    }
}
