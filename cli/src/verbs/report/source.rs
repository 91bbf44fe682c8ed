//! What an enclave's record says of its reports, and where they are.

use crate::{
    CloudOptions,
    archive::Archive,
    digest::Digest,
    exit::Advise,
    objects::Objects,
    table::Table,
    view::{RecordView, view},
};
use bailey_model::{EnclaveId, S3Location, S3LocationError, projection::AttestationView};

/// An enclave's record and the bucket of its reports.
#[derive(Debug)]
pub(super) struct Source {
    view: RecordView,
    /// Where the record says that the newest accepted report is.
    shown: Option<S3Location>,
    bucket: Option<String>,
    objects: Objects,
}

impl Source {
    /// Reads the record. Of the two buckets that may be known, the one that was `given` counts.
    pub(super) async fn open(
        id: &EnclaveId,
        given: Option<String>,
        cloud: &CloudOptions,
    ) -> Result<Self, Box<dyn Advise>> {
        let view = view(&Table::open(cloud).await.read(id).await?)?;
        let report = proof(&view).map(|proof| proof.report.parse::<S3Location>());
        let shown = report.transpose().map_err(|source| SourceError::Location { source })?;
        let bucket = given.or_else(|| shown.as_ref().map(|location| location.bucket.clone()));
        Ok(Self { view, shown, bucket, objects: Objects::open(cloud).await })
    }

    pub(super) fn id(&self) -> &EnclaveId {
        &self.view.id
    }

    /// The head of the chain of reports, while the record names it.
    pub(super) fn head(&self) -> Option<Digest> {
        proof(&self.view)?.chain_head.as_ref()?.parse().ok()
    }

    /// The enclave's reports in the bucket.
    pub(super) fn archive(self) -> Result<Archive, Box<dyn Advise>> {
        let Self { view, bucket, objects, .. } = self;
        match bucket {
            Some(bucket) => Ok(Archive::new(objects, bucket, &view.id)),
            None => Err(none(view)),
        }
    }

    /// The report that the record names; when it names none, the last one in the bucket, which
    /// may be that of a rejection.
    pub(super) async fn newest(self) -> Result<(S3Location, Vec<u8>), Box<dyn Advise>> {
        if let Some(location) = self.shown {
            let bytes = self.objects.read(&location).await?;
            return Ok((location, bytes));
        }
        let view = self.view.clone();
        let archive = self.archive()?;
        let place = archive.places().await?.pop().ok_or_else(|| none(view))?;
        Ok((archive.location(place), archive.read(place).await?))
    }
}

fn proof(view: &RecordView) -> Option<&AttestationView> {
    view.projection.as_ref()?.attestation.as_ref()
}

fn none(view: RecordView) -> Box<dyn Advise> {
    SourceError::None { id: view.id, status: view.status }.into()
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
enum SourceError {
    /// The record names a place that is none.
    #[error("the record names no place of a report")]
    Location { source: S3LocationError },
    /// No document was judged yet, or the enclave is gone.
    #[error("`{id}` is {status}, and its record names no attestation report")]
    None { id: EnclaveId, status: String },
}

impl Advise for SourceError {
    fn advice(&self) -> Option<String> {
        match self {
            Self::Location { .. } => None,
            Self::None { id, .. } => Some(format!(
                "it names one from the first attestation until the enclave ends; see `bailey show \
                 {id}`, or look into the bucket of reports with --bucket"
            )),
        }
    }
}
