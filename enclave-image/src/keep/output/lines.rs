//! From a pipe's bytes to lines.

use super::Ring;
use bailey_vsock::workload::{MAX_LINE_BYTES, OutputEvent, OutputStream};
use std::io::{self, Read};

/// How much is read at once.
const CHUNK_BYTES: usize = 4 * 1024;

/// Puts every line of `source` into the ring, until its end.
///
/// The ring never makes it wait, so neither is the writer of the pipe ever held up.
pub(in super::super) fn copy_lines(
    mut source: impl Read,
    stream: OutputStream,
    ring: &Ring,
) -> io::Result<()> {
    let mut lines = Lines::default();
    let mut emit = |bytes: &[u8], complete| {
        ring.push(OutputEvent::Line { stream, bytes: bytes.to_vec().into(), complete });
    };
    let mut chunk = [0; CHUNK_BYTES];
    loop {
        match source.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => lines.feed(chunk.get(..count).unwrap_or_default(), &mut emit),
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
    lines.finish(&mut emit);
    Ok(())
}

/// The line that has not ended yet.
#[derive(Debug, Default)]
struct Lines {
    pending: Vec<u8>,
}

impl Lines {
    /// Takes more bytes; `emit` gets each line without its newline, and whether it ends there.
    fn feed(&mut self, bytes: &[u8], emit: &mut impl FnMut(&[u8], bool)) {
        let mut pieces = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            self.extend(piece, emit);
            // Every piece but the last was ended by a newline.
            if pieces.peek().is_some() {
                emit(&self.pending, true);
                self.pending.clear();
            }
        }
    }

    fn extend(&mut self, mut piece: &[u8], emit: &mut impl FnMut(&[u8], bool)) {
        while self.pending.len() + piece.len() > MAX_LINE_BYTES {
            let room = MAX_LINE_BYTES.saturating_sub(self.pending.len());
            let (fits, rest) = piece.split_at_checked(room).unwrap_or((piece, &[]));
            self.pending.extend_from_slice(fits);
            emit(&self.pending, false);
            self.pending.clear();
            piece = rest;
        }
        self.pending.extend_from_slice(piece);
    }

    /// What was printed without a newline before the end is a line too.
    fn finish(self, emit: &mut impl FnMut(&[u8], bool)) {
        if !self.pending.is_empty() {
            emit(&self.pending, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(chunks: &[&[u8]]) -> Vec<(Vec<u8>, bool)> {
        let mut found = Vec::new();
        let mut emit = |bytes: &[u8], complete| found.push((bytes.to_vec(), complete));
        let mut lines = Lines::default();
        for chunk in chunks {
            lines.feed(chunk, &mut emit);
        }
        lines.finish(&mut emit);
        found
    }

    #[test]
    fn lines_are_found_across_chunks_and_at_the_end() {
        let line = |text: &str| (text.as_bytes().to_vec(), true);
        assert_eq!(split(&[b"a\nb", b"c\n\nd"]), [line("a"), line("bc"), line(""), line("d")]);
        assert_eq!(split(&[b"a\n"]), [line("a")]);
        assert_eq!(split(&[]), []);
    }

    #[test]
    fn a_line_of_the_largest_size_is_whole_and_a_longer_one_is_not() {
        let largest = [vec![b'x'; MAX_LINE_BYTES], b"\n".to_vec()].concat();
        assert_eq!(split(&[&largest]), [(vec![b'x'; MAX_LINE_BYTES], true)]);
        let longer = [vec![b'x'; MAX_LINE_BYTES + 1], b"\n".to_vec()].concat();
        let expected = [(vec![b'x'; MAX_LINE_BYTES], false), (b"x".to_vec(), true)];
        assert_eq!(split(&[&longer]), expected);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_added(chunks in prop::collection::vec(prop::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..40), 0..8)) {
            let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            let mut joined = Vec::new();
            for (bytes, complete) in split(&chunks) {
                prop_assert!(bytes.len() <= MAX_LINE_BYTES);
                joined.extend(bytes);
                joined.extend(complete.then_some(b'\n'));
            }
            let mut all = chunks.concat();
            if !all.is_empty() && !all.ends_with(b"\n") {
                all.push(b'\n');
            }
            prop_assert_eq!(joined, all);
        }
    }
}
