//! What an image's workload consists of, and how it is started.

use super::{
    container::{self, ContainerConfig, ContainerError},
    files::{self, FilesError, WorkloadFile},
    tree::{Contents, Node, Tree},
};
use crate::workload::{
    Health, MANIFEST_PATH, MAX_MANIFEST_BYTES, RestartPolicy, Workload, WorkloadError,
};
use bailey_eif::ImageSigner;
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// What a workload consists of, beside single files, and how it is started. All of it is optional.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// A container's image: an OCI layout or what `docker save` writes, as a file or a directory.
    pub container: Option<PathBuf>,
    /// A directory whose contents are put over that.
    pub directory: Option<PathBuf>,
    /// A manifest to start from; otherwise what the container's configuration says.
    pub manifest: Option<PathBuf>,
    /// What is to be otherwise than that.
    pub changes: Changes,
    /// Who signs the image.
    pub signer: Option<Arc<ImageSigner>>,
}

/// How the workload is to be started otherwise than its manifest or container says.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Variables to set.
    pub env: Vec<(String, String)>,
    /// As whom.
    pub user: Option<String>,
    /// Where.
    pub working_directory: Option<String>,
    /// When it is started again.
    pub restart: Option<RestartPolicy>,
    /// How its health is probed.
    pub health: Option<Health>,
    /// The enclave's host name.
    pub hostname: Option<String>,
    /// Ports under which the parent reaches it, beside those that it has.
    pub ports: Vec<u16>,
}

/// The second ramdisk, unless there is nothing to put into it.
pub(super) fn content(
    content: &Content,
    single_files: &[WorkloadFile],
    scratch: &Path,
) -> Result<Option<Tree>, PlanError> {
    let (mut tree, config) = match &content.container {
        Some(path) => {
            let container = container::read(path, scratch)
                .map_err(|source| PlanError::Container { path: path.clone(), source })?;
            (container.tree, Some(container.config))
        }
        None => (Tree::default(), None),
    };
    if let Some(directory) = &content.directory {
        files::add_directory(&mut tree, directory).map_err(PlanError::Files)?;
    }
    files::add(&mut tree, single_files).map_err(PlanError::Files)?;
    let manifest = content.manifest.as_deref().map(read_manifest).transpose()?;
    if let Some(workload) = workload(config, manifest, &content.changes)? {
        workload.check().map_err(PlanError::Workload)?;
        let text = workload.to_json().map_err(PlanError::Workload)?;
        let path = MANIFEST_PATH.trim_start_matches('/');
        tree.put(path, Node::file(Contents::Bytes(text.into()), 0o644));
    }
    Ok((!tree.is_empty()).then_some(tree))
}

fn read_manifest(path: &Path) -> Result<Workload, PlanError> {
    let failed = |source| PlanError::ReadManifest { path: path.to_owned(), source };
    let text = Contents::File(path.to_owned()).read(MAX_MANIFEST_BYTES).map_err(failed)?;
    Workload::parse(&text).map_err(PlanError::Workload)
}

/// Without anything to start there is no workload, and the enclave only attests.
fn workload(
    config: Option<ContainerConfig>,
    manifest: Option<Workload>,
    changes: &Changes,
) -> Result<Option<Workload>, PlanError> {
    let from_container = config.map(of_container);
    let mut workload = match manifest.or(from_container) {
        Some(workload) => workload,
        None if !changes.argv.is_empty() => Workload::new(Vec::new()),
        None if changes.is_empty() => return Ok(None),
        None => return Err(PlanError::NothingToStart),
    };
    changes.apply(&mut workload);
    Ok(Some(workload))
}

/// What the configuration leaves open is as container runtimes have it.
fn of_container(config: ContainerConfig) -> Workload {
    let mut workload = Workload::new(config.argv);
    workload.env = config.env.into_iter().collect();
    workload.env.entry("PATH".to_owned()).or_insert_with(|| DEFAULT_PATH.to_owned());
    workload.user = config.user.unwrap_or(workload.user);
    workload.working_directory = config.working_directory.unwrap_or(workload.working_directory);
    workload
}

/// The `PATH` of a container whose image sets none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Changes {
    fn is_empty(&self) -> bool {
        let Self { argv, env, user, working_directory, restart, health, hostname, ports } = self;
        let texts = [user, working_directory, hostname].into_iter().all(Option::is_none);
        let lists = argv.is_empty() && env.is_empty() && ports.is_empty();
        texts && lists && restart.is_none() && health.is_none()
    }

    fn apply(&self, workload: &mut Workload) {
        let Self { argv, env, user, working_directory, restart, health, hostname, ports } =
            self.clone();
        if !argv.is_empty() {
            workload.argv = argv;
        }
        workload.env.extend(env);
        if let Some(user) = user {
            workload.user = user;
        }
        if let Some(directory) = working_directory {
            workload.working_directory = directory;
        }
        if let Some(policy) = restart {
            workload.restart.policy = policy;
        }
        if health.is_some() {
            workload.health = health;
        }
        if hostname.is_some() {
            workload.hostname = hostname;
        }
        workload.network.ports.extend(ports);
        workload.network.ports.sort_unstable();
        workload.network.ports.dedup();
    }
}

/// Why a workload cannot become part of an image.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The container's image cannot be used.
    #[error("cannot use the container's image {}", path.display())]
    Container {
        /// The image.
        path: PathBuf,
        /// Why.
        source: ContainerError,
    },
    /// Files cannot be used.
    #[error("cannot use the workload's files")]
    Files(#[source] FilesError),
    /// It is said how, but not what to start.
    #[error("it is said how the workload is started, but no program: give one after `--`")]
    NothingToStart,
    /// The manifest cannot be read.
    #[error("cannot read {}", path.display())]
    ReadManifest {
        /// The manifest.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The manifest cannot be obeyed.
    #[error("the workload's manifest cannot be used")]
    Workload(#[source] WorkloadError),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container() -> ContainerConfig {
        ContainerConfig {
            argv: vec!["/app".into(), "-v".into()],
            env: vec![("A".into(), "1".into())],
            user: Some("app".into()),
            working_directory: Some("/data".into()),
            ..ContainerConfig::default()
        }
    }

    #[test]
    fn a_container_says_how_it_is_started_and_flags_have_the_last_word() {
        let plain = workload(Some(container()), None, &Changes::default()).unwrap().unwrap();
        assert_eq!(plain.argv, ["/app", "-v"]);
        assert_eq!((plain.user.as_str(), plain.working_directory.as_str()), ("app", "/data"));
        assert_eq!(plain.env["PATH"], DEFAULT_PATH);
        let changes = Changes {
            argv: vec!["/other".into()],
            env: vec![("A".into(), "2".into())],
            user: Some("7".into()),
            restart: Some(RestartPolicy::Always),
            ..Changes::default()
        };
        let with_flags = workload(Some(container()), None, &changes).unwrap().unwrap();
        assert_eq!((with_flags.argv, with_flags.user.as_str()), (vec!["/other".to_owned()], "7"));
        assert_eq!(with_flags.env["A"], "2");
        assert_eq!(with_flags.restart.policy, RestartPolicy::Always);
    }

    #[test]
    fn without_a_program_there_is_no_workload_and_no_use_in_saying_how() {
        assert!(workload(None, None, &Changes::default()).unwrap().is_none());
        let changes = Changes { user: Some("7".into()), ..Changes::default() };
        let err = workload(None, None, &changes).unwrap_err();
        assert!(matches!(err, PlanError::NothingToStart));
    }
}
