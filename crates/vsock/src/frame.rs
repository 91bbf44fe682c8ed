//! Frames: a big-endian 32-bit length and that many bytes.
//!
//! Every function takes the limit that applies in its direction. A length beyond it is an error
//! before anything is allocated or read.

use std::io::{self, ErrorKind, Read, Write};

/// The length of a frame's header, in bytes.
pub const HEADER_LEN: usize = 4;

/// The length of the body that `header` announces, at most `limit`.
pub fn body_length(header: [u8; HEADER_LEN], limit: usize) -> Result<usize, FrameError> {
    let stated = u32::from_be_bytes(header);
    match usize::try_from(stated) {
        Ok(length) if length <= limit => Ok(length),
        _ => Err(FrameError::TooLong { length: u64::from(stated), limit }),
    }
}

/// A whole frame around `body`, which has at most `limit` bytes.
pub fn encode(body: &[u8], limit: usize) -> Result<Vec<u8>, FrameError> {
    let too_long =
        || FrameError::TooLong { length: u64::try_from(body.len()).unwrap_or(u64::MAX), limit };
    if body.len() > limit {
        return Err(too_long());
    }
    let length = u32::try_from(body.len()).map_err(|_| too_long())?;
    Ok([length.to_be_bytes().as_slice(), body].concat())
}

/// Reads one frame's body; `None` when the peer closed the stream between two frames.
pub fn read(stream: &mut impl Read, limit: usize) -> Result<Option<Vec<u8>>, FrameError> {
    let Some(header) = read_header(stream)? else { return Ok(None) };
    let mut body = vec![0; body_length(header, limit)?];
    stream.read_exact(&mut body).map_err(inside_frame)?;
    Ok(Some(body))
}

/// Writes one frame in a single call, so that a small frame is a single packet, and flushes.
pub fn write(stream: &mut impl Write, body: &[u8], limit: usize) -> Result<(), FrameError> {
    let frame = encode(body, limit)?;
    stream.write_all(&frame).map_err(FrameError::Write)?;
    stream.flush().map_err(FrameError::Write)
}

/// End of stream before the first byte is a closed conversation; after it, it is a cut frame.
fn read_header(stream: &mut impl Read) -> Result<Option<[u8; HEADER_LEN]>, FrameError> {
    let mut first = [0; 1];
    loop {
        match stream.read(&mut first) {
            Ok(0) => return Ok(None),
            Ok(_) => break,
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            Err(err) => return Err(FrameError::Read(err)),
        }
    }
    let mut rest = [0; HEADER_LEN - 1];
    stream.read_exact(&mut rest).map_err(inside_frame)?;
    let ([a], [b, c, d]) = (first, rest);
    Ok(Some([a, b, c, d]))
}

fn inside_frame(err: io::Error) -> FrameError {
    match err.kind() {
        ErrorKind::UnexpectedEof => FrameError::Cut,
        _ => FrameError::Read(err),
    }
}

/// Why a frame could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The peer closed the stream inside a frame.
    #[error("the stream ended inside a frame")]
    Cut,
    /// Reading failed or timed out.
    #[error("cannot read a frame")]
    Read(#[source] io::Error),
    /// The body is longer than this direction allows.
    #[error("a frame of {length} bytes exceeds the limit of {limit}")]
    TooLong {
        /// The length stated or given, in bytes.
        length: u64,
        /// The longest body allowed, in bytes.
        limit: usize,
    },
    /// Writing failed or timed out.
    #[error("cannot write a frame")]
    Write(#[source] io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_encoded_is_read_back(bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..5)) {
            let mut stream = Vec::new();
            for body in &bodies {
                write(&mut stream, body, 64).unwrap();
            }
            let mut input = stream.as_slice();
            for body in &bodies {
                prop_assert_eq!(read(&mut input, 64).unwrap(), Some(body.clone()));
            }
            prop_assert!(read(&mut input, 64).unwrap().is_none());
        }

        #[test]
        fn a_cut_frame_is_never_taken_for_a_whole_one(body in prop::collection::vec(any::<u8>(), 0..64), cut in any::<prop::sample::Index>()) {
            let frame = encode(&body, 64).unwrap();
            let kept = 1 + cut.index(frame.len() - 1);
            prop_assert!(matches!(read(&mut &frame[..kept], 64), Err(FrameError::Cut)));
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_without_reading_the_body() {
        let mut input: &[u8] = &[0xff, 0xff, 0xff, 0xff, 1, 2, 3];
        let err = read(&mut input, 16 * 1024).unwrap_err();
        assert!(matches!(err, FrameError::TooLong { length: 0xffff_ffff, limit: 16_384 }));
        assert_eq!(input, [1, 2, 3]);
        assert!(matches!(encode(&[0; 5], 4), Err(FrameError::TooLong { length: 5, limit: 4 })));
    }

    #[test]
    fn a_body_of_exactly_the_limit_is_accepted() {
        assert_eq!(body_length([0, 0, 0x40, 0], 16 * 1024).unwrap(), 16_384);
        assert_eq!(encode(b"ab", 2).unwrap(), [0, 0, 0, 2, b'a', b'b']);
    }
}
