//! What the proxy answers: a tunnel, or the reason why there is none.

/// The head after which the connection is a tunnel.
pub const TUNNEL: &str = "HTTP/1.1 200 Connection established\r\n\r\n";

/// Why there is no tunnel, as HTTP says it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Status {
    /// The request is malformed.
    BadRequest,
    /// The destination cannot be connected to.
    BadGateway,
    /// The destination is refused.
    Forbidden,
    /// It took too long to connect.
    GatewayTimeout,
    /// The method is not served.
    MethodNotAllowed,
    /// The request did not come in time.
    RequestTimeout,
    /// A limit is reached.
    Unavailable,
}

impl Status {
    fn line(self) -> &'static str {
        match self {
            Self::BadRequest => "400 Bad Request",
            Self::BadGateway => "502 Bad Gateway",
            Self::Forbidden => "403 Forbidden",
            Self::GatewayTimeout => "504 Gateway Timeout",
            Self::MethodNotAllowed => "405 Method Not Allowed\r\nallow: CONNECT",
            Self::RequestTimeout => "408 Request Timeout",
            Self::Unavailable => "503 Service Unavailable",
        }
    }
}

/// The whole answer of a refusal, with its reason for people.
#[must_use]
pub fn refusal(status: Status, reason: &str) -> String {
    let line = status.line();
    let body = format!("{reason}\n");
    let length = body.len();
    format!(
        "HTTP/1.1 {line}\r\nconnection: close\r\ncontent-type: text/plain; charset=utf-8\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_its_reason_and_ends_the_connection() {
        assert_eq!(
            refusal(Status::Forbidden, "no"),
            "HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-type: text/plain; charset=utf-8\r\n\
             content-length: 3\r\n\r\nno\n"
        );
        let allowed = refusal(Status::MethodNotAllowed, "no");
        assert!(
            allowed.starts_with("HTTP/1.1 405 Method Not Allowed\r\nallow: CONNECT\r\nconnection")
        );
    }
}
