//! The calls that the coordinator makes to EC2.

mod xml;

use crate::query::{self, CallError, Service, XmlError};
use aws_config::SdkConfig;
use bailey_lifecycle::{
    InstanceState,
    launch::{LaunchRefused, LaunchRequest, Launched, TAG_DEPLOYMENT},
    orphan::Claimed,
};
use bailey_runtime::{calls::Calls, signed::ClientError};
use std::{collections::HashMap, ops::Deref};

/// EC2, at the version whose calls and answers are spoken here.
static EC2: Service = Service {
    name: "EC2",
    id: "ec2",
    version: "2016-11-15",
    endpoint_variable: "AWS_ENDPOINT_URL_EC2",
    error: xml::error,
};

/// A client of EC2 in one region.
#[derive(Debug)]
pub struct Client(query::Client);

impl Deref for Client {
    type Target = query::Client;

    fn deref(&self) -> &query::Client {
        &self.0
    }
}

/// The largest page that `DescribeInstances` gives.
const PAGE: &str = "1000";
/// The most values that a filter may have.
const FILTER_VALUES: usize = 200;

/// Why an operation has no result.
#[derive(Debug, thiserror::Error)]
pub enum Ec2Error {
    /// The call failed.
    #[error("EC2 call failed")]
    Call(#[source] CallError),
    /// The answer lacks what was asked for.
    #[error("EC2's answer to {action} names no {missing}")]
    Incomplete {
        /// The action called.
        action: &'static str,
        /// What is missing.
        missing: &'static str,
    },
    /// The answer could not be understood.
    #[error("EC2's answer to {action} cannot be read")]
    Xml {
        /// The action called.
        action: &'static str,
        /// What is wrong with it.
        source: XmlError,
    },
}

/// What came of a launch whose answer is known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LaunchAnswer {
    /// EC2 named the instance.
    Launched(Launched),
    /// EC2 refused; nothing was launched.
    Refused(LaunchRefused),
}

/// What came of starting or stopping an instance.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Switched {
    /// It is done, or was so already.
    Done,
    /// Not from the state that the instance is in.
    NotNow,
    /// EC2 refuses it.
    Refused {
        /// EC2's error code.
        code: String,
        /// EC2's message.
        message: String,
    },
}

impl Client {
    /// A client with the region and credentials of `config`, whose calls are counted.
    pub fn new(config: &SdkConfig, calls: Calls) -> Result<Self, ClientError> {
        query::Client::new(&EC2, config, calls).map(Self)
    }

    /// The number of the launch template's default version.
    pub async fn default_template_version(&self, name: &str) -> Result<u64, Ec2Error> {
        const ACTION: &str = "DescribeLaunchTemplateVersions";
        let parameters =
            [pair("LaunchTemplateName", name), pair("LaunchTemplateVersion.1", "$Default")];
        let xml = self.call(ACTION, &parameters).await.map_err(Ec2Error::Call)?;
        xml::template_version(&xml)
            .map_err(|source| Ec2Error::Xml { action: ACTION, source })?
            .ok_or(Ec2Error::Incomplete { action: ACTION, missing: "version" })
    }

    /// Launches the one instance of an intent, or learns again which one it was.
    pub async fn launch(&self, request: &LaunchRequest) -> Result<LaunchAnswer, Ec2Error> {
        const ACTION: &str = "RunInstances";
        let xml = match self.call(ACTION, &run_parameters(request)).await {
            Ok(xml) => xml,
            Err(error) => {
                let refused = error.refusal().map(|refusal| LaunchRefused {
                    code: refusal.code.clone(),
                    message: refusal.message.clone(),
                });
                return refused.map(LaunchAnswer::Refused).ok_or(Ec2Error::Call(error));
            }
        };
        let (owner, instance) = xml::launched(&xml)
            .map_err(|source| Ec2Error::Xml { action: ACTION, source })?
            .ok_or(Ec2Error::Incomplete { action: ACTION, missing: "instance" })?;
        Ok(LaunchAnswer::Launched(self.named(&owner, instance)))
    }

    /// The instance that a token's launch brought about, when EC2 shows one already.
    pub async fn launched_by(&self, client_token: &str) -> Result<Option<Launched>, Ec2Error> {
        const ACTION: &str = "DescribeInstances";
        let parameters =
            [pair("Filter.1.Name", "client-token"), pair("Filter.1.Value.1", client_token)];
        let xml = self.call(ACTION, &parameters).await.map_err(Ec2Error::Call)?;
        let found = xml::owned_instances(&xml)
            .map_err(|source| Ec2Error::Xml { action: ACTION, source })?;
        Ok(found.into_iter().next().map(|(owner, instance)| self.named(&owner, instance)))
    }

