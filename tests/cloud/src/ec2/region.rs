//! The state of the simulated region: templates, instances, tokens. No I/O and no clock.

use super::{
    LaunchData, Query, Refusal,
    filter::Filter,
    instance::{Instance, InstanceState, Launch},
    launch_data::Profile,
    subnets::{Spot, Subnets},
    template::{Template, VersionChoice},
};
use bailey_model::{
    UnixMillis,
    instance_type::{self, InstanceType, Need, Resources, Unfit},
};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Where the simulation pretends to be.
#[derive(Clone, Debug)]
pub struct Place {
    /// The region, `eu-west-1`.
    pub region: String,
    /// The account, 12 digits.
    pub account: String,
}

/// Everything that EC2 remembers.
#[derive(Debug)]
pub(super) struct Region {
    place: Place,
    /// Makes ids differ from one simulation to the next.
    seed: u64,
    ids_made: u64,
    pub(super) subnets: Subnets,
    pub(super) templates: BTreeMap<String, Template>,
    pub(super) instances: BTreeMap<String, Instance>,
    /// Which request a token stands for, and what it launched.
    tokens: BTreeMap<String, (Query, String)>,
    /// How many instances were ever launched.
    pub(super) launches: u64,
    /// How many changes of state there were, launches included.
    changes: u64,
}

/// What a launch request came to.
#[derive(Debug)]
pub(super) enum Ran {
    /// A new instance with this id.
    New(String),
    /// The token was used before, by the same request, for this instance.
    Same(String),
}

impl Region {
    /// A region with these subnets besides the default ones: the zone of each by its id.
    pub(super) fn new(place: Place, subnets: BTreeMap<String, String>, seed: u64) -> Self {
        Self {
            subnets: Subnets::new(&place.region, subnets),
            place,
            seed,
            ids_made: 0,
            templates: BTreeMap::new(),
            instances: BTreeMap::new(),
            tokens: BTreeMap::new(),
            launches: 0,
            changes: 0,
        }
    }

    /// An instance enters a state, if that leads on from the one that it is in.
    pub(super) fn enter(&mut self, id: &str, state: InstanceState, now: UnixMillis) {
        if let Some(instance) = self.instances.get_mut(id) {
            self.changes += 1;
            instance.enter(state, now, self.changes);
        }
    }

    /// An id as EC2 makes them: a prefix and 17 hex digits.
    pub(super) fn new_id(&mut self, prefix: &str) -> String {
        self.ids_made += 1;
        let digest = Sha256::digest(format!("{} {}", self.seed, self.ids_made));
        let digits: String = hex::encode(digest).chars().take(17).collect();
        format!("{prefix}-{digits}")
    }

    /// Launches an instance, or finds the one that the request's token has launched.
    pub(super) fn run(&mut self, query: &Query, now: UnixMillis) -> Result<Ran, Refusal> {
        let token = query.text("ClientToken").map(str::to_owned);
        // What may differ between two sendings of one request.
        let request = query.without(&["Action", "Version", "ClientToken"]);
        if let Some(token) = &token {
            if token.len() > 64 || !token.is_ascii() {
                return Err(Refusal::invalid("clientToken", token));
            }
            if let Some((before, id)) = self.tokens.get(token) {
                return if *before == request { Ok(Ran::Same(id.clone())) } else { mismatch() };
            }
        }
        let launch = self.launch(query, token.clone())?;
        let id = launch.id.clone();
        self.changes += 1;
        self.instances.insert(id.clone(), Instance::new(launch, now, self.changes));
        self.launches += 1;
        if let Some(token) = token {
            self.tokens.insert(token, (request, id.clone()));
        }
        Ok(Ran::New(id))
    }

    /// The instances that a `DescribeInstances` asks for, with the state that it is shown: that of
    /// `seen_at`, because what EC2 shows lags behind what it knows.
    pub(super) fn describe(
        &self,
        query: &Query,
        seen_at: UnixMillis,
    ) -> Result<Vec<(&Instance, InstanceState)>, Refusal> {
        let ids = query.texts("InstanceId");
        for id in &ids {
            let instance = self.instance(id)?;
            instance.state_at(seen_at).ok_or_else(|| not_found(id))?;
        }
        let filters = Filter::parse_all(query)?;
        Ok(self
            .instances
            .values()
            .filter(|instance| ids.is_empty() || ids.contains(&instance.launch.id.as_str()))
            .filter_map(|instance| Some((instance, instance.state_at(seen_at)?)))
            .filter(|(instance, state)| filters.iter().all(|f| f.passes(instance, *state)))
            .collect())
    }

