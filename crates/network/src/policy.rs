//! May an enclave reach this host, and connect to this address.
//!
//! # Rules
//! - A name is reached when it is listed with its port; an address in a request only when it lies in
//!   a listed block with its port.
//! - Of the addresses that a listed name resolves to, only public ones are connected to, and those
//!   that are listed themselves. So a name that somebody points at the parent's network leads nowhere.
//! - A block that is listed means addresses of one kind: `0.0.0.0/0` means public ones and not, by the
//!   way, loopback. A metadata service is reached only when exactly its address is listed.

use crate::{
    address::AddressKind,
    request::{Authority, RequestHost},
};
use bailey_model::network::{AddressBlock, Destination, DestinationHost};
use std::net::IpAddr;

/// What one enclave may reach.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Policy {
    listed: Vec<Destination>,
}

/// What is to be connected to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// This address; it has been admitted.
    Address(IpAddr),
    /// Whichever address the name resolves to, if [`Policy::admit`] lets it.
    Name(bailey_model::network::HostName),
}

impl Policy {
    /// The policy of these destinations and no others.
    #[must_use]
    pub fn of(listed: Vec<Destination>) -> Self {
        Self { listed }
    }

    /// Whether the host of a request may be reached at all.
    pub fn target(&self, authority: &Authority) -> Result<Target, Refused> {
        match &authority.host {
            RequestHost::Address(address) => {
                let mut blocks = self.blocks(authority.port);
                if !blocks.any(|block| block.contains(*address)) {
                    return Err(Refused::NotListed);
                }
                self.admit(*address, authority.port)?;
                Ok(Target::Address(*address))
            }
            RequestHost::Name(name) => {
                let means = |destination: &Destination| match &destination.host {
                    DestinationHost::Addresses(_) => false,
                    DestinationHost::Below(parent) => name.is_below(parent),
                    DestinationHost::Name(listed) => listed == name,
                };
                let mut listed = self.listed.iter().filter(|it| it.port == authority.port);
                if listed.any(means) {
                    Ok(Target::Name(name.clone()))
                } else {
                    Err(Refused::NotListed)
                }
            }
        }
    }

    /// Whether an address that a listed name resolved to may be connected to.
    pub fn admit(&self, address: IpAddr, port: u16) -> Result<(), Refused> {
        let kind = AddressKind::of(address);
        let listed =
            || self.blocks(port).any(|block| block.contains(address) && is_of(block, kind));
        if kind == AddressKind::Public || listed() {
            Ok(())
        } else {
            Err(Refused::Address { kind })
        }
    }

    fn blocks(&self, port: u16) -> impl Iterator<Item = &AddressBlock> {
        self.listed.iter().filter(move |it| it.port == port).filter_map(|it| match &it.host {
            DestinationHost::Addresses(block) => Some(block),
            _ => None,
        })
    }
}

/// Whether a block's ends are both of this kind: special blocks lie one beside the other, so no block
/// begins and ends in the same one without lying in it.
fn is_of(block: &AddressBlock, kind: AddressKind) -> bool {
    AddressKind::of(block.first()) == kind && AddressKind::of(block.last()) == kind
}

