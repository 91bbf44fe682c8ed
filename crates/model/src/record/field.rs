//! Reading one field of a configuration, whatever the web app made of it.

use super::RestartPolicy;
use crate::{
    Pcr, PcrSet,
    network::{Destination, IngressPort, MAX_EGRESS, MAX_INGRESS},
};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, fmt, ops::RangeInclusive, str::FromStr};

/// Why a configuration cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ConfigurationError {
    /// Two spellings of one field say different things.
    #[error("{field} is given twice, as {first} and as {second}; give it once")]
    Conflict {
        /// The field, with its place.
        field: String,
        /// The value under the first spelling.
        first: String,
        /// The value under the second.
        second: String,
    },
    /// A field holds what it cannot.
    #[error("{field} is {value}; allowed is {allowed}")]
    Invalid {
        /// The field, with its place.
        field: String,
        /// The value, shortened.
        value: String,
        /// What it may be.
        allowed: Allowed,
    },
    /// A field without which nothing can be done is absent.
    #[error("{field} is missing{}", hint(field))]
    Missing {
        /// The field.
        field: String,
    },
}

impl ConfigurationError {
    pub(super) fn missing(field: &str) -> Self {
        Self::Missing { field: field.to_owned() }
    }
}

fn hint(field: &str) -> &'static str {
    match field {
        "eif_path" => {
            "; it names the enclave image, as s3://bucket/key (a container image is made into one \
             with `bailey image build`)"
        }
        _ => "",
    }
}

/// What a field may hold.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Allowed {
    /// A form, in words.
    Form(&'static str),
    /// A whole number within bounds.
    Number(RangeInclusive<u32>),
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form(words) => f.write_str(words),
            Self::Number(range) => {
                write!(f, "a whole number from {} to {}", range.start(), range.end())
            }
        }
    }
}

/// The fields of a record's configuration.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    place: &'static str,
    map: &'a Map<String, Value>,
}

/// Where web apps put the configuration; the first that is there is read.
const PLACES: [&str; 2] = ["configuration", "providerConfig"];

/// A value longer than this is cut in messages.
const SHOWN: usize = 80;

impl<'a> Fields<'a> {
    pub(super) fn of(record: &'a Map<String, Value>) -> Result<Self, ConfigurationError> {
        for place in PLACES {
            match record.get(place) {
                None | Some(Value::Null) => {}
                Some(Value::Object(map)) => return Ok(Self { place, map }),
                Some(other) => {
                    return Err(ConfigurationError::Invalid {
                        field: place.to_owned(),
                        value: shown(other),
                        allowed: Allowed::Form("a map"),
                    });
                }
            }
        }
        Err(ConfigurationError::missing("configuration"))
    }

    pub(super) fn number(
        &self,
        names: &[&str],
        range: RangeInclusive<u32>,
    ) -> Result<Option<u32>, ConfigurationError> {
        self.read(names, Allowed::Number(range.clone()), |value| {
            let number = match value {
                Value::Number(number) => u32::try_from(number.as_u64()?).ok(),
                Value::String(text) => text.trim().parse().ok(),
                _ => None,
            };
            number.filter(|number| range.contains(number))
        })
    }

    pub(super) fn boolean(&self, names: &[&str]) -> Result<Option<bool>, ConfigurationError> {
        self.read(names, Allowed::Form("true or false"), truth)
    }

    pub(super) fn text(&self, names: &[&str]) -> Result<Option<String>, ConfigurationError> {
        self.read(names, Allowed::Form("a text of 1 to 1,024 bytes"), short_text)
    }

    pub(super) fn texts(&self, names: &[&str]) -> Result<Vec<String>, ConfigurationError> {
        let texts = self.read(names, Allowed::Form("a list of up to 16 texts"), |value| {
            let list = value.as_array().filter(|list| list.len() <= 16)?;
            list.iter().map(short_text).collect::<Option<Vec<_>>>()
        })?;
        Ok(texts.unwrap_or_default())
    }

    pub(super) fn parsed<T: FromStr + PartialEq>(
        &self,
        names: &[&str],
        form: &'static str,
    ) -> Result<Option<T>, ConfigurationError> {
        self.read(names, Allowed::Form(form), |value| value.as_str()?.parse().ok())
    }

    pub(super) fn pcrs(&self, names: &[&str]) -> Result<PcrSet, ConfigurationError> {
        let form = "a map from PCR index (0 to 31) to 96 hex digits";
        let pcrs = self.read(names, Allowed::Form(form), |value| {
            value.as_object()?.iter().map(|(index, value)| pcr_entry(index, value)).collect()
        })?;
        Ok(pcrs.unwrap_or_default())
    }

    pub(super) fn restart(
        &self,
        names: &[&str],
    ) -> Result<Option<RestartPolicy>, ConfigurationError> {
        self.read(names, Allowed::Form("always, on-failure or never"), |value| {
            match value.as_str()? {
                "always" => Some(RestartPolicy::Always),
                "never" => Some(RestartPolicy::Never),
                "on-failure" => Some(RestartPolicy::OnFailure),
                _ => None,
            }
        })
    }

