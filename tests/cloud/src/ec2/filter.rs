//! The filters of `DescribeInstances`.

use super::{Query, Refusal, instance::Instance, instance::InstanceState};

/// A filter: an instance passes when its property has one of the values.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Filter {
    property: Property,
    values: Vec<String>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Property {
    AvailabilityZone,
    ClientToken,
    InstanceId,
    InstanceStateName,
    InstanceType,
    Tag(String),
    TagKey,
}

impl Filter {
    /// Reads `Filter.N.Name` and `Filter.N.Value.M`.
    pub(super) fn parse_all(query: &Query) -> Result<Vec<Self>, Refusal> {
        query.structures("Filter").iter().map(Self::parse).collect()
    }

    fn parse(query: &Query) -> Result<Self, Refusal> {
        let name = query.required("Name")?;
        let unknown =
            || Refusal::new("InvalidParameterValue", format!("The filter '{name}' is invalid"));
        let property = match name {
            "availability-zone" => Property::AvailabilityZone,
            "client-token" => Property::ClientToken,
            "instance-id" => Property::InstanceId,
            "instance-state-name" => Property::InstanceStateName,
            "instance-type" => Property::InstanceType,
            "tag-key" => Property::TagKey,
            _ => Property::Tag(name.strip_prefix("tag:").ok_or_else(unknown)?.to_owned()),
        };
        let values: Vec<_> = query.texts("Value").into_iter().map(str::to_owned).collect();
        if values.is_empty() {
            return Err(Refusal::new("InvalidParameterValue", "The filter 'null' is invalid"));
        }
        Ok(Self { property, values })
    }

    /// Whether the instance passes, seen in the given state.
    pub(super) fn passes(&self, instance: &Instance, state: InstanceState) -> bool {
        let tags = &instance.launch.data.tags;
        let any = |text: &str| self.values.iter().any(|pattern| matches(pattern, text));
        match &self.property {
            Property::AvailabilityZone => any(&instance.launch.zone),
            Property::ClientToken => instance.launch.token.as_deref().is_some_and(any),
            Property::InstanceId => any(&instance.launch.id),
            Property::InstanceStateName => any(state.as_str()),
            Property::InstanceType => any(&instance.launch.instance_type),
            Property::Tag(key) => tags.get(key).is_some_and(|value| any(value)),
            Property::TagKey => tags.keys().any(|key| any(key)),
        }
    }
}

/// Whether `text` is what `pattern` says, in which `*` stands for any text and `?` for any one
/// character.
fn matches(pattern: &str, text: &str) -> bool {
    let Some(first) = pattern.chars().next() else { return text.is_empty() };
    let rest = pattern.get(first.len_utf8()..).unwrap_or_default();
    if first == '*' {
        let mut tails = text.char_indices().map(|(at, _)| at).chain([text.len()]);
        return tails.any(|at| text.get(at..).is_some_and(|tail| matches(rest, tail)));
    }
    let mut characters = text.chars();
    let found = characters.next();
    found.is_some_and(|c| first == '?' || first == c) && matches(rest, characters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ec2::instance::tests::instance;

    fn passes(form: &str) -> bool {
        let mut instance = instance(1);
        instance.launch.data.tags.insert("role".to_owned(), "web".to_owned());
        let filters = Filter::parse_all(&Query::parse(form.as_bytes())).unwrap();
        filters.iter().all(|filter| filter.passes(&instance, InstanceState::Running))
    }

    #[test]
    fn a_filter_passes_one_of_its_values() {
        for form in [
            "Filter.1.Name=client-token&Filter.1.Value.1=t-1",
            "Filter.1.Name=tag:role&Filter.1.Value.1=db&Filter.1.Value.2=web",
            "Filter.1.Name=tag-key&Filter.1.Value.1=role",
            "Filter.1.Name=tag:role&Filter.1.Value.1=w?*",
            "Filter.1.Name=instance-state-name&Filter.1.Value.1=running",
        ] {
            assert!(passes(form), "{form}");
        }
        for form in [
            "Filter.1.Name=client-token&Filter.1.Value.1=t-2",
            "Filter.1.Name=tag:other&Filter.1.Value.1=*",
            "Filter.1.Name=tag-key&Filter.1.Value.1=role&Filter.2.Name=instance-state-name\
             &Filter.2.Value.1=pending",
        ] {
            assert!(!passes(form), "{form}");
        }
    }

    #[test]
    fn an_unknown_filter_and_one_without_values_are_refused() {
        for form in ["Filter.1.Name=colour&Filter.1.Value.1=red", "Filter.1.Name=tag-key"] {
            let refusal = Filter::parse_all(&Query::parse(form.as_bytes())).unwrap_err();
            assert_eq!(refusal.code, "InvalidParameterValue");
        }
    }
}
