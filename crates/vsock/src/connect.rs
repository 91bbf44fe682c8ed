//! The `CONNECT` handshake of a hybrid vsock: a Unix socket that stands for a guest's vsock.
//!
//! The host connects, sends `CONNECT <port>\n` and reads `OK <anything>\n`; what follows is the
//! stream itself. A connection that is closed without an `OK` means that nobody listens on that
//! port. Firecracker (its document `vsock.md`), Cloud Hypervisor and vhost-device-vsock speak it.

use std::io::{self, ErrorKind, Read, Write};

/// The longest line of the handshake, in bytes, its newline included: `CONNECT 4294967295\n` has
/// 19, and the number after `OK` is a port as well.
pub const MAX_LINE_LEN: usize = 64;

/// The line with which the host asks for `port`.
#[must_use]
pub fn request_line(port: u32) -> String {
    format!("CONNECT {port}\n")
}

/// The line with which the guest's side accepts.
#[must_use]
pub fn reply_line(port: u32) -> String {
    format!("OK {port}\n")
}

/// The port that a request line, without its newline, asks for.
pub fn parse_request(line: &[u8]) -> Result<u32, HandshakeError> {
    std::str::from_utf8(line)
        .ok()
        .and_then(|line| line.strip_prefix("CONNECT "))
        .and_then(|port| port.parse().ok())
        .ok_or_else(|| unexpected(line))
}

/// Checks the reply line, without its newline.
pub fn parse_reply(line: &[u8]) -> Result<(), HandshakeError> {
    if line == b"OK" || line.starts_with(b"OK ") { Ok(()) } else { Err(unexpected(line)) }
}

/// Performs the host's side on a fresh connection; afterwards `stream` is the vsock stream.
pub fn open(stream: &mut (impl Read + Write), port: u32) -> Result<(), HandshakeError> {
    stream.write_all(request_line(port).as_bytes()).map_err(HandshakeError::Io)?;
    parse_reply(&read_line(stream)?)
}

/// Reads one line, without its newline, and not a byte beyond it.
pub fn read_line(stream: &mut impl Read) -> Result<Vec<u8>, HandshakeError> {
    let mut line = Vec::with_capacity(MAX_LINE_LEN);
    // Byte by byte, because whatever follows the newline belongs to the stream's user.
    while line.len() < MAX_LINE_LEN {
        let mut byte = [0; 1];
        stream.read_exact(&mut byte).map_err(|err| match err.kind() {
            ErrorKind::UnexpectedEof => HandshakeError::Closed,
            _ => HandshakeError::Io(err),
        })?;
        match byte {
            [b'\n'] => return Ok(line),
            [byte] => line.push(byte),
        }
    }
    Err(HandshakeError::TooLong)
}

fn unexpected(line: &[u8]) -> HandshakeError {
    let shown = line.get(..MAX_LINE_LEN).unwrap_or(line);
    HandshakeError::Unexpected { line: shown.escape_ascii().to_string() }
}

/// Why a handshake did not end in a stream.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The other side closed the connection: nobody listens on that port (yet).
    #[error("the connection was closed before a whole line came: nobody listens on that port")]
    Closed,
    /// Reading or writing failed or timed out.
    #[error("cannot exchange the handshake's lines")]
    Io(#[source] io::Error),
    /// The line goes on beyond [`MAX_LINE_LEN`].
    #[error("a line of the handshake exceeds {MAX_LINE_LEN} bytes")]
    TooLong,
    /// The line is not the one expected here.
    #[error("unexpected line `{line}` in the handshake")]
    Unexpected {
        /// The line, escaped and cut to [`MAX_LINE_LEN`] bytes.
        line: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_understand_each_other() {
        assert_eq!(parse_request(request_line(5005).trim_end().as_bytes()).unwrap(), 5005);
        parse_reply(reply_line(5005).trim_end().as_bytes()).unwrap();
        parse_reply(b"OK 1073741824").unwrap();
    }

    #[test]
    fn bytes_after_the_reply_stay_in_the_stream() {
        let mut stream: &[u8] = b"OK 5005\nrest";
        assert_eq!(read_line(&mut stream).unwrap(), b"OK 5005");
        assert_eq!(stream, b"rest");
    }

    #[test]
    fn a_closed_connection_means_that_nobody_listens() {
        assert!(matches!(read_line(&mut b"".as_slice()), Err(HandshakeError::Closed)));
        assert!(matches!(read_line(&mut b"OK".as_slice()), Err(HandshakeError::Closed)));
    }

    #[test]
    fn an_endless_line_is_given_up() {
        assert!(matches!(read_line(&mut io::repeat(b'O')), Err(HandshakeError::TooLong)));
    }

    #[test]
    fn other_lines_are_shown_in_the_error() {
        for (line, shown) in [(&b"OKAY"[..], "OKAY"), (b"\xffNO", "\\xffNO"), (b"", "")] {
            let err = parse_reply(line).unwrap_err();
            assert!(matches!(&err, HandshakeError::Unexpected { line } if line == shown), "{err}");
        }
        for line in [&b"CONNECT"[..], b"CONNECT x", b"CONNECT 4294967296", b"connect 1"] {
            assert!(matches!(parse_request(line), Err(HandshakeError::Unexpected { .. })));
        }
    }
}
