//! The head of a `CONNECT` request (RFC 9110, section 9.3.6; RFC 9112), strictly.
//!
//! A proxy that reads a request otherwise than its neighbour lets one request hide in another. This
//! one hands bytes on only after a head about which no two readers can differ: every line ends with
//! CR LF, names are tokens right before their colon, nothing announces a body, `Host` agrees with the
//! target, and nothing follows before the answer. What is odd is refused, not mended.

use bailey_model::network::HostName;
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// The longest head, in bytes, its empty line included.
pub const MAX_HEAD: usize = 4 * 1024;

/// The most header fields.
const MAX_FIELDS: usize = 64;

/// A host and a port as a request names them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Authority {
    /// The host.
    pub host: RequestHost,
    /// The TCP port, 1 or more.
    pub port: u16,
}

/// The host that a request names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RequestHost {
    /// An address, in its usual form.
    Address(IpAddr),
    /// A name.
    Name(HostName),
}

/// How far a head has come.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Progress {
    /// It is not yet whole.
    Partial,
    /// It is whole, and asks for this.
    Whole(Authority),
}

/// Reads what has come so far.
///
/// # Errors
/// As soon as no further byte could make it a head that is understood.
pub fn parse(bytes: &[u8]) -> Result<Progress, RequestError> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    let Some(end) = end else {
        if bytes.len() >= MAX_HEAD {
            return Err(RequestError::TooLong);
        }
        // A line of text that another protocol begins with need not fill the whole head.
        return if may_become_a_head(bytes) {
            Ok(Progress::Partial)
        } else {
            Err(RequestError::Line)
        };
    };
    if end + 4 > MAX_HEAD {
        return Err(RequestError::TooLong);
    }
    if bytes.len() > end + 4 {
        return Err(RequestError::Early);
    }
    head(bytes.get(..end).unwrap_or_default()).map(Progress::Whole)
}

fn may_become_a_head(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n' | b'\t' | 0x20..=0x7e))
        && bytes.first().is_none_or(u8::is_ascii_alphabetic)
}

/// Reads a head without its empty line.
fn head(bytes: &[u8]) -> Result<Authority, RequestError> {
    // Visible ASCII throughout: neither a bare CR nor LF, nor anything that a reader could decode.
    let text = std::str::from_utf8(bytes).map_err(|_| RequestError::Line)?;
    let mut lines = text.split("\r\n");
    let authority = request_line(lines.next().unwrap_or_default())?;
    let mut hosts = 0;
    for (index, line) in lines.enumerate() {
        if index >= MAX_FIELDS {
            return Err(RequestError::TooLong);
        }
        let (name, value) = field(line)?;
        match name.to_ascii_lowercase().as_str() {
            "host" => {
                hosts += 1;
                if hosts > 1 || !agrees(value, &authority) {
                    return Err(RequestError::Host);
                }
            }
            "content-length" | "transfer-encoding" | "trailer" | "te" | "expect" | "upgrade" => {
                return Err(RequestError::Body);
            }
            _ => {}
        }
    }
    Ok(authority)
}

fn request_line(line: &str) -> Result<Authority, RequestError> {
    if !line.bytes().all(|byte| (0x20..=0x7e).contains(&byte)) {
        return Err(RequestError::Line);
    }
    let mut words = line.split(' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    let (Some(method), Some(target), Some(version), None) = (method, target, version, words.next())
    else {
        return Err(RequestError::Line);
    };
    if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(RequestError::Line);
    }
    if !matches!(version, "HTTP/1.1" | "HTTP/1.0") {
        return Err(RequestError::Line);
    }
    if method != "CONNECT" {
        return Err(RequestError::Method);
    }
    Authority::parse(target).ok_or(RequestError::Authority)
}

/// A field's name and value (RFC 9112, section 5): no space before the colon, no folded line.
fn field(line: &str) -> Result<(&str, &str), RequestError> {
    let (name, value) = line.split_once(':').ok_or(RequestError::Field)?;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let is_text = |byte: u8| byte == b'\t' || (0x20..=0x7e).contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) || !value.bytes().all(is_text) {
        return Err(RequestError::Field);
    }
    Ok((name, value.trim_matches([' ', '\t'])))
}