/// Why a destination is not reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// The address is not one for everybody, and not listed.
    #[error("the address is {kind}, and it is not listed itself")]
    Address {
        /// What it is.
        kind: AddressKind,
    },
    /// Neither the name nor the address is listed with this port.
    #[error("the host and port are not listed in the record's egress")]
    NotListed,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn policy(listed: &[&str]) -> Policy {
        Policy::of(listed.iter().map(|text| text.parse().unwrap()).collect())
    }

    fn authority(text: &str) -> Authority {
        Authority::parse(text).unwrap()
    }

    fn is_reached(listed: &[&str], wanted: &str) -> bool {
        policy(listed).target(&authority(wanted)).is_ok()
    }

    fn is_admitted(listed: &[&str], address: &str) -> bool {
        policy(listed).admit(address.parse().unwrap(), 443).is_ok()
    }

    #[test]
    fn nothing_is_reached_by_default() {
        for wanted in ["example.com:443", "1.1.1.1:443", "[2606:4700::1111]:443"] {
            assert_eq!(Policy::default().target(&authority(wanted)), Err(Refused::NotListed));
        }
    }

    #[test]
    fn a_name_is_reached_by_itself_and_its_port() {
        let listed = ["api.example.com:443", "*.cdn.example:8443"];
        for wanted in ["api.example.com:443", "API.Example.com:443", "a.b.cdn.example:8443"] {
            assert!(is_reached(&listed, wanted), "{wanted}");
        }
        for wanted in [
            "api.example.com:80",
            "example.com:443",
            "x.api.example.com:443",
            "cdn.example:8443",
            "xcdn.example:8443",
            "a.cdn.example:443",
            "api.example.com.evil:443",
        ] {
            assert!(!is_reached(&listed, wanted), "{wanted}");
        }
    }

    #[test]
    fn an_address_is_reached_only_when_it_is_written_out() {
        assert!(!is_reached(&["example.com:443"], "93.184.216.34:443"));
        assert!(is_reached(&["93.184.216.34:443"], "93.184.216.34:443"));
        assert!(!is_reached(&["93.184.216.34:443"], "[::ffff:93.184.216.34]:443"));
        assert!(is_reached(&["10.0.0.0/8:5432"], "10.9.8.7:5432"));
        assert!(!is_reached(&["10.0.0.0/8:5432"], "10.9.8.7:5433"));
        assert!(is_reached(&["[fd00::/8]:443"], "[fd12::1]:443"));
    }

    #[test]
    fn a_name_that_resolves_to_somewhere_special_leads_nowhere() {
        let listed = ["example.com:443"];
        for address in [
            "10.0.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "::1",
            "fd00:ec2::254",
            "::ffff:10.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "100.64.0.1",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "fe80::1",
            "192.168.1.1",
        ] {
            assert!(!is_admitted(&listed, address), "{address}");
        }
        assert!(is_admitted(&listed, "93.184.216.34"));
        assert!(is_admitted(&["db.internal:443", "10.0.0.0/8:443"], "10.0.0.1"));
    }

    #[test]
    fn a_wide_block_means_public_addresses_and_no_metadata_service() {
        let listed = ["0.0.0.0/0:443", "[::/0]:443"];
        assert!(is_reached(&listed, "8.8.8.8:443"));
        for address in ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fd00:ec2::254"] {
            assert!(!is_admitted(&listed, address), "{address}");
        }
        assert!(!is_reached(&["169.254.0.0/16:80"], "169.254.169.254:80"));
        assert!(is_reached(&["169.254.0.0/16:80"], "169.254.169.123:80"));
        assert!(is_reached(&["169.254.169.254:80"], "169.254.169.254:80"));
        assert!(!is_reached(&["[fd00::/8]:80"], "[fd00:ec2::254]:80"));
    }

    fn destinations() -> impl Strategy<Value = Destination> {
        let name = "(\\*\\.)?[ab]\\.(example|internal)".prop_map(|name| format!("{name}:443"));
        let v4 = (any::<u32>(), 0_u32..=32).prop_map(|(bits, prefix)| {
            let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
            format!("{}/{prefix}:443", std::net::Ipv4Addr::from_bits(bits & mask))
        });
        prop_oneof![name, v4].prop_map(|text| text.parse().unwrap())
    }

    proptest! {
        /// Whatever is listed, an address that is not public is connected to only by a block of its
        /// own kind, and a metadata service by exactly its address.
        #[test]
        fn special_addresses_need_a_block_of_their_own(
            listed in prop::collection::vec(destinations(), 0..8), bits in any::<u32>(),
        ) {
            let address = IpAddr::from(std::net::Ipv4Addr::from_bits(bits));
            let policy = Policy::of(listed.clone());
            if policy.admit(address, 443).is_ok() && AddressKind::of(address) != AddressKind::Public {
                let by = |block: &AddressBlock| block.contains(address)
                    && AddressKind::of(block.first()) == AddressKind::of(address)
                    && AddressKind::of(block.last()) == AddressKind::of(address);
                prop_assert!(policy.blocks(443).any(by));
            }
            let metadata = "169.254.169.254".parse().unwrap();
            let exact = listed.iter().any(|it| it.to_string() == "169.254.169.254:443");
            prop_assert!(exact || policy.admit(metadata, 443).is_err());
            prop_assert!(policy.admit(address, 80).is_err() || AddressKind::of(address) == AddressKind::Public);
        }

        /// A list only ever adds: what a part of it allows, all of it allows.
        #[test]
        fn a_longer_list_allows_no_less(
            listed in prop::collection::vec(destinations(), 1..8), bits in any::<u32>(),
        ) {
            let wanted = Authority { host: RequestHost::Address(std::net::Ipv4Addr::from_bits(bits).into()), port: 443 };
            let part = Policy::of(listed.iter().skip(1).cloned().collect());
            let whole = Policy::of(listed);
            prop_assert!(part.target(&wanted).is_err() || whole.target(&wanted).is_ok());
        }
    }
}
