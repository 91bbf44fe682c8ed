//! EC2's answers, as far as the coordinator reads them.

use crate::query::{ApiError, XmlError};
use quick_xml::de::from_str;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Answer to `DescribeLaunchTemplateVersions`.
#[derive(Debug, Deserialize)]
pub(super) struct LaunchTemplateVersions {
    #[serde(rename = "launchTemplateVersionSet", default)]
    versions: Items<LaunchTemplateVersion>,
}

#[derive(Debug, Deserialize)]
struct LaunchTemplateVersion {
    #[serde(rename = "versionNumber")]
    number: u64,
}

/// Answer to `RunInstances`, and part of the one to `DescribeInstances`.
#[derive(Debug, Deserialize)]
pub(super) struct Reservation {
    #[serde(rename = "ownerId")]
    pub(super) owner_id: String,
    #[serde(rename = "instancesSet", default)]
    instances: Items<Instance>,
}

/// One instance.
#[derive(Debug, Deserialize)]
pub(super) struct Instance {
    #[serde(rename = "instanceId")]
    pub(super) id: String,
    #[serde(rename = "instanceState")]
    pub(super) state: StateName,
    #[serde(default)]
    pub(super) placement: Placement,
    #[serde(rename = "clientToken", default)]
    pub(super) client_token: String,
    #[serde(rename = "tagSet", default)]
    tags: Items<Tag>,
}

impl Instance {
    /// The instance's tags.
    pub(super) fn tags(&self) -> BTreeMap<String, String> {
        self.tags.items.iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect()
    }
}

/// A tag; EC2 writes an empty value as an empty element.
#[derive(Debug, Deserialize)]
struct Tag {
    key: String,
    #[serde(default)]
    value: String,
}

/// Where an instance is.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Placement {
    #[serde(rename = "availabilityZone", default)]
    pub(super) zone: String,
}

/// An instance's state.
#[derive(Debug, Deserialize)]
pub(super) struct StateName {
    pub(super) name: String,
}

/// Answer to `DescribeInstances`.
#[derive(Debug, Deserialize)]
pub(super) struct Reservations {
    #[serde(rename = "reservationSet", default)]
    reservations: Items<Reservation>,
    #[serde(rename = "nextToken", default)]
    next_token: Option<String>,
}

/// Answer to `TerminateInstances`.
#[derive(Debug, Deserialize)]
pub(super) struct Terminations {
    #[serde(rename = "instancesSet", default)]
    instances: Items<StateChange>,
}

#[derive(Debug, Deserialize)]
struct StateChange {
    #[serde(rename = "currentState")]
    current: StateName,
}

#[derive(Debug, Deserialize)]
struct Items<T> {
    #[serde(rename = "item", default = "Vec::new")]
    items: Vec<T>,
}

impl<T> Default for Items<T> {
    fn default() -> Self {
        Self { items: Vec::new() }
    }
}

/// Any error.
#[derive(Debug, Deserialize)]
struct Errors {
    #[serde(rename = "Errors")]
    errors: ErrorList,
}

#[derive(Debug, Deserialize)]
struct ErrorList {
    #[serde(rename = "Error")]
    error: ApiError,
}

pub(super) fn template_version(xml: &str) -> Result<Option<u64>, XmlError> {
    let answer: LaunchTemplateVersions = from_str(xml)?;
    Ok(answer.versions.items.first().map(|version| version.number))
}

/// The launched instance with its owner's account.
pub(super) fn launched(xml: &str) -> Result<Option<(String, Instance)>, XmlError> {
    let reservation: Reservation = from_str(xml)?;
    let owner = reservation.owner_id;
    Ok(reservation.instances.items.into_iter().next().map(|instance| (owner, instance)))
}

/// One page of instances, and the token of the next page.
pub(super) fn instances(xml: &str) -> Result<(Vec<Instance>, Option<String>), XmlError> {
    let page: Reservations = from_str(xml)?;
    let instances = page.reservations.items.into_iter().flat_map(|r| r.instances.items).collect();
    Ok((instances, page.next_token.filter(|token| !token.is_empty())))
}

/// The instances of one page, each with its owner's account.
pub(super) fn owned_instances(xml: &str) -> Result<Vec<(String, Instance)>, XmlError> {
    let page: Reservations = from_str(xml)?;
    let owned = |reservation: Reservation| {
        let owner = reservation.owner_id;
        reservation.instances.items.into_iter().map(move |instance| (owner.clone(), instance))
    };
    Ok(page.reservations.items.into_iter().flat_map(owned).collect())
}

/// The state after `TerminateInstances` of one instance.
pub(super) fn terminated(xml: &str) -> Result<Option<String>, XmlError> {
    let answer: Terminations = from_str(xml)?;
    Ok(answer.instances.items.into_iter().next().map(|change| change.current.name))
}

pub(super) fn error(xml: &str) -> Result<ApiError, XmlError> {
    let answer: Errors = from_str(xml)?;
    Ok(answer.errors.error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launch_names_its_instance_owner_and_zone() {
        let xml = r#"<?xml version="1.0" encoding="UTF-8"?>
            <RunInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
            <requestId>r</requestId><reservationId>r-1</reservationId><ownerId>123456789012</ownerId>
            <groupSet/><instancesSet><item><instanceId>i-0abc</instanceId><imageId>ami-1</imageId>
            <instanceState><code>0</code><name>pending</name></instanceState>
            <placement><availabilityZone>eu-west-1b</availabilityZone><tenancy>default</tenancy>
            </placement></item></instancesSet></RunInstancesResponse>"#;
        let (owner, instance) = launched(xml).unwrap().unwrap();
        assert_eq!((owner.as_str(), instance.id.as_str()), ("123456789012", "i-0abc"));
        assert_eq!(instance.placement.zone, "eu-west-1b");
        assert_eq!(instance.state.name, "pending");
    }

    #[test]
    fn a_page_of_instances_may_be_empty_or_have_a_successor() {
        let empty = "<DescribeInstancesResponse><requestId>r</requestId><reservationSet/>\
                     </DescribeInstancesResponse>";
        assert!(matches!(instances(empty).unwrap(), (list, None) if list.is_empty()));
        let page = "<DescribeInstancesResponse><reservationSet><item><ownerId>1</ownerId>\
            <instancesSet><item><instanceId>i-1</instanceId><instanceState><code>16</code>\
            <name>running</name></instanceState><clientToken>c</clientToken><tagSet><item>\
            <key>a</key><value>1</value></item><item><key>b</key><value/></item></tagSet>\
            </item></instancesSet></item></reservationSet>\
            <nextToken>t</nextToken></DescribeInstancesResponse>";
        let (list, next) = instances(page).unwrap();
        assert_eq!(list[0].state.name, "running");
        assert_eq!(list[0].client_token, "c");
        let tags = [("a", "1"), ("b", "")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(list[0].tags(), tags.into());
        assert_eq!(next.as_deref(), Some("t"));
    }

    #[test]
    fn an_error_is_read_with_its_code_and_message() {
        let xml = "<Response><Errors><Error><Code>InsufficientInstanceCapacity</Code>\
                   <Message>none left</Message></Error></Errors><RequestID>r</RequestID></Response>";
        let read = error(xml).unwrap();
        assert_eq!(read.code, "InsufficientInstanceCapacity");
        assert_eq!(read.message, "none left");
    }

    #[test]
    fn what_is_no_xml_is_an_error() {
        assert!(launched("<html>").is_err());
        assert!(error("oops").is_err());
    }
}