/// Whether a `Host` names the same host, and the same port if any: some clients leave 443 out.
fn agrees(value: &str, authority: &Authority) -> bool {
    Authority::parse(value).is_some_and(|host| host == *authority)
        || RequestHost::parse(value).is_some_and(|host| host == authority.host)
}

impl Authority {
    /// Reads `host:port`: nothing before, between or behind.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let digits = port.bytes().all(|byte| byte.is_ascii_digit()) && !port.starts_with('0');
        let port = if digits { port.parse().ok()? } else { return None };
        Some(Self { host: RequestHost::parse(host)?, port })
    }
}

impl RequestHost {
    fn parse(text: &str) -> Option<Self> {
        if let Some(inner) = text.strip_prefix('[') {
            let address: Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
            return Some(Self::Address(address.into()));
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Some(Self::Address(address.into()));
        }
        text.parse().ok().map(Self::Name)
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            RequestHost::Address(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            RequestHost::Address(address) => write!(f, "{address}:{}", self.port),
            RequestHost::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

/// Why a request is not carried out.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RequestError {
    /// The target is not `host:port`.
    #[error(
        "the target is not host:port, with a DNS name, an IPv4 address or an IPv6 address in brackets"
    )]
    Authority,
    /// A field announces a body, another protocol or a condition.
    #[error("a CONNECT request has no body, and no fields that speak of one")]
    Body,
    /// Bytes came before the answer.
    #[error("bytes came behind the request before it was answered")]
    Early,
    /// A header field is malformed.
    #[error("a header field is malformed")]
    Field,
    /// `Host` is there twice, or says something else than the target.
    #[error("the Host field differs from the target, or is there twice")]
    Host,
    /// The first line is none of HTTP/1.
    #[error("it does not begin with a request line of HTTP/1.1")]
    Line,
    /// The method is another one.
    #[error("only CONNECT is served: plain HTTP is tunnelled too, as with `curl --proxytunnel`")]
    Method,
    /// The head is longer than [`MAX_HEAD`], or has too many fields.
    #[error("the head exceeds {MAX_HEAD} bytes or {MAX_FIELDS} fields")]
    TooLong,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn asked(text: &str) -> Result<Progress, RequestError> {
        parse(text.as_bytes())
    }

    fn whole(text: &str) -> Progress {
        Progress::Whole(Authority::parse(text).unwrap())
    }

    #[test]
    fn what_usual_clients_send_is_understood() {
        for (text, authority) in [
            (
                "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\nUser-Agent: curl/8\r\nProxy-Connection: Keep-Alive\r\n\r\n",
                "a.example:443",
            ),
            ("CONNECT a.example:443 HTTP/1.0\r\n\r\n", "a.example:443"),
            ("CONNECT A.example:443 HTTP/1.1\r\nhost:a.example\r\n\r\n", "a.example:443"),
            ("CONNECT [2600::1]:8443 HTTP/1.1\r\nHost: [2600::1]:8443\r\n\r\n", "[2600::1]:8443"),
            ("CONNECT 1.2.3.4:80 HTTP/1.1\r\nHost: 1.2.3.4:80\r\n\r\n", "1.2.3.4:80"),
        ] {
            assert_eq!(asked(text), Ok(whole(authority)), "{text}");
        }
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        use RequestError::*;
        let connect = "CONNECT a.example:443 HTTP/1.1\r\n";
        for (text, expected) in [
            (format!("{connect}Content-Length: 0\r\n\r\n"), Body),
            (format!("{connect}Transfer-Encoding: chunked\r\n\r\n"), Body),
            (format!("{connect}transfer-encoding : chunked\r\n\r\n"), Field),
            (format!("{connect}Expect: 100-continue\r\n\r\n"), Body),
            (format!("{connect}Host: b.example:443\r\n\r\n"), Host),
            (format!("{connect}Host: a.example:80\r\n\r\n"), Host),
            (format!("{connect}Host: a.example\r\nHost: a.example\r\n\r\n"), Host),
            (format!("{connect}X: 1\r\n folded: 2\r\n\r\n"), Field),
            (format!("{connect}X: 1\nHost: b.example\r\n\r\n"), Field),
            (format!("{connect}X: 1\rY: 2\r\n\r\n"), Field),
            (format!("{connect}X: \0\r\n\r\n"), Field),
            (format!("{connect}X: \u{e9}\r\n\r\n"), Field),
            (format!("{connect}no colon\r\n\r\n"), Field),
            (format!("{connect}\r\nGET / HTTP/1.1\r\n\r\n"), Early),
            (format!("{connect}\r\n\u{16}\u{3}\u{1}"), Early),
            ("CONNECT  a.example:443 HTTP/1.1\r\n\r\n".into(), Line),
            ("CONNECT a.example:443 HTTP/1.1 \r\n\r\n".into(), Line),
            ("CONNECT a.example:443 HTTP/2.0\r\n\r\n".into(), Line),
            ("CONNECT a.example:443\r\n\r\n".into(), Line),
            ("connect a.example:443 HTTP/1.1\r\n\r\n".into(), Line),
            ("CONNECT\ta.example:443\tHTTP/1.1\r\n\r\n".into(), Line),
            ("\r\nCONNECT a.example:443 HTTP/1.1\r\n\r\n".into(), Line),
            ("GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n".into(), Method),
        ] {
            assert_eq!(asked(&text), Err(expected), "{text:?}");
        }
        for target in [
            "a.example",
            "a.example:",
            "a.example:0",
            "a.example:65536",
            "a.example:0443",
            "a.example:+443",
            "a.example:4 43",
            "u@a.example:443",
            "http://a.example:443",
            "a.example:443/",
            "*:443",
            "127.1:80",
            "0x7f.1:80",
            "[::1]",
            "::1:80",
            "[::1%lo]:80",
            "[1.2.3.4]:80",
            "a.example.:443",
            "a%2eexample:443",
            "a.example:443#",
            "",
        ] {
            let text = format!("CONNECT {target} HTTP/1.1\r\n\r\n");
            let refused = asked(&text).unwrap_err();
            assert!(matches!(refused, Authority | Line), "{target}: {refused:?}");
        }
    }

