//! Where to listen, which NSM to ask and whom to tell, from the environment.

use super::nsm::{DeviceNsm, NsmDevice, SocketNsm};
use bailey_vsock::{
    ATTESTATION_PORT, EGRESS_PORT, HEARTBEAT_PORT, PARENT_CID, workload::WORKLOAD_PORT,
};
use std::{fmt, path::PathBuf, str::FromStr, sync::Arc};

/// The port of an enclave's loopback on which its workload finds the way out.
pub(super) const LOOPBACK_EGRESS_PORT: u16 = 3128;

/// What `keep` needs to know before it starts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Where requests for documents come in (`KEEP_LISTEN`).
    pub listen: ListenAddress,
    /// Where requests about the workload come in (`KEEP_LISTEN_WORKLOAD`).
    pub listen_workload: ListenAddress,
    /// Who makes the documents (`KEEP_NSM`).
    pub nsm: NsmAddress,
    /// Who waits for the boot heartbeat, if anybody (`KEEP_HEARTBEAT`).
    pub heartbeat: Option<PeerAddress>,
    /// The parent's proxy, if there is one (`KEEP_EGRESS`).
    pub egress: Option<PeerAddress>,
    /// The port of the loopback on which the workload finds the way there; any free one when it is 0,
    /// as in a process that shares its loopback with others.
    pub egress_port: u16,
    /// Where connections for the workload's ports come in (`KEEP_PORTS`).
    pub ports: PortsAddress,
    /// Where the workload asks for documents with a key of its own (`KEEP_LISTEN_DOCUMENTS`).
    pub documents: DocumentsAddress,
}

/// Where a workload asks for documents with a key of its own: on a Unix socket always, for what listens on
/// vsock is reached by the parent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DocumentsAddress {
    /// Among the image's files, at [`bailey_vsock::documents::DEFAULT_PATH`]; of `keep attest`, which has
    /// no workload, nowhere.
    Usual,
    /// Nowhere.
    Nowhere,
    /// On a socket at this path.
    Unix(PathBuf),
}

impl FromStr for DocumentsAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let nowhere = || (text == "none").then_some(Self::Nowhere);
        unix_path(text).map(Self::Unix).or_else(nowhere).ok_or("none or unix:/path")
    }
}

/// Where connections for the workload's ports come in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PortsAddress {
    /// On Unix sockets whose paths are this one, `_` and the port.
    Unix(PathBuf),
    /// On the vsock ports of the same numbers.
    Vsock,
}

impl PortsAddress {
    /// Where those for one port come in.
    #[must_use]
    pub fn of(&self, port: u16) -> ListenAddress {
        match self {
            Self::Unix(path) => {
                let mut path = path.clone().into_os_string();
                path.push(format!("_{port}"));
                ListenAddress::Unix(path.into())
            }
            Self::Vsock => ListenAddress::Vsock { port: port.into() },
        }
    }
}

impl FromStr for PortsAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let vsock = || (text == "vsock").then_some(Self::Vsock);
        unix_path(text).map(Self::Unix).or_else(vsock).ok_or("vsock or unix:/path")
    }
}

impl Settings {
    /// The settings of an enclave's init: vsock, `/dev/nsm`, and nitro-cli waiting on the parent.
    #[must_use]
    pub fn of_init() -> Self {
        let heartbeat = PeerAddress::Vsock { cid: PARENT_CID, port: HEARTBEAT_PORT };
        Self {
            listen: ListenAddress::Vsock { port: ATTESTATION_PORT },
            listen_workload: ListenAddress::Vsock { port: WORKLOAD_PORT },
            nsm: NsmAddress::Device,
            heartbeat: Some(heartbeat),
            egress: Some(PeerAddress::Vsock { cid: PARENT_CID, port: EGRESS_PORT }),
            egress_port: LOOPBACK_EGRESS_PORT,
            ports: PortsAddress::Vsock,
            documents: DocumentsAddress::Usual,
        }
    }

    /// The settings that the variables ask for; `variable` looks one up.
    pub fn from_variables(
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, SettingsError> {
        let listen = parse("KEEP_LISTEN", &variable)?;
        let listen_workload = parse("KEEP_LISTEN_WORKLOAD", &variable)?;
        let peer = |name| match variable(name).as_deref() {
            None | Some("none") => Ok(None),
            Some(_) => parse(name, &variable),
        };
        Ok(Self {
            listen: listen.unwrap_or(ListenAddress::Vsock { port: ATTESTATION_PORT }),
            listen_workload: listen_workload
                .unwrap_or(ListenAddress::Vsock { port: WORKLOAD_PORT }),
            nsm: parse("KEEP_NSM", &variable)?.unwrap_or(NsmAddress::Device),
            heartbeat: peer("KEEP_HEARTBEAT")?,
            egress: peer("KEEP_EGRESS")?,
            egress_port: 0,
            ports: parse("KEEP_PORTS", &variable)?.unwrap_or(PortsAddress::Vsock),
            documents: parse("KEEP_LISTEN_DOCUMENTS", &variable)?
                .unwrap_or(DocumentsAddress::Usual),
        })
    }
}

fn parse<T: FromStr<Err = &'static str>>(
    name: &'static str,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<T>, SettingsError> {
    let Some(value) = variable(name) else { return Ok(None) };
    value.parse().map(Some).map_err(|wanted| SettingsError { name, value, wanted })
}

/// Where requests come in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ListenAddress {
    /// A Unix socket at this path.
    Unix(PathBuf),
    /// A vsock port, whoever calls.
    Vsock {
        /// The port.
        port: u32,
    },
}

