//! The actions: from a request's parameters to the answer's XML.

use super::{
    LaunchData, Query, Refusal,
    instance::{Instance, InstanceState},
    region::Ran,
    simulator::{Inner, Simulator, Wanted},
    template::{Template, VersionChoice},
    xml::{Xml, document},
};
use bailey_runtime::now;
use std::sync::Arc;

/// Carries out one call and returns the body of the answer.
pub(super) fn answer(
    simulator: &Arc<Simulator>,
    query: &Query,
    request_id: &str,
) -> Result<String, Refusal> {
    let action = query.required("Action")?;
    let version = query.required("Version")?;
    if version != "2016-11-15" {
        let message =
            format!("The requested version ({version}) of service AmazonEC2 does not exist");
        return Err(Refusal::new("NoSuchVersion", message));
    }
    let mut inner = simulator.lock();
    let content = match action {
        "CreateLaunchTemplate" => create_template(&mut inner, query)?,
        "CreateLaunchTemplateVersion" => create_version(&mut inner, query)?,
        "DescribeInstances" => describe_instances(&inner, query)?,
        "DescribeLaunchTemplateVersions" => {
            let versions = inner.region.template(query)?.describe(query)?;
            Xml::fragment().set("launchTemplateVersionSet", versions)
        }
        "ModifyLaunchTemplate" => {
            let choice = VersionChoice::parse(query.required("SetDefaultVersion")?)?;
            let template = inner.region.template(query)?;
            template.set_default(choice)?;
            template.to_xml()
        }
        "RunInstances" => run_instances(simulator, &mut inner, query)?,
        "StartInstances" => change(&mut inner, query, Change::Start)?,
        "StopInstances" => change(&mut inner, query, Change::Stop)?,
        "TerminateInstances" => change(&mut inner, query, Change::Terminate)?,
        unknown => {
            let message = format!("The action {unknown} is not valid for this web service.");
            return Err(Refusal::new("InvalidAction", message));
        }
    };
    Ok(document(&Xml::answer(action, request_id).child(content)))
}

fn create_template(inner: &mut Inner, query: &Query) -> Result<Xml, Refusal> {
    let name = query.required("LaunchTemplateName")?;
    if inner.region.templates.contains_key(name) {
        return Err(Refusal::new(
            "InvalidLaunchTemplateName.AlreadyExistsException",
            "Launch template name already in use.",
        ));
    }
    let data = LaunchData::parse(&query.structure("LaunchTemplateData"))?;
    let template = Template::new(inner.region.new_id("lt"), name.to_owned(), data, now());
    let content = template.to_xml();
    inner.region.templates.insert(name.to_owned(), template);
    Ok(content)
}

fn create_version(inner: &mut Inner, query: &Query) -> Result<Xml, Refusal> {
    let template = inner.region.template(query)?;
    let data = LaunchData::parse(&query.structure("LaunchTemplateData"))?;
    let data = match query.text("SourceVersion") {
        Some(source) => data.or(template.data(VersionChoice::parse(source)?)?),
        None => data,
    };
    let number = template.add(data, now());
    template.version_xml(number)
}

fn run_instances(
    simulator: &Arc<Simulator>,
    inner: &mut Inner,
    query: &Query,
) -> Result<Xml, Refusal> {
    let id = match inner.region.run(query, now())? {
        Ran::New(id) => {
            simulator.begin(inner, &id);
            id
        }
        Ran::Same(id) => id,
    };
    let instance = inner.region.instance(&id)?;
    Ok(reservation(instance, instance.state()))
}

/// One reservation's fields; every reservation here holds one instance.
fn reservation(instance: &Instance, state: InstanceState) -> Xml {
    Xml::fragment()
        .text("reservationId", &instance.launch.reservation_id)
        .text("ownerId", &instance.launch.owner_id)
        .set("groupSet", [])
        .set("instancesSet", [instance.to_xml(state)])
}

/// Pages are numbers of reservations to skip: what is launched meanwhile comes in any order.
fn describe_instances(inner: &Inner, query: &Query) -> Result<Xml, Refusal> {
    let seen = inner.region.describe(query, inner.seen_at())?;
    let skip: usize = query.parsed("NextToken")?.unwrap_or_default();
    let page: Option<usize> = query.parsed("MaxResults")?;
    if page.is_some_and(|page| !(5..=1_000).contains(&page)) {
        let value = query.text("MaxResults").unwrap_or_default();
        return Err(Refusal::invalid("maxResults", value));
    }
    let total = seen.len();
    let end = page.map_or(total, |page| skip.saturating_add(page));
    let items = seen.into_iter().take(end).skip(skip);
    let items = items.map(|(instance, state)| reservation(instance, state));
    let set = Xml::fragment().set("reservationSet", items);
    Ok(set.some("nextToken", (end < total).then_some(end)))
}

/// What is to become of instances.
#[derive(Clone, Copy, Debug)]
enum Change {
    Start,
    Stop,
    Terminate,
}

impl Change {
    /// The state that an instance enters at once, and what is wanted of it; an error when EC2
    /// refuses.
    fn apply(self, instance: &Instance) -> Result<(InstanceState, Wanted), Refusal> {
        use InstanceState as State;
        let state = instance.state();
        match (self, state) {
            (Self::Terminate, State::Terminated) => Ok((state, Wanted::Terminate)),
            (Self::Terminate, _) => Ok((State::ShuttingDown, Wanted::Terminate)),
            (Self::Stop, State::Pending | State::Running) => Ok((State::Stopping, Wanted::Stop)),
            (Self::Stop, State::Stopping | State::Stopped) => Ok((state, Wanted::Stop)),
            (Self::Start, State::Stopped) => Ok((State::Pending, Wanted::Run)),
            (Self::Start, State::Pending | State::Running) => Ok((state, Wanted::Run)),
            _ => Err(Refusal::new(
                "IncorrectInstanceState",
                format!(
                    "The instance '{}' is not in a state from which it can be {}.",
                    instance.launch.id,
                    if matches!(self, Self::Start) { "started" } else { "stopped" }
                ),
            )),
        }
    }
}

/// All or nothing: one refused instance leaves the others as they are.
fn change(inner: &mut Inner, query: &Query, change: Change) -> Result<Xml, Refusal> {
    let ids = query.texts("InstanceId");
    if ids.is_empty() {
        return Err(Refusal::missing("InstanceId"));
    }
    let mut changes = Vec::new();
    for id in ids {
        let instance = inner.region.instance(id)?;
        let (next, wanted) = change.apply(instance)?;
        changes.push((id, instance.state(), next, wanted));
    }
    let mut items = Vec::new();
    for (id, previous, next, wanted) in changes {
        let reason = match change {
            Change::Terminate => Some((
                "Client.UserInitiatedShutdown",
                "Client.UserInitiatedShutdown: User initiated shutdown",
            )),
            Change::Start | Change::Stop => None,
        };
        inner.enter(id, next, reason);
        inner.want(id, wanted);
        items.push(
            Xml::element("item")
                .text("instanceId", id)
                .child(next.to_xml("currentState"))
                .child(previous.to_xml("previousState")),
        );
    }
    Ok(Xml::fragment().set("instancesSet", items))
}