    pub(super) fn labels(
        &self,
        names: &[&str],
    ) -> Result<BTreeMap<String, String>, ConfigurationError> {
        let form = "a map of up to 32 short texts";
        let labels = self.read(names, Allowed::Form(form), |value| {
            let map = value.as_object().filter(|map| map.len() <= 32)?;
            map.iter().map(|(name, value)| label(name, value)).collect()
        })?;
        Ok(labels.unwrap_or_default())
    }

    pub(super) fn egress(&self, names: &[&str]) -> Result<Vec<Destination>, ConfigurationError> {
        let form = "host:port, *.suffix:port, address:port or block/prefix:port";
        let list = Allowed::Form("a list of up to 64 destinations");
        let mut all = self.each(names, list, MAX_EGRESS, form, |item| {
            item.as_str()?.parse::<Destination>().ok()
        })?;
        all.sort();
        all.dedup();
        Ok(all)
    }

    pub(super) fn ingress(&self, names: &[&str]) -> Result<Vec<IngressPort>, ConfigurationError> {
        let form = "a map of parent_port (1024 to 65535), enclave_port (1 to 65535, not 5005 or 5006) and, if \
                    wanted, proxy_protocol and health_gated";
        let list = Allowed::Form("a list of up to 16 ports, each port of the parent once");
        let mut all = self.each(names, list.clone(), MAX_INGRESS, form, ingress_port)?;
        all.sort();
        if all.windows(2).any(|two| matches!(two, [a, b] if a.parent_port == b.parent_port)) {
            let value = names.iter().find_map(|name| self.map.get(*name)).unwrap_or(&Value::Null);
            return Err(ConfigurationError::Invalid {
                field: self.field(names),
                value: shown(value),
                allowed: list,
            });
        }
        Ok(all)
    }

    /// Reads a list of at most `most` items; what is wrong with one of them is told of that one.
    fn each<T>(
        &self,
        names: &[&str],
        list: Allowed,
        most: usize,
        form: &'static str,
        parse: impl Fn(&Value) -> Option<T>,
    ) -> Result<Vec<T>, ConfigurationError> {
        let items = self.read(names, list, |value| {
            value.as_array().filter(|list| list.len() <= most).cloned()
        })?;
        let items = items.unwrap_or_default();
        let read = items.iter().enumerate().map(|(index, item)| {
            parse(item).ok_or_else(|| ConfigurationError::Invalid {
                field: format!("{}[{index}]", self.field(names)),
                value: shown(item),
                allowed: Allowed::Form(form),
            })
        });
        read.collect()
    }

    fn field(&self, names: &[&str]) -> String {
        format!("{}.{}", self.place, names.first().unwrap_or(&""))
    }

    /// Reads the field under whichever of its names is used; an explicit null counts as absent.
    fn read<T: PartialEq>(
        &self,
        names: &[&str],
        allowed: Allowed,
        parse: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, ConfigurationError> {
        let field = || self.field(names);
        let mut found: Option<(T, &Value)> = None;
        for value in names.iter().filter_map(|name| self.map.get(*name)) {
            if value.is_null() {
                continue;
            }
            let Some(parsed) = parse(value) else {
                return Err(ConfigurationError::Invalid {
                    field: field(),
                    value: shown(value),
                    allowed,
                });
            };
            match &found {
                Some((first, raw)) if *first != parsed => {
                    return Err(ConfigurationError::Conflict {
                        field: field(),
                        first: shown(raw),
                        second: shown(value),
                    });
                }
                _ => found = Some((parsed, value)),
            }
        }
        Ok(found.map(|(parsed, _)| parsed))
    }
}

fn pcr_entry(index: &str, value: &Value) -> Option<(u8, Pcr)> {
    let index = index.parse().ok().filter(|index| *index <= 31)?;
    Some((index, value.as_str()?.parse().ok()?))
}

/// One item of `ingress`; a key that means nothing is refused, because what it was to do would not be
/// done.
fn ingress_port(value: &Value) -> Option<IngressPort> {
    let map = value.as_object()?;
    let mut port =
        IngressPort { parent_port: 0, enclave_port: 0, proxy_protocol: false, health_gated: false };
    for (name, value) in map {
        match name.as_str() {
            "parent_port" | "parentPort" => port.parent_port = tcp_port(value)?,
            "enclave_port" | "enclavePort" => port.enclave_port = tcp_port(value)?,
            "proxy_protocol" | "proxyProtocol" => port.proxy_protocol = truth(value)?,
            "health_gated" | "healthGated" => port.health_gated = truth(value)?,
            _ => return None,
        }
    }
    port.check().ok()
}

fn tcp_port(value: &Value) -> Option<u16> {
    match value {
        Value::Number(number) => u16::try_from(number.as_u64()?).ok(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(*value),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// A label's name and value: as long as those of an EC2 tag.
fn label(name: &str, value: &Value) -> Option<(String, String)> {
    let text = value.as_str()?;
    (name.len() <= 128 && text.len() <= 256).then(|| (name.to_owned(), text.to_owned()))
}

fn short_text(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    (1..=1_024).contains(&text.len()).then(|| text.to_owned())
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