impl FromStr for ListenAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let vsock = || text.strip_prefix("vsock:")?.parse().ok().map(|port| Self::Vsock { port });
        unix_path(text).map(Self::Unix).or_else(vsock).ok_or("vsock:PORT or unix:/path")
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Vsock { port } => write!(f, "vsock:{port}"),
        }
    }
}

/// Who makes the documents.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NsmAddress {
    /// The real one, at `/dev/nsm`.
    Device,
    /// A simulated one behind a Unix socket.
    Unix(PathBuf),
}

impl NsmAddress {
    /// The security module at this address; a device or peer that is absent shows at each request.
    pub(super) fn connect(&self) -> Arc<dyn NsmDevice> {
        match self {
            Self::Device => Arc::new(DeviceNsm),
            Self::Unix(path) => Arc::new(SocketNsm::new(path.clone())),
        }
    }
}

impl FromStr for NsmAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let device = || (text == "device").then_some(Self::Device);
        unix_path(text).map(Self::Unix).or_else(device).ok_or("device or unix:/path")
    }
}

/// Somebody to connect to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PeerAddress {
    /// A Unix socket at this path.
    Unix(PathBuf),
    /// A vsock address.
    Vsock {
        /// The context id.
        cid: u32,
        /// The port.
        port: u32,
    },
}

impl FromStr for PeerAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let vsock = || {
            let (cid, port) = text.strip_prefix("vsock:")?.split_once(':')?;
            Some(Self::Vsock { cid: cid.parse().ok()?, port: port.parse().ok()? })
        };
        unix_path(text).map(Self::Unix).or_else(vsock).ok_or("none, vsock:CID:PORT or unix:/path")
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Vsock { cid, port } => write!(f, "vsock:{cid}:{port}"),
        }
    }
}

fn unix_path(text: &str) -> Option<PathBuf> {
    text.strip_prefix("unix:").filter(|path| path.starts_with('/')).map(PathBuf::from)
}

/// A variable has a value that means nothing.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{name} is `{value}`, it can be {wanted}")]
pub struct SettingsError {
    name: &'static str,
    value: String,
    wanted: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        Settings::from_variables(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn without_variables_it_listens_on_vsock_and_sends_no_heartbeat() {
        let expected =
            Settings { heartbeat: None, egress: None, egress_port: 0, ..Settings::of_init() };
        assert_eq!(settings(&[]), Ok(expected.clone()));
        assert_eq!(settings(&[("KEEP_HEARTBEAT", "none")]), Ok(expected));
    }

    #[test]
    fn every_address_can_be_a_unix_socket() {
        let given = [
            ("KEEP_LISTEN", "unix:/a"),
            ("KEEP_NSM", "unix:/b"),
            ("KEEP_HEARTBEAT", "unix:/c"),
            ("KEEP_LISTEN_WORKLOAD", "unix:/d"),
            ("KEEP_EGRESS", "unix:/e"),
            ("KEEP_PORTS", "unix:/f"),
            ("KEEP_LISTEN_DOCUMENTS", "unix:/g"),
        ];
        let expected = Settings {
            listen: ListenAddress::Unix("/a".into()),
            listen_workload: ListenAddress::Unix("/d".into()),
            nsm: NsmAddress::Unix("/b".into()),
            heartbeat: Some(PeerAddress::Unix("/c".into())),
            egress: Some(PeerAddress::Unix("/e".into())),
            egress_port: 0,
            ports: PortsAddress::Unix("/f".into()),
            documents: DocumentsAddress::Unix("/g".into()),
        };
        assert_eq!(expected.ports.of(80), ListenAddress::Unix("/f_80".into()));
        assert_eq!(settings(&given), Ok(expected));
    }

    #[test]
    fn the_variables_can_spell_out_what_init_uses() {
        let given = [
            ("KEEP_LISTEN", "vsock:5005"),
            ("KEEP_LISTEN_WORKLOAD", "vsock:5006"),
            ("KEEP_NSM", "device"),
            ("KEEP_HEARTBEAT", "vsock:3:9000"),
            ("KEEP_EGRESS", "vsock:3:3128"),
            ("KEEP_PORTS", "vsock"),
        ];
        let expected = Settings { egress_port: 0, ..Settings::of_init() };
        assert_eq!(settings(&given), Ok(expected));
    }

    #[test]
    fn a_meaningless_value_is_named_with_what_is_possible() {
        let err = settings(&[("KEEP_LISTEN", "tcp:80")]).unwrap_err();
        assert_eq!(err.to_string(), "KEEP_LISTEN is `tcp:80`, it can be vsock:PORT or unix:/path");
        for (name, value) in
            [("KEEP_LISTEN", "unix:relative"), ("KEEP_NSM", ""), ("KEEP_HEARTBEAT", "vsock:3")]
        {
            assert!(settings(&[(name, value)]).is_err(), "{name}={value}");
        }
    }

    #[test]
    fn documents_for_the_workload_are_never_handed_out_on_vsock() {
        let documents =
            |value| settings(&[("KEEP_LISTEN_DOCUMENTS", value)]).map(|it| it.documents);
        assert_eq!(documents("none"), Ok(DocumentsAddress::Nowhere));
        let err = documents("vsock:5007").unwrap_err();
        let said = "KEEP_LISTEN_DOCUMENTS is `vsock:5007`, it can be none or unix:/path";
        assert_eq!(err.to_string(), said);
    }
}
