//! One port under which an enclave is reached.

use serde::{Deserialize, Serialize};
use std::{fmt, ops::RangeInclusive, str::FromStr};

/// A TCP port of the parent whose connections are carried to a vsock port of the enclave.
///
/// As text `8443:443`, with `,proxy` and `,healthy` behind it for the two options.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct IngressPort {
    /// The TCP port of the parent, within [`PARENT_PORT`].
    pub parent_port: u16,
    /// The vsock port of the enclave, within [`ENCLAVE_PORT`] and none of
    /// [`RESERVED_ENCLAVE_PORTS`].
    pub enclave_port: u16,
    /// Whether each connection begins with a header of the PROXY protocol, version 2, that says who
    /// connected.
    #[serde(default, skip_serializing_if = "is_false")]
    pub proxy_protocol: bool,
    /// Whether the port is open only while the image's probe finds the workload healthy.
    #[serde(default, skip_serializing_if = "is_false")]
    pub health_gated: bool,
}

/// Which TCP ports of a parent: the agent may not use lower ones.
pub const PARENT_PORT: RangeInclusive<u16> = 1_024..=65_535;

/// Which vsock ports of an enclave: those that are TCP ports inside of it.
pub const ENCLAVE_PORT: RangeInclusive<u16> = 1..=65_535;

/// Ports on which an enclave answers its own parent only: attestation and workload.
pub const RESERVED_ENCLAVE_PORTS: [u16; 2] = [5_005, 5_006];

// Serde's form.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

impl IngressPort {
    /// The port, when it is one that can be had.
    pub fn check(self) -> Result<Self, IngressError> {
        if !PARENT_PORT.contains(&self.parent_port) {
            return Err(IngressError::ParentPort);
        }
        if !ENCLAVE_PORT.contains(&self.enclave_port)
            || RESERVED_ENCLAVE_PORTS.contains(&self.enclave_port)
        {
            return Err(IngressError::EnclavePort);
        }
        Ok(self)
    }
}

impl FromStr for IngressPort {
    type Err = IngressError;

    fn from_str(text: &str) -> Result<Self, IngressError> {
        let mut words = text.split(',');
        let ports = words.next().and_then(|ports| ports.split_once(':'));
        let (parent, enclave) = ports.ok_or(IngressError::Form)?;
        let mut port = Self {
            parent_port: parent.parse().map_err(|_| IngressError::ParentPort)?,
            enclave_port: enclave.parse().map_err(|_| IngressError::EnclavePort)?,
            proxy_protocol: false,
            health_gated: false,
        };
        for word in words {
            match word {
                "proxy" if !port.proxy_protocol => port.proxy_protocol = true,
                "healthy" if !port.health_gated => port.health_gated = true,
                _ => return Err(IngressError::Form),
            }
        }
        port.check()
    }
}

impl fmt::Display for IngressPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.parent_port, self.enclave_port)?;
        f.write_str(if self.proxy_protocol { ",proxy" } else { "" })?;
        f.write_str(if self.health_gated { ",healthy" } else { "" })
    }
}

/// Why a port cannot be had.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum IngressError {
    /// The enclave's port is out of range, or its parent's alone.
    #[error(
        "the enclave's port is a number from {} to {}, and not 5005 or 5006",
        ENCLAVE_PORT.start(), ENCLAVE_PORT.end()
    )]
    EnclavePort,
    /// The text has another form.
    #[error("write PARENT-PORT:ENCLAVE-PORT, with `,proxy` and `,healthy` behind it if wanted")]
    Form,
    /// The parent's port is out of range.
    #[error("the parent's port is a number from {} to {}", PARENT_PORT.start(), PARENT_PORT.end())]
    ParentPort,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_written_alike() {
        for text in ["8443:443", "8443:443,proxy", "8443:443,healthy", "8443:443,proxy,healthy"] {
            assert_eq!(text.parse::<IngressPort>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn ports_that_cannot_be_had_are_refused() {
        let error = |text: &str| text.parse::<IngressPort>().unwrap_err();
        for text in ["443:443", "0:1", "65536:1", "x:1"] {
            assert_eq!(error(text), IngressError::ParentPort, "{text}");
        }
        for text in ["8080:0", "8080:5005", "8080:5006", "8080:65536"] {
            assert_eq!(error(text), IngressError::EnclavePort, "{text}");
        }
        for text in ["8080", "8080:80,", "8080:80,proxy,proxy", "8080:80,tls"] {
            assert_eq!(error(text), IngressError::Form, "{text}");
        }
    }

    #[test]
    fn options_that_are_not_chosen_are_left_out() {
        let port: IngressPort = "8443:443".parse().unwrap();
        let json = serde_json::to_string(&port).unwrap();
        assert_eq!(json, r#"{"parent_port":8443,"enclave_port":443}"#);
        assert_eq!(serde_json::from_str::<IngressPort>(&json).unwrap(), port);
    }
}