    #[test]
    fn an_endless_head_is_given_up_and_another_protocol_is_noticed_at_once() {
        assert_eq!(asked("CONN"), Ok(Progress::Partial));
        let endless = "CONNECT ".to_owned() + &"a".repeat(MAX_HEAD);
        assert_eq!(asked(&endless), Err(RequestError::TooLong));
        let fields = "CONNECT a.example:443 HTTP/1.1".to_owned()
            + &"\r\nx: y".repeat(MAX_FIELDS + 1)
            + "\r\n\r\n";
        assert_eq!(asked(&fields), Err(RequestError::TooLong));
        assert_eq!(parse(b"\x16\x03\x01\x02"), Err(RequestError::Line));
        assert_eq!(parse(b"SSH-2.0\xff"), Err(RequestError::Line));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        /// A head is taken as a whole, at its last byte and no other.
        #[test]
        fn a_head_is_whole_at_its_last_byte_only(
            host in "[a-z]{1,10}\\.[a-z]{2,5}", port in 1_u16.., fields in prop::collection::vec("[A-Za-z-]{1,8}", 0..4),
        ) {
            let fields: Vec<String> = fields.iter().map(|name| format!("x{name}: v\r\n")).collect();
            let fields = fields.concat();
            let text = format!("CONNECT {host}:{port} HTTP/1.1\r\n{fields}\r\n");
            let bytes = text.as_bytes();
            for cut in 0..bytes.len() {
                prop_assert_eq!(parse(&bytes[..cut]), Ok(Progress::Partial));
            }
            let expected = Authority::parse(&format!("{host}:{port}")).unwrap();
            prop_assert_eq!(parse(bytes), Ok(Progress::Whole(expected)));
            prop_assert_eq!(parse(&[bytes, b"x"].concat()), Err(RequestError::Early));
        }

        /// A changed head means the same host and port, or is refused, or is not yet whole; unless the
        /// change is in the target itself.
        #[test]
        fn a_damaged_head_never_leads_elsewhere(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let target = "a.example:443";
            let text = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nX-Y: z\r\n\r\n");
            let mut bytes = text.clone().into_bytes();
            let range = 8..8 + target.len();
            for (place, byte) in changes {
                let place = place.index(bytes.len());
                if !range.contains(&place) {
                    bytes[place] = byte;
                }
            }
            if let Ok(Progress::Whole(found)) = parse(&bytes) {
                prop_assert_eq!(found.to_string(), target);
            }
        }
    }
}