    /// The instance with this id.
    pub(super) fn instance(&self, id: &str) -> Result<&Instance, Refusal> {
        let digits = id.strip_prefix("i-").unwrap_or_default();
        if digits.is_empty() || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
            let message = format!("Invalid id: \"{id}\"");
            return Err(Refusal::new("InvalidInstanceID.Malformed", message));
        }
        self.instances.get(id).ok_or_else(|| not_found(id))
    }

    /// The template that the parameters name, by name or by id.
    pub(super) fn template(&mut self, query: &Query) -> Result<&mut Template, Refusal> {
        let (name, id) = (query.text("LaunchTemplateName"), query.text("LaunchTemplateId"));
        let (code, what) = match (name, id) {
            (Some(name), _) => ("InvalidLaunchTemplateName.NotFoundException", name),
            (None, Some(id)) => ("InvalidLaunchTemplateId.NotFound", id),
            (None, None) => return Err(Refusal::missing("LaunchTemplateName")),
        };
        let message = format!("The specified launch template, {what}, does not exist.");
        self.templates
            .values_mut()
            .find(|template| name == Some(&template.name) || id == Some(&template.id))
            .ok_or_else(|| Refusal::new(code, message))
    }

    fn launch(&mut self, query: &Query, token: Option<String>) -> Result<Launch, Refusal> {
        let counts = (query.required("MinCount")?, query.required("MaxCount")?);
        if counts != ("1", "1") {
            let message = "This simulation launches one instance with each request";
            return Err(Refusal::new("InvalidParameterValue", message));
        }
        let data = self.merged_data(query)?;
        let image = data.image_id.as_deref().ok_or_else(|| Refusal::missing("ImageId"))?;
        if !image.starts_with("ami-") {
            let message = format!("Invalid id: \"{image}\" (expecting \"ami-...\")");
            return Err(Refusal::new("InvalidAMIID.Malformed", message));
        }
        let instance_type = data.instance_type.clone().unwrap_or_else(|| "m1.small".to_owned());
        let resources = resources(&instance_type, data.enclaves.unwrap_or_default())?;
        let Spot { zone, subnet_id } = self.subnets.spot(&data)?;
        let profile_arn = data.profile.as_ref().map(|profile| self.profile_arn(profile));
        let host = self.launches % 250 + 4;
        Ok(Launch {
            id: self.new_id("i"),
            reservation_id: self.new_id("r"),
            owner_id: self.place.account.clone(),
            token,
            data,
            instance_type,
            resources,
            zone,
            subnet_id,
            private_ip: format!("10.0.{}.{host}", self.launches / 250 % 250),
            profile_arn,
        })
    }

    /// The request's data over that of the template that it names.
    fn merged_data(&mut self, query: &Query) -> Result<LaunchData, Refusal> {
        let data = LaunchData::parse(query)?;
        let parameters = query.structure("LaunchTemplate");
        if parameters == Query::default() {
            return Ok(data);
        }
        let choice =
            parameters.text("Version").map_or(Ok(VersionChoice::Default), VersionChoice::parse)?;
        Ok(data.or(self.template(&parameters)?.data(choice)?))
    }

    fn profile_arn(&self, profile: &Profile) -> String {
        match profile {
            Profile::Arn(arn) => arn.clone(),
            Profile::Name(name) => {
                format!("arn:aws:iam::{}:instance-profile/{name}", self.place.account)
            }
        }
    }
}

fn mismatch() -> Result<Ran, Refusal> {
    Err(Refusal::new(
        "IdempotentParameterMismatch",
        "Arguments on this idempotent request are inconsistent with arguments used in previous \
         request(s).",
    ))
}

fn not_found(id: &str) -> Refusal {
    let message = format!("The instance ID '{id}' does not exist");
    Refusal::new("InvalidInstanceID.NotFound", message)
}

/// What a type offers, if it exists and can do what is asked of it.
fn resources(name: &str, enclaves: bool) -> Result<Resources, Refusal> {
    let unknown = || {
        let message = format!("Invalid value '{name}' for InstanceType.");
        Refusal::new("InvalidParameterValue", message)
    };
    let instance_type: InstanceType = name.parse().map_err(|_| unknown())?;
    if let Some(resources) = instance_type::resources(&instance_type) {
        return Ok(resources);
    }
    let need = Need { cpu_count: 0, memory_mib: 0 };
    let unfit = instance_type::fit_strictly(&instance_type, need);
    if matches!(unfit, Err(Unfit::Unknown { .. })) && !is_known_without_enclaves(name) {
        return Err(unknown());
    }
    if enclaves {
        let message = format!("The instance type {name} does not support AWS Nitro Enclaves.");
        return Err(Refusal::new("UnsupportedOperation", message));
    }
    // Nobody asks such a host for its size: no enclave can run there.
    Ok(Resources { vcpus: 2, memory_mib: 8_192, threads_per_core: 2 })
}

