//! One thing that an enclave may reach.

use super::{AddressBlock, AddressBlockError, HostName, HostNameError};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A host and a TCP port: `api.example.com:443`, `*.example.com:443`, `203.0.113.7:443`,
/// `10.0.0.0/8:5432` or `[fd00::/8]:443`.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Destination {
    /// Which hosts.
    pub host: DestinationHost,
    /// Which TCP port, 1 or more.
    pub port: u16,
}

/// The hosts that a [`Destination`] means.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum DestinationHost {
    /// These addresses: as literals in requests, and as what a listed name resolves to although
    /// they are not public.
    Addresses(AddressBlock),
    /// Each name that ends with a dot and this one.
    Below(HostName),
    /// This name.
    Name(HostName),
}

impl FromStr for Destination {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, DestinationError> {
        let (host, port) = text.rsplit_once(':').ok_or(DestinationError::NoPort)?;
        let port = port_number(port).ok_or(DestinationError::Port)?;
        Ok(Self { host: parse_host(host)?, port })
    }
}

fn parse_host(text: &str) -> Result<DestinationHost, DestinationError> {
    if let Some(rest) = text.strip_prefix('[') {
        let block = rest.strip_suffix(']').ok_or(DestinationError::Brackets)?;
        let block: AddressBlock = block.parse().map_err(DestinationError::Addresses)?;
        return if block.first().is_ipv6() {
            Ok(DestinationHost::Addresses(block))
        } else {
            Err(DestinationError::Brackets)
        };
    }
    if text.contains(':') {
        return Err(DestinationError::Brackets);
    }
    if let Some(parent) = text.strip_prefix("*.") {
        return Ok(DestinationHost::Below(parent.parse().map_err(DestinationError::Name)?));
    }
    match text.parse() {
        Ok(block) => Ok(DestinationHost::Addresses(block)),
        Err(error) if text.contains('/') => Err(DestinationError::Addresses(error)),
        Err(_) => Ok(DestinationHost::Name(text.parse().map_err(DestinationError::Name)?)),
    }
}

/// A TCP port in digits alone, without a zero in front.
fn port_number(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    if digits { text.parse().ok() } else { None }
}

impl TryFrom<String> for Destination {
    type Error = DestinationError;

    fn try_from(text: String) -> Result<Self, DestinationError> {
        text.parse()
    }
}

impl From<Destination> for String {
    fn from(destination: Destination) -> Self {
        destination.to_string()
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.port;
        match &self.host {
            DestinationHost::Addresses(block) if block.first().is_ipv6() => {
                write!(f, "[{block}]:{port}")
            }
            DestinationHost::Addresses(block) => write!(f, "{block}:{port}"),
            DestinationHost::Below(parent) => write!(f, "*.{parent}:{port}"),
            DestinationHost::Name(name) => write!(f, "{name}:{port}"),
        }
    }
}

/// Why a text is not a [`Destination`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DestinationError {
    /// The addresses are none.
    #[error("its addresses cannot be used")]
    Addresses(#[source] AddressBlockError),
    /// An IPv6 address needs brackets, and nothing else has them.
    #[error("brackets belong around an IPv6 address or block, and around nothing else")]
    Brackets,
    /// The name is none.
    #[error("its name cannot be used")]
    Name(#[source] HostNameError),
    /// There is no colon.
    #[error("it names no port")]
    NoPort,
    /// The port is none.
    #[error("its port is not a number from 1 to 65535")]
    Port,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_form_is_read_and_written_alike() {
        for text in [
            "api.example.com:443",
            "*.example.com:443",
            "203.0.113.7:443",
            "10.0.0.0/8:5432",
            "[fd00::/8]:443",
            "[2001:db8::1]:443",
            "localhost:1",
        ] {
            assert_eq!(text.parse::<Destination>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_destination_is_refused_with_its_reason() {
        let error = |text: &str| text.parse::<Destination>().unwrap_err();
        assert_eq!(error("example.com"), DestinationError::NoPort);
        for text in ["a:0", "a:", "a:65536", "a:+1", "a:01", "a:*"] {
            assert_eq!(error(text), DestinationError::Port, "{text}");
        }
        for text in ["fd00::1:443", "[10.0.0.1]:443", "[fd00::1:443", "a]:1:2"] {
            assert_eq!(error(text), DestinationError::Brackets, "{text}");
        }
        for text in ["*:443", "*.*.a:1", "a.*:443", "https//a:1x:443", "127.1:443", ":443"] {
            let refused = matches!(
                error(text),
                DestinationError::Name(_)
                    | DestinationError::Addresses(_)
                    | DestinationError::Brackets
            );
            assert!(refused, "{text}: {:?}", error(text));
        }
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_written_so_that_it_is_read_again(text in "[a-z0-9.:/*\\[\\]-]{0,40}") {
            if let Ok(destination) = text.parse::<Destination>() {
                prop_assert_eq!(destination.to_string().parse(), Ok(destination));
            }
        }
    }
}
