//! Where instances are launched: a subnet for each zone.

use crate::launch::Place;
use std::collections::BTreeMap;

/// A subnet of a zone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Subnet {
    /// The zone that it lies in, `eu-west-1a`.
    pub availability_zone: String,
    /// Its id, `subnet-` and hex digits.
    pub subnet_id: String,
}

/// One subnet for each zone, best zone first. With none of them the launch template, or EC2, says into
/// which subnet an instance goes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Subnets(Vec<Subnet>);

/// Why subnets are none to launch into.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SubnetsError {
    /// What should be a subnet's id is none.
    #[error("`{found}`, for {zone}, is not the id of a subnet, `subnet-` and hex digits")]
    NotAnId {
        /// The zone that it was given for.
        zone: String,
        /// What was given.
        found: String,
    },
    /// What should be a zone is none.
    #[error("`{found}` is not an availability zone, such as `eu-west-1a`")]
    NotAZone {
        /// What was given.
        found: String,
    },
    /// A subnet lies in one zone.
    #[error("{subnet} cannot be both in {first} and in {second}")]
    InTwoZones {
        /// The subnet.
        subnet: String,
        /// A zone that it was given for.
        first: String,
        /// Another one.
        second: String,
    },
    /// A zone has one subnet here.
    #[error("{zone} has two subnets, {first} and {second}")]
    TwoInAZone {
        /// The zone.
        zone: String,
        /// A subnet of it.
        first: String,
        /// Another one.
        second: String,
    },
}

impl Subnets {
    /// These subnets, best first.
    pub fn new(subnets: Vec<Subnet>) -> Result<Self, SubnetsError> {
        let (mut by_zone, mut by_id) = (BTreeMap::new(), BTreeMap::new());
        for Subnet { availability_zone: zone, subnet_id: id } in &subnets {
            if !is_zone(zone) {
                return Err(SubnetsError::NotAZone { found: zone.clone() });
            }
            if !is_subnet_id(id) {
                return Err(SubnetsError::NotAnId { zone: zone.clone(), found: id.clone() });
            }
            if let Some(first) = by_zone.insert(zone, id) {
                let (zone, first, second) = (zone.clone(), first.clone(), id.clone());
                return Err(SubnetsError::TwoInAZone { zone, first, second });
            }
            if let Some(first) = by_id.insert(id, zone) {
                let (subnet, first, second) = (id.clone(), first.clone(), zone.clone());
                return Err(SubnetsError::InTwoZones { subnet, first, second });
            }
        }
        Ok(Self(subnets))
    }

    /// Whether somebody else says into which subnet an instance goes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The zones, best first.
    pub fn zones(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|subnet| subnet.availability_zone.as_str())
    }

    /// Whether an instance can be launched in this zone, as far as is known here.
    #[must_use]
    pub fn has(&self, zone: &str) -> bool {
        self.is_empty() || self.zones().any(|known| known == zone)
    }

    /// The subnet of a place. A place without a zone is anywhere: in another zone each time that `turn` is
    /// another number.
    pub(crate) fn of(&self, place: &Place, turn: u64) -> Option<&str> {
        let subnet = if let Some(zone) = &place.availability_zone {
            self.0.iter().find(|subnet| subnet.availability_zone == *zone)
        } else {
            let count = u64::try_from(self.0.len()).ok()?;
            let index = usize::try_from(turn.checked_rem(count)?).ok()?;
            self.0.get(index)
        };
        subnet.map(|subnet| subnet.subnet_id.as_str())
    }
}

/// `eu-west-1a`, and with what follows it in local zones; not the id of a zone, `euw1-az1`.
fn is_zone(text: &str) -> bool {
    let is_clean = text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    is_clean && text.matches('-').count() >= 2 && text.ends_with(|c: char| c.is_ascii_lowercase())
}

fn is_subnet_id(text: &str) -> bool {
    let is_hex = |digits: &str| digits.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
    text.strip_prefix("subnet-").is_some_and(|digits| digits.len() >= 8 && is_hex(digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnets(pairs: &[(&str, &str)]) -> Result<Subnets, SubnetsError> {
        let subnet = |(zone, id): &(&str, &str)| Subnet {
            availability_zone: (*zone).to_owned(),
            subnet_id: (*id).to_owned(),
        };
        Subnets::new(pairs.iter().map(subnet).collect())
    }

    fn place(zone: Option<&str>) -> Place {
        Place {
            instance_type: "m5.xlarge".parse().unwrap(),
            availability_zone: zone.map(str::to_owned),
        }
    }

    const A: &str = "subnet-0aaaaaaaaaaaaaaaa";
    const B: &str = "subnet-0bbbbbbbbbbbbbbbb";

    #[test]
    fn a_place_has_its_zones_subnet_and_one_without_a_zone_each_in_turn() {
        let two = subnets(&[("eu-west-1b", B), ("eu-west-1a", A)]).unwrap();
        assert_eq!(two.zones().collect::<Vec<_>>(), ["eu-west-1b", "eu-west-1a"]);
        assert_eq!(two.of(&place(Some("eu-west-1a")), 7), Some(A));
        assert_eq!(two.of(&place(Some("eu-west-1c")), 0), None);
        assert_eq!(
            (0..3).map(|n| two.of(&place(None), n)).collect::<Vec<_>>(),
            [Some(B), Some(A), Some(B)]
        );
        assert!(two.has("eu-west-1a") && !two.has("eu-west-1c"));
    }

    #[test]
    fn without_subnets_nothing_is_said_and_every_zone_may_do() {
        let none = Subnets::default();
        assert_eq!(
            (none.of(&place(None), 0), none.of(&place(Some("eu-west-1a")), 0)),
            (None, None)
        );
        assert!(none.has("eu-west-1a"));
    }

    #[test]
    fn what_is_no_zone_no_subnet_or_said_twice_is_refused_in_words() {
        let refused = |pairs: &[(&str, &str)]| subnets(pairs).unwrap_err().to_string();
        for zone in ["", "eu-west-1", "euw1-az1", "EU-WEST-1A", "eu-west-1a "] {
            assert!(refused(&[(zone, A)]).contains("is not an availability zone"), "{zone}");
        }
        for id in ["", "subnet-", "subnet-0aZ00000", "vpc-0aaaaaaaaaaaaaaaa"] {
            assert!(refused(&[("eu-west-1a", id)]).contains("is not the id of a subnet"), "{id}");
        }
        assert_eq!(
            refused(&[("eu-west-1a", A), ("eu-west-1a", B)]),
            format!("eu-west-1a has two subnets, {A} and {B}")
        );
        assert_eq!(
            refused(&[("eu-west-1a", A), ("eu-west-1b", A)]),
            format!("{A} cannot be both in eu-west-1a and in eu-west-1b")
        );
        subnets(&[("us-west-2-lax-1a", A)]).unwrap();
    }
}
