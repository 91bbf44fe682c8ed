//! What kind of place an IP address is.
//!
//! From IANA's special-purpose address registries (RFC 6890 and what updated it), and from AWS's user
//! guides for the addresses at which instances are told their credentials.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// A kind of address. Only [`Public`](Self::Public) ones are reached without being written out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AddressKind {
    /// One link, `169.254.0.0/16` and `fe80::/10`; at AWS also the instance's own services.
    LinkLocal,
    /// The host itself.
    Loopback,
    /// Where an instance or a container is told its credentials.
    Metadata,
    /// Many hosts at once, and broadcast.
    Multicast,
    /// A private network: RFC 1918.
    Private,
    /// Anybody's.
    Public,
    /// For documentation, measuring, or a use to come.
    Reserved,
    /// Between a provider and its customers: RFC 6598.
    Shared,
    /// A public IPv4 address in a form of IPv6: mapped, translated or tunnelled.
    Translated,
    /// A private network: RFC 4193.
    UniqueLocal,
    /// No host, or this one.
    Unspecified,
}

impl AddressKind {
    /// What kind of place the address is.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => of_v4(address),
            IpAddr::V6(address) => of_v6(address),
        }
    }
}

/// The instance metadata service, and the credentials of tasks and pods.
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(169, 254, 170, 23),
];
/// The same by IPv6.
const METADATA_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
];

fn of_v4(address: Ipv4Addr) -> AddressKind {
    if METADATA_V4.contains(&address) {
        return AddressKind::Metadata;
    }
    match address.octets() {
        [0, ..] => AddressKind::Unspecified,
        [224..=239, ..] | [255, 255, 255, 255] => AddressKind::Multicast,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => AddressKind::Private,
        [100, 64..=127, ..] => AddressKind::Shared,
        [127, ..] => AddressKind::Loopback,
        [169, 254, ..] => AddressKind::LinkLocal,
        // The last but one were the relays of 6to4, which no longer exist.
        [192, 0, 0 | 2, _]
        | [198, 18..=19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _]
        | [192, 88, 99, _]
        | [240..=255, ..] => AddressKind::Reserved,
        _ => AddressKind::Public,
    }
}

fn of_v6(address: Ipv6Addr) -> AddressKind {
    if METADATA_V6.contains(&address) {
        return AddressKind::Metadata;
    }
    if address.is_unspecified() {
        return AddressKind::Unspecified;
    }
    if address.is_loopback() {
        return AddressKind::Loopback;
    }
    if let Some(inner) = embedded(address) {
        // Worse than a foreign form is only what it hides.
        return match of_v4(inner) {
            AddressKind::Public => AddressKind::Translated,
            hidden => hidden,
        };
    }
    match address.segments() {
        [0xff00..=0xffff, ..] => AddressKind::Multicast,
        [0xfc00..=0xfdff, ..] => AddressKind::UniqueLocal,
        [0xfe80..=0xfebf, ..] => AddressKind::LinkLocal,
        // Site-local, given up by RFC 3879 and still routed here and there.
        [0xfec0..=0xfeff, ..] => AddressKind::Private,
        // 2001::/23 for protocols, documentation, and documentation once more (RFC 9637).
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => AddressKind::Reserved,
        [0x2000..=0x3fff, ..] => AddressKind::Public,
        _ => AddressKind::Reserved,
    }
}

/// The IPv4 address that one of IPv6 stands for: mapped and compatible (RFC 4291), NAT64 (RFC 6052 and
/// 8215), 6to4 (RFC 3056) and Teredo (RFC 4380, the client's).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 =
        |high: u16, low: u16| Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match address.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x64, 0xff9b, 1, _, _, _, high, low]
        | [0x2002, high, low, ..] => v4(high, low),
        [0x2001, 0, .., high, low] => v4(!high, !low),
        _ => None,
    }
}