/// Families that exist and never host enclaves.
fn is_known_without_enclaves(name: &str) -> bool {
    ["t2.", "t3.", "t3a.", "t4g.", "m7i-flex.", "c7i-flex."].iter().any(|f| name.starts_with(f))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_000);
    const RUN: &str = "ImageId=ami-1&InstanceType=m5.xlarge&MinCount=1&MaxCount=1\
                       &EnclaveOptions.Enabled=true";

    fn region() -> Region {
        let place = Place { region: "eu-west-1".to_owned(), account: "123456789012".to_owned() };
        Region::new(place, BTreeMap::new(), 7)
    }

    fn run(region: &mut Region, form: &str) -> Result<Ran, Refusal> {
        region.run(&Query::parse(form.as_bytes()), NOW)
    }

    fn refused(form: &str) -> String {
        run(&mut region(), form).unwrap_err().code
    }

    #[test]
    fn the_same_token_with_the_same_request_is_the_same_instance_even_when_it_is_gone() {
        let mut region = region();
        let form = format!("{RUN}&ClientToken=one");
        let Ok(Ran::New(first)) = run(&mut region, &form) else { panic!("not launched") };
        region.enter(&first, InstanceState::Terminated, NOW);
        let Ok(Ran::Same(second)) = run(&mut region, &form) else { panic!("launched again") };
        assert_eq!(first, second);
        assert_eq!(region.launches, 1);
    }

    #[test]
    fn changes_within_one_millisecond_have_an_order() {
        let mut region = region();
        let Ok(Ran::New(first)) = run(&mut region, RUN) else { panic!("not launched") };
        region.enter(&first, InstanceState::ShuttingDown, NOW);
        let Ok(Ran::New(second)) = run(&mut region, RUN) else { panic!("not launched") };
        let orders = |id: &str| -> Vec<u64> {
            region.instances[id].history().iter().map(|change| change.order).collect()
        };
        assert_eq!((orders(&first), orders(&second)), (vec![1, 2], vec![3]));
    }

    #[test]
    fn the_same_token_with_another_request_is_a_mismatch() {
        let mut region = region();
        run(&mut region, &format!("{RUN}&ClientToken=one")).unwrap();
        let other = format!("{RUN}&ClientToken=one&Placement.AvailabilityZone=eu-west-1b");
        let refusal = run(&mut region, &other).unwrap_err();
        assert_eq!(refusal.code, "IdempotentParameterMismatch");
        assert_eq!(region.launches, 1);
    }

    #[test]
    fn a_refused_request_leaves_its_token_free() {
        let mut region = region();
        let refused = RUN.replace("m5.xlarge", "m5.large") + "&ClientToken=one";
        run(&mut region, &refused).unwrap_err();
        assert!(matches!(run(&mut region, &format!("{RUN}&ClientToken=one")), Ok(Ran::New(_))));
    }

    #[test]
    fn requests_that_ec2_refuses_are_refused_with_its_codes() {
        assert_eq!(refused(&RUN.replace("m5.xlarge", "m5.large")), "UnsupportedOperation");
        assert_eq!(refused(&RUN.replace("m5.xlarge", "t3.large")), "UnsupportedOperation");
        assert_eq!(refused(&RUN.replace("m5.xlarge", "zz9.plural")), "InvalidParameterValue");
        assert_eq!(refused(&RUN.replace("&MinCount=1", "")), "MissingParameter");
        assert_eq!(refused(&RUN.replace("ImageId=ami-1&", "")), "MissingParameter");
        assert_eq!(
            refused(&format!("{RUN}&EnclaveOptions.Enabled=maybe")),
            "InvalidParameterValue"
        );
        assert_eq!(
            refused(&format!("{RUN}&Placement.AvailabilityZone=us-east-1a")),
            "InvalidParameterValue"
        );
        assert_eq!(
            refused(&format!("{RUN}&ClientToken={}", "x".repeat(65))),
            "InvalidParameterValue"
        );
        assert_eq!(
            refused(&format!("{RUN}&LaunchTemplate.LaunchTemplateName=none")),
            "InvalidLaunchTemplateName.NotFoundException"
        );
    }

    #[test]
    fn a_type_without_enclaves_can_be_launched_without_them() {
        let form = "ImageId=ami-1&InstanceType=m5.large&MinCount=1&MaxCount=1";
        assert!(run(&mut region(), form).is_ok());
    }

    #[test]
    fn what_is_seen_lags_behind() {
        let mut region = region();
        run(&mut region, RUN).unwrap();
        let all = Query::default();
        assert_eq!(region.describe(&all, UnixMillis(999)).unwrap().len(), 0);
        assert_eq!(region.describe(&all, NOW).unwrap().len(), 1);
    }

    #[test]
    fn ids_that_are_malformed_and_ids_of_nothing_are_told_apart() {
        let region = region();
        assert_eq!(region.instance("i-xyz").unwrap_err().code, "InvalidInstanceID.Malformed");
        assert_eq!(region.instance("i-0abc").unwrap_err().code, "InvalidInstanceID.NotFound");
    }
}
