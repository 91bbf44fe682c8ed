//! What a container starts, from its configuration (OCI image-spec 1.1, `config.md`).

use super::ContainerError;
use serde::Deserialize;

/// The parts of a configuration that matter to an enclave.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(in super::super) struct ContainerConfig {
    /// The entry point and its arguments, then the command.
    pub(in super::super) argv: Vec<String>,
    pub(in super::super) env: Vec<(String, String)>,
    pub(in super::super) user: Option<String>,
    pub(in super::super) working_directory: Option<String>,
    /// The digests of the layers' tar files, lowest first.
    pub(in super::super) diff_ids: Vec<String>,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    config: Option<Process>,
    rootfs: RootFs,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Process {
    // Each of these can be null.
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    user: Option<String>,
    working_dir: Option<String>,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Vec<String>,
}

impl ContainerConfig {
    pub(super) fn parse(json: &[u8]) -> Result<Self, ContainerError> {
        let failed = |source| ContainerError::Json { part: "configuration", source };
        let Wire { architecture, os, config, rootfs } =
            serde_json::from_slice(json).map_err(failed)?;
        if (os.as_str(), architecture.as_str()) != ("linux", "amd64") {
            return Err(ContainerError::Architecture { os, architecture });
        }
        let process = config.unwrap_or_default();
        let argv = process.entrypoint.into_iter().chain(process.cmd).flatten().collect();
        let pair = |text: String| match text.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (text, String::new()),
        };
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        Ok(Self {
            argv,
            env: process.env.unwrap_or_default().into_iter().map(pair).collect(),
            user: given(process.user),
            working_directory: given(process.working_dir),
            diff_ids: rootfs.diff_ids,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_point_and_command_become_one_and_nulls_are_nothing() {
        let json = br#"{"architecture":"amd64","os":"linux","rootfs":{"diff_ids":["sha256:1"]},
            "config":{"Entrypoint":["/app"],"Cmd":["-v"],"Env":["A=1=2","B"],"User":"","WorkingDir":"/w"}}"#;
        let config = ContainerConfig::parse(json).unwrap();
        assert_eq!(config.argv, ["/app", "-v"]);
        let env = [("A", "1=2"), ("B", "")].map(|(name, value)| (name.into(), value.into()));
        assert_eq!(config.env, env);
        assert_eq!((config.user, config.working_directory), (None, Some("/w".into())));
        let json = br#"{"architecture":"amd64","os":"linux","rootfs":{"diff_ids":[]},
            "config":{"Entrypoint":null,"Cmd":null,"Env":null}}"#;
        assert_eq!(ContainerConfig::parse(json).unwrap(), ContainerConfig::default());
    }

    #[test]
    fn other_machines_are_refused() {
        let json = br#"{"architecture":"arm64","os":"linux","rootfs":{}}"#;
        let err = ContainerConfig::parse(json).unwrap_err();
        assert_eq!(err.to_string(), "it is for linux/arm64, an enclave here runs linux/amd64");
    }
}