impl fmt::Display for AddressKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LinkLocal => "link-local",
            Self::Loopback => "loopback",
            Self::Metadata => "a metadata service",
            Self::Multicast => "multicast",
            Self::Private => "private",
            Self::Public => "public",
            Self::Reserved => "reserved",
            Self::Shared => "a provider's shared network",
            Self::Translated => "IPv4 in a form of IPv6",
            Self::UniqueLocal => "unique local",
            Self::Unspecified => "unspecified",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kind(text: &str) -> AddressKind {
        AddressKind::of(text.parse().unwrap())
    }

    #[test]
    fn every_special_block_is_known_at_both_ends_and_its_neighbours_are_not_taken_for_it() {
        for (kinds, first, last) in [
            (AddressKind::Unspecified, "0.0.0.0", "0.255.255.255"),
            (AddressKind::Private, "10.0.0.0", "10.255.255.255"),
            (AddressKind::Shared, "100.64.0.0", "100.127.255.255"),
            (AddressKind::Loopback, "127.0.0.0", "127.255.255.255"),
            (AddressKind::LinkLocal, "169.254.0.0", "169.254.255.255"),
            (AddressKind::Private, "172.16.0.0", "172.31.255.255"),
            (AddressKind::Reserved, "192.0.0.0", "192.0.0.255"),
            (AddressKind::Reserved, "192.0.2.0", "192.0.2.255"),
            (AddressKind::Private, "192.168.0.0", "192.168.255.255"),
            (AddressKind::Reserved, "198.18.0.0", "198.19.255.255"),
            (AddressKind::Reserved, "203.0.113.0", "203.0.113.255"),
            (AddressKind::Multicast, "224.0.0.0", "239.255.255.255"),
            (AddressKind::UniqueLocal, "fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            (AddressKind::LinkLocal, "fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            (AddressKind::Multicast, "ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            (AddressKind::Reserved, "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
        ] {
            assert_eq!((kind(first), kind(last)), (kinds, kinds), "{first}");
        }
        for public in [
            "1.0.0.0",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "192.169.0.0",
            "223.255.255.255",
            "2600::1",
            "2a05:d018::1",
            "2001:200::",
            "2001:4860:4860::8888",
        ] {
            assert_eq!(kind(public), AddressKind::Public, "{public}");
        }
        assert_eq!(kind("240.0.0.1"), AddressKind::Reserved);
        assert_eq!(kind("255.255.255.255"), AddressKind::Multicast);
        assert_eq!(kind("4000::1"), AddressKind::Reserved);
    }

    #[test]
    fn the_places_of_credentials_are_more_than_link_local_or_unique_local() {
        for text in
            ["169.254.169.254", "169.254.170.2", "169.254.170.23", "fd00:ec2::254", "fd00:ec2::23"]
        {
            assert_eq!(kind(text), AddressKind::Metadata, "{text}");
        }
    }

    #[test]
    fn a_form_of_ipv6_hides_no_ipv4_address() {
        for form in [
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "::ffff:0:a9fe:a9fe",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::169.254.169.254",
            "2002:a9fe:a9fe::1",
            "2001:0:1:2:3:4:5601:5601",
        ] {
            assert_eq!(kind(form), AddressKind::Metadata, "{form}");
        }
        assert_eq!(kind("::ffff:10.0.0.1"), AddressKind::Private);
        assert_eq!(kind("64:ff9b::8.8.8.8"), AddressKind::Translated);
        assert_eq!((kind("::"), kind("::1")), (AddressKind::Unspecified, AddressKind::Loopback));
    }

    proptest! {
        #[test]
        fn no_ipv4_address_becomes_public_in_a_form_of_ipv6(inner in any::<Ipv4Addr>()) {
            let [a, b, c, d] = inner.octets().map(u16::from);
            let (high, low) = (a << 8 | b, c << 8 | d);
            for segments in [
                [0, 0, 0, 0, 0, 0xffff, high, low],
                [0x64, 0xff9b, 0, 0, 0, 0, high, low],
                [0x2002, high, low, 0, 0, 0, 0, 1],
                [0x2001, 0, 1, 2, 3, 4, !high, !low],
            ] {
                let outer = AddressKind::of(Ipv6Addr::from(segments).into());
                prop_assert_ne!(outer, AddressKind::Public);
                let hidden = AddressKind::of(inner.into());
                prop_assert!(hidden == AddressKind::Public || outer == hidden);
            }
        }

        /// What the standard library knows is known here too.
        #[test]
        fn nothing_that_the_standard_library_calls_special_is_public(address in any::<IpAddr>()) {
            let special = address.is_loopback() || address.is_multicast() || address.is_unspecified()
                || match address {
                    IpAddr::V4(v4) => v4.is_private() || v4.is_link_local() || v4.is_broadcast() || v4.is_documentation(),
                    IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local() || v6.to_ipv4().is_some(),
                };
            prop_assert!(!special || AddressKind::of(address) != AddressKind::Public);
        }
    }
}
