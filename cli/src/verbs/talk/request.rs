//! The request that is sent once the enclave has proven itself, as flags give it.

use crate::exit::Advise;
use http_body_util::Full;
use hyper::{
    Method, Request,
    body::Bytes,
    header::{HOST, HeaderName, HeaderValue},
};
use std::{
    fs,
    io::{self, Read as _},
    path::PathBuf,
    str::FromStr,
};
use url::{Host, Url};

/// What is sent.
#[derive(Debug, clap::Args)]
pub(crate) struct RequestFlags {
    /// Send this as the request's body; @FILE sends a file, @- standard input
    #[arg(long, value_name = "DATA")]
    data: Option<Data>,
    /// Add a header, as `Name: value`; may be given several times
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<Header>,
    /// The method [default: GET, or POST with --data]
    #[arg(long = "request", value_name = "METHOD")]
    method: Option<Method>,
}

impl RequestFlags {
    pub(crate) fn request(&self, target: &Target) -> Result<Request<Full<Bytes>>, RequestError> {
        let body = self.data.as_ref().map(Data::read).transpose()?;
        let usual = if body.is_some() { Method::POST } else { Method::GET };
        let method = self.method.clone().unwrap_or(usual);
        let mut request = Request::builder().method(method).uri(target.path());
        if !self.headers.iter().any(|Header(name, _)| *name == HOST) {
            request = request.header(HOST, target.authority());
        }
        for Header(name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::from(body.unwrap_or_default()));
        request.map_err(|source| RequestError::Form { source })
    }
}

/// Where the service is, and what is asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Target {
    host: String,
    port: u16,
    path: String,
}

impl Target {
    /// A name or an address; one of IPv6 in brackets.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// As a `Host` header has it.
    pub(crate) fn authority(&self) -> String {
        match self.port {
            443 => self.host.clone(),
            port => format!("{}:{port}", self.host),
        }
    }

    fn path(&self) -> &str {
        &self.path
    }
}

impl FromStr for Target {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = "write https://HOST[:PORT]/PATH";
        let url = Url::parse(text).map_err(|_| form)?;
        let has_user = !url.username().is_empty() || url.password().is_some();
        if url.scheme() != "https" || has_user {
            return Err(form);
        }
        let host = match url.host().ok_or(form)? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => format!("[{address}]"),
        };
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let path = format!("{}{query}", url.path());
        Ok(Self { host, port: url.port_or_known_default().ok_or(form)?, path })
    }
}

/// A body.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Data {
    File(PathBuf),
    Input,
    Text(String),
}

impl Data {
    fn read(&self) -> Result<Vec<u8>, RequestError> {
        let mut bytes = Vec::new();
        match self {
            Self::File(file) => {
                fs::read(file).map_err(|source| RequestError::Read { file: file.clone(), source })
            }
            Self::Input => io::stdin()
                .lock()
                .read_to_end(&mut bytes)
                .map(|_| bytes)
                .map_err(|source| RequestError::Read { file: "-".into(), source }),
            Self::Text(text) => Ok(text.clone().into_bytes()),
        }
    }
}

impl FromStr for Data {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.strip_prefix('@') {
            Some("-") => Self::Input,
            Some(file) => Self::File(file.into()),
            None => Self::Text(text.to_owned()),
        })
    }
}

/// A header.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Header(HeaderName, HeaderValue);

impl FromStr for Header {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) = text.split_once(':').ok_or("write `Name: value`")?;
        let name = name.trim().parse().map_err(|_| "that is no header's name")?;
        let value = value.trim().parse().map_err(|_| "that is no header's value")?;
        Ok(Self(name, value))
    }
}

/// Why the request cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// Its parts make no request.
    #[error("that is no HTTP request")]
    Form { source: hyper::http::Error },
    /// The body's file cannot be read.
    #[error("cannot read `{}`", file.display())]
    Read { file: PathBuf, source: io::Error },
}

impl Advise for RequestError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags() -> RequestFlags {
        RequestFlags { data: None, headers: Vec::new(), method: None }
    }

    #[test]
    fn a_url_names_host_port_and_path() {
        let target = |text: &str| {
            let target: Target = text.parse()?;
            Ok((target.authority(), target.host, target.port, target.path))
        };
        let expected = |authority: &str, host: &str, port, path: &str| -> Result<_, &'static str> {
            Ok((authority.to_owned(), host.to_owned(), port, path.to_owned()))
        };
        assert_eq!(target("https://a.example"), expected("a.example", "a.example", 443, "/"));
        assert_eq!(
            target("https://10.0.0.7:8443/a/b?c=d#e"),
            expected("10.0.0.7:8443", "10.0.0.7", 8443, "/a/b?c=d")
        );
        assert_eq!(
            target("https://[2001:db8::1]:8443/"),
            expected("[2001:db8::1]:8443", "[2001:db8::1]", 8443, "/")
        );
        for text in ["http://a.example/", "a.example", "https://me@a.example/", "https:///"] {
            assert!(target(text).is_err(), "{text}");
        }
    }

    #[test]
    fn without_flags_the_path_is_asked_for() {
        let target = "https://a.example:8443/x?y".parse().unwrap();
        let request = flags().request(&target).unwrap();
        assert_eq!(
            (request.method(), request.uri().to_string()),
            (&Method::GET, "/x?y".to_owned())
        );
        assert_eq!(request.headers()[HOST], "a.example:8443");
    }

    #[test]
    fn flags_say_what_is_sent() {
        let target = "https://a.example/".parse().unwrap();
        let given = RequestFlags {
            data: Some("text".parse().unwrap()),
            headers: vec!["host: b.example".parse().unwrap(), "X-A: 1".parse().unwrap()],
            ..flags()
        };
        let request = given.request(&target).unwrap();
        assert_eq!(request.method(), Method::POST);
        assert_eq!(request.headers()[HOST], "b.example");
        assert_eq!(request.headers()["x-a"], "1");
        let put = RequestFlags { method: Some(Method::PUT), ..given };
        assert_eq!(put.request(&target).unwrap().method(), Method::PUT);
    }

    #[test]
    fn a_body_comes_from_a_file_too() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("body");
        fs::write(&file, [0, 159]).unwrap();
        let data: Data = format!("@{}", file.display()).parse().unwrap();
        assert_eq!(data.read().unwrap(), [0, 159]);
        assert_eq!("@-".parse(), Ok(Data::Input));
        let absent: Data = "@/absent".parse().unwrap();
        assert!(matches!(absent.read(), Err(RequestError::Read { .. })));
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for text in ["", "no colon", ": no name", "a b: c", "a: \u{1}"] {
            assert!(text.parse::<Header>().is_err(), "{text}");
        }
    }
}
