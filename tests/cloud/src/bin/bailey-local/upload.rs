//! `bailey-local upload`.

use crate::state::StateDir;
use bailey_local_cloud::local::Clients;
use bailey_model::S3Location;
use std::{error::Error, path::Path};

/// Puts a file into a bucket and prints its version.
pub(crate) async fn upload(
    state: &StateDir,
    file: &Path,
    location: &S3Location,
) -> Result<(), Box<dyn Error>> {
    let content = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let clients = Clients::new(&state.variable("AWS_ENDPOINT_URL")?);
    println!("{}", clients.put_object(location, content).await?);
    Ok(())
}
