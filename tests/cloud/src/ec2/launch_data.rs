//! What is to be launched: the data of a launch template, and of the request that overrides it.

use super::{Query, Refusal, xml::Xml};
use std::collections::BTreeMap;

/// What a launch template or a launch request says about an instance.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct LaunchData {
    pub(super) image_id: Option<String>,
    pub(super) instance_type: Option<String>,
    /// As it travels: in base64.
    pub(super) user_data: Option<String>,
    pub(super) enclaves: Option<bool>,
    pub(super) http_tokens: Option<String>,
    pub(super) hop_limit: Option<u32>,
    pub(super) shutdown_behavior: Option<String>,
    pub(super) profile: Option<Profile>,
    pub(super) zone: Option<String>,
    /// The subnet at the level of the instance; only a request can name it.
    pub(super) subnet_id: Option<String>,
    pub(super) security_groups: Vec<String>,
    /// The first network interface.
    pub(super) interface: Option<Interface>,
    /// Tags of the instance; those of volumes and other things are accepted and forgotten.
    pub(super) tags: BTreeMap<String, String>,
}

/// A network interface that is to be made.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Interface {
    pub(super) subnet_id: Option<String>,
}

/// An instance profile, named in either of two ways.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Profile {
    Arn(String),
    Name(String),
}

impl LaunchData {
    /// Reads the parameters, whose names are the same in a template and in a request.
    pub(super) fn parse(query: &Query) -> Result<Self, Refusal> {
        let metadata = query.structure("MetadataOptions");
        let text = |name: &str| query.text(name).map(str::to_owned);
        Ok(Self {
            image_id: text("ImageId"),
            instance_type: text("InstanceType"),
            user_data: text("UserData"),
            enclaves: query.parsed("EnclaveOptions.Enabled")?,
            http_tokens: one_of(&metadata, "HttpTokens", &["optional", "required"])?,
            hop_limit: metadata.parsed("HttpPutResponseHopLimit")?,
            shutdown_behavior: one_of(
                query,
                "InstanceInitiatedShutdownBehavior",
                &["stop", "terminate"],
            )?,
            profile: profile(&query.structure("IamInstanceProfile")),
            zone: text("Placement.AvailabilityZone"),
            subnet_id: text("SubnetId"),
            security_groups: query
                .texts("SecurityGroupId")
                .into_iter()
                .map(str::to_owned)
                .collect(),
            interface: query
                .structures("NetworkInterface")
                .first()
                .map(|it| Interface { subnet_id: it.text("SubnetId").map(str::to_owned) }),
            tags: instance_tags(query)?,
        })
    }

    /// This data where it says something, and `template` for the rest.
    pub(super) fn or(self, template: Self) -> Self {
        Self {
            image_id: self.image_id.or(template.image_id),
            instance_type: self.instance_type.or(template.instance_type),
            user_data: self.user_data.or(template.user_data),
            enclaves: self.enclaves.or(template.enclaves),
            http_tokens: self.http_tokens.or(template.http_tokens),
            hop_limit: self.hop_limit.or(template.hop_limit),
            shutdown_behavior: self.shutdown_behavior.or(template.shutdown_behavior),
            profile: self.profile.or(template.profile),
            zone: self.zone.or(template.zone),
            subnet_id: self.subnet_id.or(template.subnet_id),
            security_groups: match self.security_groups {
                none if none.is_empty() => template.security_groups,
                groups => groups,
            },
            interface: self.interface.or(template.interface),
            tags: template.tags.into_iter().chain(self.tags).collect(),
        }
    }

    /// The content of a template version's `launchTemplateData`.
    pub(super) fn to_xml(&self) -> Xml {
        let options = |xml: Xml| match self.enclaves {
            Some(enabled) => xml.child(Xml::element("enclaveOptions").text("enabled", enabled)),
            None => xml,
        };
        let xml = Xml::element("launchTemplateData")
            .some("imageId", self.image_id.as_ref())
            .some("instanceType", self.instance_type.as_ref())
            .some("userData", self.user_data.as_ref())
            .some("instanceInitiatedShutdownBehavior", self.shutdown_behavior.as_ref());
        options(xml)
            .child(
                Xml::element("metadataOptions")
                    .some("httpTokens", self.http_tokens.as_ref())
                    .some("httpPutResponseHopLimit", self.hop_limit),
            )
            .set("tagSpecificationSet", self.tag_specification())
    }

    fn tag_specification(&self) -> Option<Xml> {
        let specification = Xml::element("item").text("resourceType", "instance");
        (!self.tags.is_empty()).then(|| specification.set("tagSet", tag_items(&self.tags)))
    }
}

/// The items of a `tagSet`.
pub(super) fn tag_items(tags: &BTreeMap<String, String>) -> impl Iterator<Item = Xml> {
    tags.iter().map(|(key, value)| Xml::element("item").text("key", key).text("value", value))
}

fn one_of(query: &Query, name: &str, allowed: &[&str]) -> Result<Option<String>, Refusal> {
    match query.text(name) {
        Some(text) if !allowed.contains(&text) => Err(Refusal::invalid(name, text)),
        text => Ok(text.map(str::to_owned)),
    }
}

fn profile(query: &Query) -> Option<Profile> {
    let arn = query.text("Arn").map(|arn| Profile::Arn(arn.to_owned()));
    arn.or_else(|| query.text("Name").map(|name| Profile::Name(name.to_owned())))
}

/// EC2's limits: 128 characters in a key, 256 in a value, 50 tags.
fn instance_tags(query: &Query) -> Result<BTreeMap<String, String>, Refusal> {
    let mut tags = BTreeMap::new();
    for specification in query.structures("TagSpecification") {
        if specification.required("ResourceType")? != "instance" {
            continue;
        }
        for tag in specification.structures("Tag") {
            let (key, value) = (tag.required("Key")?, tag.text("Value").unwrap_or_default());
            if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
                return Err(Refusal::invalid("Tag", key));
            }
            tags.insert(key.to_owned(), value.to_owned());
        }
    }
    if tags.len() > 50 {
        return Err(Refusal::new("TagLimitExceeded", "More than 50 tags specified"));
    }
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(form: &[u8]) -> LaunchData {
        LaunchData::parse(&Query::parse(form)).unwrap()
    }

    #[test]
    fn a_request_overrides_its_template_and_adds_its_tags() {
        let tags = "TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=";
        let template = format!("ImageId=ami-1&InstanceType=m5.xlarge&{tags}a&{}", "x=y");
        let request = format!("InstanceType=m5.2xlarge&{tags}b");
        let merged = data(request.as_bytes()).or(data(template.as_bytes()));
        assert_eq!(merged.image_id.as_deref(), Some("ami-1"));
        assert_eq!(merged.instance_type.as_deref(), Some("m5.2xlarge"));
        assert_eq!(merged.tags.into_keys().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn a_shutdown_behaviour_that_ec2_does_not_know_is_refused() {
        let query = Query::parse(b"InstanceInitiatedShutdownBehavior=sleep");
        assert_eq!(LaunchData::parse(&query).unwrap_err().code, "InvalidParameterValue");
    }
}
