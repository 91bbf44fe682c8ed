//! An enclave's history of reports, verified as an auditor does.

use super::{
    ChaosError,
    check::{Kind, Violation},
    seen::Seen,
    web_app::WebApp,
};
use crate::local::LocalCloud;
use bailey_lifecycle::ledger::ChainHead;
use bailey_model::S3Location;
use std::{fs, path::Path};
use tokio::process::Command;

/// The reports of the web app's enclaves that are parts of whole histories, and what is wrong.
pub(super) async fn check(
    cloud: &LocalCloud,
    seen: &Seen,
    web_app: &WebApp,
) -> Result<(u64, Vec<Violation>), ChaosError> {
    let (mut reports, mut found) = (0, Vec::new());
    for id in web_app.ids() {
        let head = seen.entries.get(&id).and_then(|entry| entry.chain.as_ref());
        let directory = cloud.state_dir().join("histories").join(&id);
        let fetched = fetch(cloud, &id, &directory).await?;
        let broken = |text: String| Violation::new(Kind::BrokenChain, format!("{id}: {text}"));
        match head {
            None if fetched == 0 => {}
            None => found.push(broken(format!("{fetched} reports are stored, and none is known"))),
            Some(head) => match verify(cloud, &directory, head).await? {
                None => reports += fetched,
                Some(said) => found.push(broken(said)),
            },
        }
    }
    Ok((reports, found))
}

/// Copies all of an enclave's reports into a directory; gives how many there are.
async fn fetch(cloud: &LocalCloud, id: &str, directory: &Path) -> Result<u64, ChaosError> {
    let bucket = cloud.names().reports_bucket.clone();
    let prefix = format!("reports/{id}/");
    let mut fetched = 0;
    for key in cloud.keys(&bucket, &prefix).await.map_err(ChaosError::Cloud)? {
        let file = directory.join(key.trim_start_matches(&prefix));
        let location = S3Location { bucket: bucket.clone(), key };
        let report = cloud.object(&location).await.map_err(ChaosError::Cloud)?;
        let place = file.parent().unwrap_or(directory);
        fs::create_dir_all(place).map_err(ChaosError::Reports)?;
        fs::write(&file, report).map_err(ChaosError::Reports)?;
        fetched += 1;
    }
    Ok(fetched)
}

/// What the command line finds wrong with a history that must end with `head`.
async fn verify(
    cloud: &LocalCloud,
    directory: &Path,
    head: &ChainHead,
) -> Result<Option<String>, ChaosError> {
    // It cannot read a directory that is not there, and then has nothing to judge.
    fs::create_dir_all(directory).map_err(ChaosError::Reports)?;
    let mut command = Command::new(cloud.cli());
    command.env_clear().args(["verify", "--chain"]).arg(directory);
    command.args(["--head", &head.sha256]).arg("--root").arg(cloud.trusted_root());
    let output = command.output().await.map_err(ChaosError::Reports)?;
    let said = [output.stdout, output.stderr].concat();
    Ok((!output.status.success()).then(|| String::from_utf8_lossy(&said).into_owned()))
}