    /// The state of one instance; none when EC2 does not know it.
    pub async fn instance(&self, instance_id: &str) -> Result<Option<InstanceState>, Ec2Error> {
        const ACTION: &str = "DescribeInstances";
        let xml = match self.call(ACTION, &[pair("InstanceId.1", instance_id)]).await {
            Ok(xml) => xml,
            Err(error) if is_unknown_instance(&error) => return Ok(None),
            Err(error) => return Err(Ec2Error::Call(error)),
        };
        let (instances, _) =
            xml::instances(&xml).map_err(|source| Ec2Error::Xml { action: ACTION, source })?;
        let instance = instances.first();
        Ok(instance.and_then(|instance| InstanceState::from_ec2(&instance.state.name)))
    }

    /// The states of these instances, terminated ones included; EC2 does not know the others.
    pub async fn states(
        &self,
        instance_ids: &[&str],
    ) -> Result<HashMap<String, InstanceState>, Ec2Error> {
        const ACTION: &str = "DescribeInstances";
        let mut states = HashMap::new();
        for some in instance_ids.chunks(FILTER_VALUES) {
            // By a filter: an unknown id is then no error.
            let mut parameters =
                vec![pair("Filter.1.Name", "instance-id"), pair("MaxResults", PAGE)];
            for (number, id) in (1..).zip(some) {
                parameters.push((format!("Filter.1.Value.{number}"), (*id).to_owned()));
            }
            let xml = self.call(ACTION, &parameters).await.map_err(Ec2Error::Call)?;
            let (page, _) =
                xml::instances(&xml).map_err(|source| Ec2Error::Xml { action: ACTION, source })?;
            states.extend(page.into_iter().filter_map(|instance| {
                Some((instance.id, InstanceState::from_ec2(&instance.state.name)?))
            }));
        }
        Ok(states)
    }

    /// One instance as a listing of this installation would show it; none when it is not of it.
    pub async fn listed(
        &self,
        instance_id: &str,
        deployment: &str,
    ) -> Result<Option<Listed>, Ec2Error> {
        const ACTION: &str = "DescribeInstances";
        // By filters: an unknown id is then no error.
        let parameters = [
            pair("Filter.1.Name", "instance-id"),
            pair("Filter.1.Value.1", instance_id),
            pair("Filter.2.Name", &format!("tag:{TAG_DEPLOYMENT}")),
            pair("Filter.2.Value.1", deployment),
        ];
        let xml = self.call(ACTION, &parameters).await.map_err(Ec2Error::Call)?;
        let (instances, _) =
            xml::instances(&xml).map_err(|source| Ec2Error::Xml { action: ACTION, source })?;
        Ok(instances.into_iter().next().and_then(Listed::read))
    }

    fn named(&self, owner: &str, instance: xml::Instance) -> Launched {
        Launched {
            instance_arn: instance_arn(self.region(), owner, &instance.id),
            instance_id: instance.id,
            availability_zone: instance.placement.zone,
        }
    }

    /// Terminates an instance; gives its state thereafter, none when EC2 does not know it.
    pub async fn terminate(&self, instance_id: &str) -> Result<Option<InstanceState>, Ec2Error> {
        const ACTION: &str = "TerminateInstances";
        let xml = match self.call(ACTION, &[pair("InstanceId.1", instance_id)]).await {
            Ok(xml) => xml,
            Err(error) if is_unknown_instance(&error) => return Ok(None),
            Err(error) => return Err(Ec2Error::Call(error)),
        };
        xml::terminated(&xml)
            .map_err(|source| Ec2Error::Xml { action: ACTION, source })?
            .as_deref()
            .and_then(InstanceState::from_ec2)
            .map(Some)
            .ok_or(Ec2Error::Incomplete { action: ACTION, missing: "state" })
    }

    /// Stops an instance.
    pub async fn stop(&self, instance_id: &str) -> Result<Switched, Ec2Error> {
        self.switch("StopInstances", instance_id).await
    }

    /// Starts an instance that was stopped.
    pub async fn start(&self, instance_id: &str) -> Result<Switched, Ec2Error> {
        self.switch("StartInstances", instance_id).await
    }

    async fn switch(&self, action: &'static str, instance_id: &str) -> Result<Switched, Ec2Error> {
        match self.call(action, &[pair("InstanceId.1", instance_id)]).await {
            Ok(_) => Ok(Switched::Done),
            Err(error) => match error.refusal() {
                Some(refusal) if refusal.code == "IncorrectInstanceState" => Ok(Switched::NotNow),
                Some(refusal) => Ok(Switched::Refused {
                    code: refusal.code.clone(),
                    message: refusal.message.clone(),
                }),
                None => Err(Ec2Error::Call(error)),
            },
        }
    }

