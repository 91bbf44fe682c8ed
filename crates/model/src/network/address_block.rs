//! Addresses and blocks of addresses.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// A block of addresses, `10.0.0.0/8` or `fd00::/8`; a single address is a block of one.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct AddressBlock {
    first: IpAddr,
    prefix: u8,
}

impl AddressBlock {
    /// The lowest address.
    #[must_use]
    pub fn first(&self) -> IpAddr {
        self.first
    }

    /// The highest address.
    #[must_use]
    pub fn last(&self) -> IpAddr {
        match self.first {
            IpAddr::V4(first) => {
                Ipv4Addr::from_bits(first.to_bits() | !mask_v4(self.prefix)).into()
            }
            IpAddr::V6(first) => {
                Ipv6Addr::from_bits(first.to_bits() | !mask_v6(self.prefix)).into()
            }
        }
    }

    /// Whether the address is one of the block's. An IPv6 form of an IPv4 address is none of an
    /// IPv4 block.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                address.to_bits() & mask_v4(self.prefix) == first.to_bits()
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                address.to_bits() & mask_v6(self.prefix) == first.to_bits()
            }
            _ => false,
        }
    }

    fn width(address: IpAddr) -> u8 {
        if address.is_ipv4() { 32 } else { 128 }
    }
}

fn mask_v4(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32_u32.saturating_sub(prefix.into())).unwrap_or(0)
}

fn mask_v6(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128_u32.saturating_sub(prefix.into())).unwrap_or(0)
}

impl From<IpAddr> for AddressBlock {
    fn from(address: IpAddr) -> Self {
        Self { first: address, prefix: Self::width(address) }
    }
}

impl FromStr for AddressBlock {
    type Err = AddressBlockError;

    fn from_str(text: &str) -> Result<Self, AddressBlockError> {
        let (address, prefix) = match text.split_once('/') {
            None => (text, None),
            Some((address, prefix)) => (address, Some(prefix)),
        };
        let address: IpAddr = address.parse().map_err(|_| AddressBlockError::Address)?;
        let width = Self::width(address);
        let prefix = match prefix {
            None => width,
            Some(text) => text
                .parse()
                .ok()
                .filter(|prefix| *prefix <= width && text.bytes().all(|b| b.is_ascii_digit()))
                .ok_or(AddressBlockError::Prefix { width })?,
        };
        let block = Self { first: address, prefix };
        // An address inside of a block is more often a mistake than a way to write the block.
        if !block.contains(address) {
            return Err(AddressBlockError::NotTheFirst);
        }
        Ok(block)
    }
}

impl fmt::Display for AddressBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first.fmt(f)?;
        if self.prefix < Self::width(self.first) {
            write!(f, "/{}", self.prefix)?;
        }
        Ok(())
    }
}

/// Why a text is not an [`AddressBlock`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AddressBlockError {
    /// What is before the slash is no address.
    #[error("it is not an IP address")]
    Address,
    /// The address is not the block's first.
    #[error("the address before the slash is not the block's first")]
    NotTheFirst,
    /// What is after the slash is no prefix length.
    #[error("after the slash stands a number from 0 to {width}")]
    Prefix {
        /// The bits of the address.
        width: u8,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(text: &str) -> AddressBlock {
        text.parse().unwrap()
    }

    #[test]
    fn a_block_holds_what_lies_between_its_ends() {
        let ten = block("10.0.0.0/8");
        assert_eq!(ten.last(), "10.255.255.255".parse::<IpAddr>().unwrap());
        assert!(ten.contains("10.1.2.3".parse().unwrap()));
        assert!(!ten.contains("11.0.0.0".parse().unwrap()));
        assert!(!ten.contains("::ffff:10.1.2.3".parse().unwrap()));
        assert!(block("0.0.0.0/0").contains("255.1.1.1".parse().unwrap()));
        assert!(block("::/0").contains("fe80::1".parse().unwrap()));
        assert_eq!(block("fd00::/8").last().to_string(), "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
    }

    #[test]
    fn what_is_no_block_is_refused() {
        let error = |text: &str| text.parse::<AddressBlock>().unwrap_err();
        assert_eq!(error("10.0.0.1/8"), AddressBlockError::NotTheFirst);
        assert_eq!(error("10.0.0.0/33"), AddressBlockError::Prefix { width: 32 });
        assert_eq!(error("10.0.0.0/+8"), AddressBlockError::Prefix { width: 32 });
        assert_eq!(error("10.0.0/8"), AddressBlockError::Address);
        assert_eq!(error("fe80::1%eth0"), AddressBlockError::Address);
    }

    proptest! {
        #[test]
        fn a_block_survives_its_text(address in any::<IpAddr>(), prefix in 0_u8..=128) {
            let prefix = prefix.min(AddressBlock::width(address));
            let wide = AddressBlock { first: address, prefix };
            let first = match address {
                IpAddr::V4(a) => Ipv4Addr::from_bits(a.to_bits() & mask_v4(prefix)).into(),
                IpAddr::V6(a) => Ipv6Addr::from_bits(a.to_bits() & mask_v6(prefix)).into(),
            };
            let block = AddressBlock { first, prefix };
            prop_assert!(block.contains(address) && block.contains(block.last()));
            prop_assert_eq!(block.to_string().parse(), Ok(block));
            prop_assert_eq!(wide.last(), block.last());
        }
    }
}
