//! Names of hosts.

use std::{fmt, str::FromStr};

/// A DNS name in lower case, without a dot at its end: labels of letters, digits, `-` and `_`.
///
/// Nothing that some resolver would take for an address: `127.1` and `0x7f000001` are refused, as
/// the URL standard's "ends in a number" does. Names in other alphabets are written in their ASCII
/// form (`xn--…`).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct HostName(String);

/// The longest name, in bytes (RFC 1035, section 2.3.4, without the length bytes).
const MAX_NAME: usize = 253;
/// The longest label, in bytes.
const MAX_LABEL: usize = 63;

impl HostName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this name has at least one label more than `parent`, and ends with it.
    #[must_use]
    pub fn is_below(&self, parent: &Self) -> bool {
        let label = self.0.strip_suffix(parent.as_str());
        label.and_then(|rest| rest.strip_suffix('.')).is_some_and(|rest| !rest.is_empty())
    }
}

impl FromStr for HostName {
    type Err = HostNameError;

    fn from_str(text: &str) -> Result<Self, HostNameError> {
        if text.is_empty() || text.len() > MAX_NAME || !text.split('.').all(is_label) {
            return Err(HostNameError);
        }
        let last = text.rsplit('.').next().unwrap_or(text);
        if is_number(last) {
            return Err(HostNameError);
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

fn is_label(label: &str) -> bool {
    (1..=MAX_LABEL).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn is_number(label: &str) -> bool {
    let hex = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    label.bytes().all(|byte| byte.is_ascii_digit())
        || hex.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is not a [`HostName`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "it is not a host name: labels of letters, digits, `-` and `_` between dots, the last not a number"
)]
pub struct HostNameError;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> HostName {
        text.parse().unwrap()
    }

    #[test]
    fn names_are_compared_in_lower_case() {
        assert_eq!(name("API.Example.COM"), name("api.example.com"));
    }

    #[test]
    fn what_a_resolver_could_take_for_an_address_is_no_name() {
        for text in ["127.1", "2130706433", "0x7f000001", "1.2.3.4", "a.0x7F", "a.1"] {
            assert_eq!(text.parse::<HostName>(), Err(HostNameError), "{text}");
        }
        for text in ["", ".", "a.", ".a", "a..b", "-a", "a-", "a b", "a/b", "a:1", "ü", "a\0", "*"]
        {
            assert_eq!(text.parse::<HostName>(), Err(HostNameError), "{text}");
        }
        for text in ["localhost", "1.example", "0xzz.0xg", "_x.example.com", "xn--nxasmq6b"] {
            name(text);
        }
    }

    #[test]
    fn only_whole_labels_are_below() {
        assert!(name("a.b.example.com").is_below(&name("example.com")));
        assert!(!name("example.com").is_below(&name("example.com")));
        assert!(!name("badexample.com").is_below(&name("example.com")));
    }

    proptest! {
        #[test]
        fn a_name_is_short_and_harmless_whatever_was_given(text in "\\PC{0,300}") {
            if let Ok(name) = text.parse::<HostName>() {
                prop_assert!(name.as_str().len() <= MAX_NAME);
                prop_assert!(name.as_str().bytes().all(|b| b.is_ascii_graphic() && !b"/:@%?#[]".contains(&b)));
                prop_assert!(name.as_str().parse::<std::net::IpAddr>().is_err());
            }
        }
    }
}
