//! Requests in EC2's Query protocol: a flat form whose names carry the structure.
//!
//! `Filter.1.Name=tag:role&Filter.1.Value.1=web` is a list of structures that hold lists.

use super::Refusal;
use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
};
use url::form_urlencoded;

/// The parameters of one request, or of one structure in it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Query {
    parameters: BTreeMap<String, String>,
}

impl Query {
    /// Reads a form, as it stands in a body or after the `?` of an address.
    #[must_use]
    pub fn parse(form: &[u8]) -> Self {
        form_urlencoded::parse(form).into_owned().collect()
    }

    /// The parameter's text, when it is there.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// The parameter's text.
    pub fn required(&self, name: &str) -> Result<&str, Refusal> {
        self.text(name).ok_or_else(|| Refusal::missing(name))
    }

    /// The parameter read as a `T`, when it is there.
    pub fn parsed<T: FromStr>(&self, name: &str) -> Result<Option<T>, Refusal> {
        self.text(name)
            .map(|text| text.parse().map_err(|_| Refusal::invalid(name, text)))
            .transpose()
    }

    /// The texts of `name.1`, `name.2` and so on, in the order of their numbers.
    #[must_use]
    pub fn texts(&self, name: &str) -> Vec<&str> {
        self.numbers(name)
            .into_iter()
            .filter_map(|number| self.text(&format!("{name}.{number}")))
            .collect()
    }

    /// The parameters that start with `name.`, without that start.
    #[must_use]
    pub fn structure(&self, name: &str) -> Self {
        let prefix = format!("{name}.");
        self.parameters
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(&prefix)?.to_owned(), value.clone())))
            .collect()
    }

    /// The structures `name.1`, `name.2` and so on, in the order of their numbers.
    #[must_use]
    pub fn structures(&self, name: &str) -> Vec<Self> {
        self.numbers(name)
            .into_iter()
            .map(|number| self.structure(&format!("{name}.{number}")))
            .collect()
    }

    /// The same request without the named parameters.
    #[must_use]
    pub fn without(&self, names: &[&str]) -> Self {
        self.parameters
            .iter()
            .filter(|(key, _)| !names.contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    fn numbers(&self, name: &str) -> BTreeSet<u32> {
        let prefix = format!("{name}.");
        self.parameters
            .keys()
            .filter_map(|key| key.strip_prefix(&prefix)?.split('.').next()?.parse().ok())
            .collect()
    }
}

impl FromIterator<(String, String)> for Query {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(parameters: I) -> Self {
        Self { parameters: parameters.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_structures_are_read_in_the_order_of_their_numbers() {
        let query = Query::parse(
            b"InstanceId.2=i-b&InstanceId.10=i-c&InstanceId.1=i-a\
              &Filter.1.Name=tag%3Arole&Filter.1.Value.1=web&Filter.1.Value.2=a+b",
        );
        assert_eq!(query.texts("InstanceId"), ["i-a", "i-b", "i-c"]);
        let filters = query.structures("Filter");
        assert_eq!(filters[0].text("Name"), Some("tag:role"));
        assert_eq!(filters[0].texts("Value"), ["web", "a b"]);
    }

    #[test]
    fn what_is_missing_and_what_is_malformed_are_told_apart() {
        let query = Query::parse(b"MaxResults=ten");
        assert_eq!(query.required("Action").unwrap_err().code, "MissingParameter");
        assert_eq!(query.parsed::<u32>("MaxResults").unwrap_err().code, "InvalidParameterValue");
        assert_eq!(query.parsed::<u32>("MinCount"), Ok(None));
    }
}
