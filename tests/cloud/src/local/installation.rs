//! Which tables, buckets and launch template a cloud has: the usual ones, or those that a file describes.

use super::{Names, ROLE};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fs, io, path::Path, path::PathBuf};

/// What Bailey is installed on. As a file: JSON; `make test-infra` makes one of what Terraform defines.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Installation {
    /// The names by which programs know everything.
    pub names: Names,
    /// The tables.
    pub tables: Vec<Table>,
    /// The launch template, as parameters of `CreateLaunchTemplate`.
    pub launch_template: BTreeMap<String, String>,
    /// A subnet for each zone, best zone first, when the template names none.
    #[serde(default)]
    pub subnets: Vec<Subnet>,
    /// What agents take for the address of AWS, when that is not the emulator's: it must lead there.
    pub agents_endpoint: Option<String>,
}

/// A zone's subnet.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Subnet {
    /// The zone, `eu-west-1a`.
    pub availability_zone: String,
    /// The subnet's id.
    pub subnet_id: String,
}

/// A table.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its key's attributes, all of them texts: the partition's, and that of the order when there is one.
    pub key: Vec<String>,
    /// Its index, when it has one.
    pub index: Option<Index>,
    /// The view type of its stream, when it has one: `NEW_IMAGE`, `NEW_AND_OLD_IMAGES`.
    pub stream: Option<String>,
}

/// An index of a table.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// Its name.
    pub name: String,
    /// Its key's attributes, as those of the table.
    pub key: Vec<String>,
    /// What it holds of an item: `ALL`, `KEYS_ONLY`.
    pub projection: String,
}

/// Why a file describes no installation.
#[derive(Debug, thiserror::Error)]
pub enum InstallationError {
    /// It cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("`{}` describes no installation", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The parser's reason.
        source: serde_json::Error,
    },
}

impl Installation {
    /// What the file at `path` describes.
    pub fn read(path: &Path) -> Result<Self, InstallationError> {
        let text = fs::read(path)
            .map_err(|source| InstallationError::Read { path: path.to_owned(), source })?;
        serde_json::from_slice(&text)
            .map_err(|source| InstallationError::Parse { path: path.to_owned(), source })
    }

    /// The usual tables under these names, and a launch template with the image, the role, and user data
    /// that names the hosts table.
    #[must_use]
    pub fn usual(names: Names) -> Self {
        let user_data = STANDARD.encode(format!("hosts_table = \"{}\"\n", names.hosts_table));
        let parameters = [
            ("LaunchTemplateName", names.launch_template.clone()),
            ("LaunchTemplateData.ImageId", "ami-0123456789abcdef0".to_owned()),
            ("LaunchTemplateData.IamInstanceProfile.Name", ROLE.to_owned()),
            ("LaunchTemplateData.UserData", user_data),
        ];
        let tables = vec![
            Table {
                name: names.enclaves_table.clone(),
                key: attributes(&["id"]),
                index: Some(Index::new("status-index", &["status"], "ALL")),
                stream: Some("NEW_AND_OLD_IMAGES".to_owned()),
            },
            Table {
                name: names.ledger_table.clone(),
                key: attributes(&["pk", "sk"]),
                index: Some(Index::new("active-index", &["active", "pk"], "KEYS_ONLY")),
                stream: None,
            },
            Table {
                name: names.hosts_table.clone(),
                key: attributes(&["pk"]),
                index: None,
                stream: Some("NEW_IMAGE".to_owned()),
            },
        ];
        Self {
            tables,
            launch_template: parameters.map(|(name, value)| (name.to_owned(), value)).into(),
            subnets: Vec::new(),
            agents_endpoint: None,
            names,
        }
    }
}

impl Index {
    fn new(name: &str, key: &[&str], projection: &str) -> Self {
        Self { name: name.to_owned(), key: attributes(key), projection: projection.to_owned() }
    }
}

fn attributes(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DESCRIBED: &str = r#"{
        "names": {
            "enclaves_table": "e", "ledger_table": "l", "hosts_table": "h", "eif_bucket": "i",
            "reports_bucket": "r", "launch_template": "t"
        },
        "tables": [{
            "name": "l", "key": ["pk", "sk"], "stream": null,
            "index": { "name": "active-index", "key": ["active", "pk"], "projection": "KEYS_ONLY" }
        }],
        "launch_template": { "LaunchTemplateName": "t" },
        "agents_endpoint": null
    }"#;

    fn read(text: &str) -> Result<Installation, InstallationError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        Installation::read(file.path())
    }

    #[test]
    fn a_file_describes_tables_as_the_usual_ones_are_described() {
        let described = read(DESCRIBED).unwrap();
        let mut usual = Installation::usual(described.names.clone());
        usual.tables.retain(|table| table.name == "l");
        assert_eq!(described.tables, usual.tables);
        assert_eq!(described.names.hosts_table, "h");
        assert_eq!(described.subnets, []);
    }

    #[test]
    fn a_misspelt_key_is_refused() {
        let error = read(&DESCRIBED.replace("\"stream\"", "\"steam\"")).unwrap_err();
        assert!(matches!(error, InstallationError::Parse { .. }), "{error}");
    }

    #[test]
    fn the_usual_template_names_the_hosts_table_to_agents() {
        let usual = Installation::usual(Names::with_prefix("x-"));
        let user_data = &usual.launch_template["LaunchTemplateData.UserData"];
        assert_eq!(STANDARD.decode(user_data).unwrap(), b"hosts_table = \"x-bailey-hosts\"\n");
    }
}
