//! Launch templates and their numbered versions.

use super::{LaunchData, Query, Refusal, xml::Xml};
use bailey_model::UnixMillis;

/// A launch template: versions count from 1 and never change.
#[derive(Clone, Debug)]
pub(super) struct Template {
    pub(super) id: String,
    pub(super) name: String,
    default: usize,
    versions: Vec<Version>,
}

#[derive(Clone, Debug)]
struct Version {
    created: UnixMillis,
    data: LaunchData,
}

/// Which version of a template is meant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum VersionChoice {
    Default,
    Latest,
    Number(usize),
}

impl VersionChoice {
    /// `$Default`, `$Latest` or a number.
    pub(super) fn parse(text: &str) -> Result<Self, Refusal> {
        match text {
            "$Default" => Ok(Self::Default),
            "$Latest" => Ok(Self::Latest),
            number => number.parse().map(Self::Number).map_err(|_| {
                Refusal::new(
                    "InvalidLaunchTemplateVersion.Malformed",
                    format!("'{number}' is not a valid launch template version."),
                )
            }),
        }
    }
}

impl Template {
    /// A template with its first version.
    pub(super) fn new(id: String, name: String, data: LaunchData, now: UnixMillis) -> Self {
        Self { id, name, default: 1, versions: vec![Version { created: now, data }] }
    }

    /// Adds a version and returns its number.
    pub(super) fn add(&mut self, data: LaunchData, now: UnixMillis) -> usize {
        self.versions.push(Version { created: now, data });
        self.versions.len()
    }

    /// Makes another version the default.
    pub(super) fn set_default(&mut self, choice: VersionChoice) -> Result<(), Refusal> {
        self.default = self.resolve(choice)?.0;
        Ok(())
    }

    /// The data of a version.
    pub(super) fn data(&self, choice: VersionChoice) -> Result<LaunchData, Refusal> {
        Ok(self.resolve(choice)?.1.data.clone())
    }

    /// The versions that a `DescribeLaunchTemplateVersions` asks for, all when it names none.
    pub(super) fn describe(&self, query: &Query) -> Result<Vec<Xml>, Refusal> {
        let names = query.texts("LaunchTemplateVersion");
        if names.is_empty() {
            return (1..=self.versions.len()).map(|n| self.version_xml(n)).collect();
        }
        names
            .into_iter()
            .map(|name| self.version_xml(self.resolve(VersionChoice::parse(name)?)?.0))
            .collect()
    }

    /// One version as answers describe it.
    pub(super) fn version_xml(&self, number: usize) -> Result<Xml, Refusal> {
        let (number, version) = self.resolve(VersionChoice::Number(number))?;
        Ok(Xml::element("launchTemplateVersion")
            .text("launchTemplateId", &self.id)
            .text("launchTemplateName", &self.name)
            .text("versionNumber", number)
            .text("createTime", version.created)
            .text("defaultVersion", number == self.default)
            .child(version.data.to_xml()))
    }

    /// The template itself as answers describe it.
    pub(super) fn to_xml(&self) -> Xml {
        let created = self.versions.first().map(|version| version.created);
        Xml::element("launchTemplate")
            .text("launchTemplateId", &self.id)
            .text("launchTemplateName", &self.name)
            .some("createTime", created)
            .text("defaultVersionNumber", self.default)
            .text("latestVersionNumber", self.versions.len())
    }

    fn resolve(&self, choice: VersionChoice) -> Result<(usize, &Version), Refusal> {
        let number = match choice {
            VersionChoice::Default => self.default,
            VersionChoice::Latest => self.versions.len(),
            VersionChoice::Number(number) => number,
        };
        let version = number.checked_sub(1).and_then(|index| self.versions.get(index));
        version.map(|version| (number, version)).ok_or_else(|| {
            Refusal::new(
                "InvalidLaunchTemplateId.VersionNotFound",
                format!(
                    "Could not find the specified version {number} for the launch template with \
                     ID {}.",
                    self.id
                ),
            )
        })
    }
}
