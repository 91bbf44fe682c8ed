//! Zones and their subnets: where a launch goes, and which zones have nothing to give.

use super::{LaunchData, Refusal};
use axum::http::StatusCode;
use std::collections::{BTreeMap, BTreeSet};

/// The region's subnets. Zones `a`, `b` and `c` have a default subnet each, as in an account's default VPC.
#[derive(Debug)]
pub(super) struct Subnets {
    zones: [String; 3],
    /// The zone of each subnet, by the subnet's id.
    zone_of: BTreeMap<String, String>,
    /// Zones without capacity.
    pub(super) full: BTreeSet<String>,
}

/// Where an instance goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Spot {
    pub(super) zone: String,
    pub(super) subnet_id: String,
}

impl Subnets {
    /// The default subnets of a region, and these, by their ids, with their zones.
    pub(super) fn new(region: &str, more: BTreeMap<String, String>) -> Self {
        let zones = ["a", "b", "c"].map(|letter| format!("{region}{letter}"));
        let mut zone_of = more;
        zone_of.extend(zones.iter().map(|zone| (default_subnet(zone), zone.clone())));
        Self { zones, zone_of, full: BTreeSet::new() }
    }

    /// Where an instance with this data goes, refused as EC2 does.
    pub(super) fn spot(&self, data: &LaunchData) -> Result<Spot, Refusal> {
        refuse_both_levels(data)?;
        let asked = data.zone.as_deref().map(|zone| self.known(zone)).transpose()?;
        let named = data.subnet_id.as_deref();
        let named = named.or_else(|| data.interface.as_ref()?.subnet_id.as_deref());
        let spot = match (named, asked) {
            (None, Some(zone)) => at_default(zone),
            (None, None) => at_default(self.with_capacity()),
            (Some(subnet_id), asked) => {
                let zone = self.zone_of.get(subnet_id).ok_or_else(|| unknown_subnet(subnet_id))?;
                if let Some(asked) = asked
                    && asked != zone
                {
                    return Err(elsewhere(asked, subnet_id, zone));
                }
                Spot { zone: zone.clone(), subnet_id: subnet_id.to_owned() }
            }
        };
        if self.full.contains(&spot.zone) { Err(no_capacity(data, &spot.zone)) } else { Ok(spot) }
    }

    fn known<'a>(&self, zone: &'a str) -> Result<&'a str, Refusal> {
        if self.zones.iter().chain(self.zone_of.values()).any(|known| known == zone) {
            return Ok(zone);
        }
        let message = format!("Invalid availability zone: [{zone}]");
        Err(Refusal::new("InvalidParameterValue", message))
    }

    /// The zone that EC2 chooses for who asks for none.
    fn with_capacity(&self) -> &str {
        let [first, ..] = &self.zones;
        self.zones.iter().find(|zone| !self.full.contains(*zone)).unwrap_or(first)
    }
}

fn at_default(zone: &str) -> Spot {
    Spot { zone: zone.to_owned(), subnet_id: default_subnet(zone) }
}

/// `subnet-`, and the zone in hex.
fn default_subnet(zone: &str) -> String {
    format!("subnet-{:0<17.17}", hex::encode(zone.chars().rev().collect::<String>()))
}

/// Subnet and security groups belong either to the instance or to its network interface, whichever of request
/// and template they come from.
fn refuse_both_levels(data: &LaunchData) -> Result<(), Refusal> {
    let what = match data {
        LaunchData { interface: None, .. } => return Ok(()),
        LaunchData { subnet_id: Some(_), .. } => "subnet ID",
        LaunchData { security_groups, .. } if !security_groups.is_empty() => "security groups",
        _ => return Ok(()),
    };
    let message = format!(
        "Network interfaces and an instance-level {what} may not be specified on the same request"
    );
    Err(Refusal::new("InvalidParameterCombination", message))
}

