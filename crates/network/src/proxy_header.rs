//! Who connected: the binary header of the PROXY protocol, version 2.
//!
//! From `HAProxy`'s specification `proxy-protocol.txt`, section 2.2. It is the parent's word: an enclave
//! may log by it, and must decide nothing by it.

use std::net::{IpAddr, SocketAddr};

/// The twelve bytes with which every header begins.
pub const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Version 2, command PROXY.
const VERSION_AND_COMMAND: u8 = 0x21;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

/// The header for a TCP connection from `source` to `destination`: 28 bytes for IPv4, 52 for IPv6.
///
/// An IPv4 address in IPv6 form counts as IPv4 when both are, so that a listener on both families
/// tells the same as one on IPv4.
#[must_use]
pub fn encode(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let (family, addresses) = match (source.ip().to_canonical(), destination.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            (TCP_OVER_IPV4, [from.octets().as_slice(), to.octets().as_slice()].concat())
        }
        (from, to) => {
            let v6 = |address: IpAddr| match address {
                IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                IpAddr::V6(address) => address.octets(),
            };
            (TCP_OVER_IPV6, [v6(from).as_slice(), v6(to).as_slice()].concat())
        }
    };
    let ports = [source.port().to_be_bytes(), destination.port().to_be_bytes()].concat();
    let length = u16::try_from(addresses.len() + ports.len()).unwrap_or_default().to_be_bytes();
    [&SIGNATURE, [VERSION_AND_COMMAND, family].as_slice(), &length, &addresses, &ports].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_bytes_are_those_of_the_specification() {
        let header =
            encode("192.0.2.1:51000".parse().unwrap(), "198.51.100.2:8443".parse().unwrap());
        let expected =
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x02\xc7\x38\x20\xfb";
        assert_eq!(header, expected);
        let mapped = encode(
            "[::ffff:192.0.2.1]:51000".parse().unwrap(),
            "[::ffff:198.51.100.2]:8443".parse().unwrap(),
        );
        assert_eq!(mapped, expected);
    }

    /// A reader of its own, by the specification.
    fn decode(header: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
        let rest = header.strip_prefix(&SIGNATURE)?;
        let (fixed, body) = rest.split_at_checked(4)?;
        let length = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
        if fixed[0] != 0x21 || body.len() != length {
            return None;
        }
        let port = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
        match (fixed[1], length) {
            (0x11, 12) => {
                let ip = |at: usize| <[u8; 4]>::try_from(&body[at..at + 4]).unwrap();
                Some(((ip(0), port(8)).into(), (ip(4), port(10)).into()))
            }
            (0x21, 36) => {
                let ip = |at: usize| <[u8; 16]>::try_from(&body[at..at + 16]).unwrap();
                Some(((ip(0), port(32)).into(), (ip(16), port(34)).into()))
            }
            _ => None,
        }
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_read_back(
            from in any::<(IpAddr, u16)>(), to in any::<(IpAddr, u16)>(),
        ) {
            let (from, to) = (SocketAddr::from(from), SocketAddr::from(to));
            let (read_from, read_to) = decode(&encode(from, to)).unwrap();
            prop_assert_eq!(read_from.ip().to_canonical(), from.ip().to_canonical());
            prop_assert_eq!(read_to.ip().to_canonical(), to.ip().to_canonical());
            prop_assert_eq!((read_from.port(), read_to.port()), (from.port(), to.port()));
        }
    }
}