    /// All instances of an installation that are not terminated: one call for a thousand of them.
    pub async fn instances(&self, deployment: &str) -> Result<Vec<Listed>, Ec2Error> {
        const ACTION: &str = "DescribeInstances";
        let mut listed = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let mut parameters = vec![
                pair("Filter.1.Name", &format!("tag:{TAG_DEPLOYMENT}")),
                pair("Filter.1.Value.1", deployment),
                pair("Filter.2.Name", "instance-state-name"),
                pair("MaxResults", PAGE),
            ];
            let present =
                InstanceState::ALL.iter().filter(|state| **state != InstanceState::Terminated);
            for (number, state) in (1..).zip(present) {
                parameters.push((format!("Filter.2.Value.{number}"), state.as_str().to_owned()));
            }
            parameters.extend(next.iter().map(|token| pair("NextToken", token)));
            let xml = self.call(ACTION, &parameters).await.map_err(Ec2Error::Call)?;
            let (page, token) =
                xml::instances(&xml).map_err(|source| Ec2Error::Xml { action: ACTION, source })?;
            listed.extend(page.into_iter().filter_map(Listed::read));
            match token {
                Some(token) => next = Some(token),
                None => return Ok(listed),
            }
        }
    }
}

/// An instance of this installation, as a listing shows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listed {
    /// The instance's id.
    pub instance_id: String,
    /// Its state.
    pub state: InstanceState,
    /// For whom it says that it was launched, when it says so.
    pub claimed: Option<Claimed>,
}

impl Listed {
    fn read(instance: xml::Instance) -> Option<Self> {
        Some(Self {
            state: InstanceState::from_ec2(&instance.state.name)?,
            claimed: Claimed::read(&instance.id, &instance.client_token, &instance.tags()),
            instance_id: instance.id,
        })
    }
}

fn is_unknown_instance(error: &CallError) -> bool {
    error.refusal().is_some_and(|refusal| refusal.code == "InvalidInstanceID.NotFound")
}

fn run_parameters(request: &LaunchRequest) -> Vec<(String, String)> {
    let mut parameters = vec![
        pair("LaunchTemplate.LaunchTemplateName", &request.template_name),
        pair("LaunchTemplate.Version", &request.template_version.to_string()),
        pair("InstanceType", request.instance_type.as_str()),
        pair("MinCount", "1"),
        pair("MaxCount", "1"),
        pair("ClientToken", &request.client_token),
        pair("EnclaveOptions.Enabled", "true"),
        pair("MetadataOptions.HttpTokens", "required"),
        pair("MetadataOptions.HttpPutResponseHopLimit", "1"),
        pair("InstanceInitiatedShutdownBehavior", "terminate"),
        pair("TagSpecification.1.ResourceType", "instance"),
    ];
    if let Some(zone) = &request.availability_zone {
        parameters.push(pair("Placement.AvailabilityZone", zone));
    }
    // At the level of the instance, for a template that names no network interface: EC2 refuses both together
    // (`RunInstances`, "If you specify a network interface, you must specify any subnets as part of it").
    if let Some(subnet) = &request.subnet_id {
        parameters.push(pair("SubnetId", subnet));
    }
    for (number, (key, value)) in (1..).zip(&request.tags) {
        parameters.push((format!("TagSpecification.1.Tag.{number}.Key"), key.clone()));
        parameters.push((format!("TagSpecification.1.Tag.{number}.Value"), value.clone()));
    }
    parameters
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// An instance's ARN; the region tells the partition.
fn instance_arn(region: &str, owner: &str, instance_id: &str) -> String {
    let partition = match region {
        region if region.starts_with("cn-") => "aws-cn",
        region if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    };
    format!("arn:{partition}:ec2:{region}:{owner}:instance/{instance_id}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_request_is_sent_the_same_way_each_time() {
        let request = LaunchRequest {
            client_token: "t".repeat(64),
            template_name: "parents".to_owned(),
            template_version: 3,
            instance_type: "m5.xlarge".parse().unwrap(),
            availability_zone: Some("eu-west-1a".to_owned()),
            subnet_id: Some("subnet-0aaaaaaaaaaaaaaaa".to_owned()),
            tags: BTreeMap::from([
                ("b".to_owned(), "2".to_owned()),
                ("a".to_owned(), "1".to_owned()),
            ]),
        };
        let parameters = run_parameters(&request);
        assert_eq!(parameters, run_parameters(&request.clone()));
        assert!(parameters.contains(&pair("EnclaveOptions.Enabled", "true")));
        assert!(parameters.contains(&pair("LaunchTemplate.Version", "3")));
        assert!(parameters.contains(&pair("TagSpecification.1.Tag.1.Key", "a")));
        assert!(parameters.contains(&pair("SubnetId", "subnet-0aaaaaaaaaaaaaaaa")));
        let earlier = run_parameters(&LaunchRequest { subnet_id: None, ..request });
        assert_eq!(earlier.len() + 1, parameters.len(), "an intent without a subnet sends none");
    }

    #[test]
    fn an_arn_bears_its_partition() {
        assert_eq!(
            instance_arn("eu-west-1", "123456789012", "i-1"),
            "arn:aws:ec2:eu-west-1:123456789012:instance/i-1"
        );
        assert!(instance_arn("cn-north-1", "1", "i-1").starts_with("arn:aws-cn:"));
        assert!(instance_arn("us-gov-west-1", "1", "i-1").starts_with("arn:aws-us-gov:"));
    }
}