fn unknown_subnet(id: &str) -> Refusal {
    Refusal::new("InvalidSubnetID.NotFound", format!("The subnet ID '{id}' does not exist"))
}

fn elsewhere(asked: &str, subnet: &str, zone: &str) -> Refusal {
    let message = format!(
        "Value ({asked}) for parameter availabilityZone is invalid. Subnet '{subnet}' is in the \
         availability zone {zone}"
    );
    Refusal::new("InvalidParameterValue", message)
}

fn no_capacity(data: &LaunchData, zone: &str) -> Refusal {
    let kind = data.instance_type.as_deref().unwrap_or_default();
    let message = format!(
        "We currently do not have sufficient {kind} capacity in the Availability Zone you \
         requested ({zone})."
    );
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    Refusal { status, ..Refusal::new("InsufficientInstanceCapacity", message) }
}

#[cfg(test)]
mod tests {
    use super::{super::Query, *};

    const OURS: &str = "subnet-0123456789abcdef0";

    fn subnets() -> Subnets {
        Subnets::new("eu-west-1", BTreeMap::from([(OURS.to_owned(), "eu-west-1b".to_owned())]))
    }

    fn data(form: &str) -> LaunchData {
        LaunchData::parse(&Query::parse(form.as_bytes())).unwrap()
    }

    fn refused(form: &str) -> (String, String) {
        let refusal = subnets().spot(&data(form)).unwrap_err();
        (refusal.code, refusal.message)
    }

    #[test]
    fn a_subnet_decides_the_zone_on_either_level() {
        for form in [
            format!("SubnetId={OURS}"),
            format!("SubnetId={OURS}&Placement.AvailabilityZone=eu-west-1b"),
            format!("NetworkInterface.1.SubnetId={OURS}"),
        ] {
            let spot = subnets().spot(&data(&form)).unwrap();
            let expected = Spot { zone: "eu-west-1b".to_owned(), subnet_id: OURS.to_owned() };
            assert_eq!(spot, expected, "{form}");
        }
    }

    #[test]
    fn an_unknown_subnet_another_zone_and_both_levels_are_refused_with_ec2s_codes() {
        let (code, message) = refused("SubnetId=subnet-0fffffffffffffff0");
        assert_eq!(code, "InvalidSubnetID.NotFound", "{message}");
        let (code, message) =
            refused(&format!("SubnetId={OURS}&Placement.AvailabilityZone=eu-west-1a"));
        assert_eq!(code, "InvalidParameterValue");
        assert!(message.ends_with("is in the availability zone eu-west-1b"), "{message}");
        for both in [
            format!("SubnetId={OURS}&NetworkInterface.1.DeviceIndex=0"),
            "SecurityGroupId.1=sg-1&NetworkInterface.1.DeviceIndex=0".to_owned(),
        ] {
            assert_eq!(refused(&both).0, "InvalidParameterCombination", "{both}");
        }
    }

    #[test]
    fn a_zone_without_capacity_refuses_and_who_names_none_goes_elsewhere() {
        let mut subnets = subnets();
        subnets.full.insert("eu-west-1a".to_owned());
        let asked = data("InstanceType=m5.xlarge&Placement.AvailabilityZone=eu-west-1a");
        assert_eq!(subnets.spot(&asked).unwrap_err().code, "InsufficientInstanceCapacity");
        assert_eq!(subnets.spot(&data("")).unwrap().zone, "eu-west-1b");
        subnets.full.insert("eu-west-1b".to_owned());
        let code = subnets.spot(&data(&format!("SubnetId={OURS}"))).unwrap_err().code;
        assert_eq!(code, "InsufficientInstanceCapacity");
    }

    #[test]
    fn the_default_subnets_are_three() {
        let all: BTreeSet<_> = subnets().zones.iter().map(|zone| default_subnet(zone)).collect();
        assert_eq!(all.len(), 3);
        assert!(all.iter().all(|id| id.len() == "subnet-".len() + 17), "{all:?}");
    }
}
