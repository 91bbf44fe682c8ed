//! `bailey eif publish`

use crate::{
    CloudOptions,
    exit::{Advise, Exit, Outcome},
    objects::Objects,
    output, render,
    upload::{self, Checked, Crc64, Upload, UploadError},
};
use bailey_eif::{Measurement, ReadError};
use bailey_manifest::{ENVELOPE_SUFFIX, KeyError, SignError, SigningKey};
use bailey_model::{
    Pcr, S3Location,
    manifest::{Manifest, Measurements},
};
use serde_json::{Map, Value, json};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// Upload an image, with its manifest beside it
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The image file
    file: PathBuf,
    /// Where it goes
    #[arg(value_name = "s3://BUCKET/KEY")]
    to: S3Location,
    /// Sign the manifest with this private key (PEM), so that the coordinator believes it
    #[arg(long, value_name = "FILE", env = "BAILEY_MANIFEST_KEY")]
    sign_key: Option<PathBuf>,
    /// Print JSON: the fields of a record that deploys exactly this image
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Measures the file first; one that is no good image is not uploaded. Then KEY.manifest.json is written beside the \
image, with --sign-key also KEY.manifest.dsse.json, where the coordinator looks for it, and the image last and all \
at once. The manifest of `bailey image build` (FILE.manifest.json) is taken when it is about this very file.

The credentials need s3:PutObject and s3:AbortMultipartUpload on the three keys.

Examples:
  bailey eif publish demo.eif s3://your-bucket/demo.eif
  bailey eif publish demo.eif s3://your-bucket/demo.eif --sign-key images.key --json

Exit codes: 0 published, 1 the file is no good image, 2 it could not be read, signed or uploaded.";

/// Where a manifest lies that is not signed: at the image's name with this after it.
const MANIFEST_SUFFIX: &str = ".manifest.json";

pub(crate) async fn run(args: Args, cloud: &CloudOptions) -> Outcome {
    let key = args.sign_key.as_deref().map(read_key).transpose()?;
    let (measurement, sha384, crc64) = measure(&args.file)?;
    let manifest = manifest(&args.file, &measurement, sha384);
    let text = manifest_text(&manifest)?;
    let envelope = key
        .map(|key| bailey_manifest::sign(&text, &key))
        .transpose()
        .map_err(|source| PublishError::Sign { source })?;

    let objects = Objects::open(cloud).await;
    let upload = Upload {
        client: objects.client(),
        file: args.file.clone(),
        to: &args.to,
        size_bytes: measurement.size_bytes,
        crc64,
    };
    let staged = upload.stage().await?;
    // The image comes last: whoever sees it finds a manifest that is about it.
    if let Err(err) = put_manifests(&objects, &args.to, text, envelope.as_deref()).await {
        upload.abandon(staged).await;
        return Err(err.into());
    }
    let version_id = upload.finish(staged).await?;

    let is_signed = envelope.is_some();
    if !is_signed && objects.exists(&beside(&args.to, ENVELOPE_SUFFIX)).await {
        output::complain(&stale_warning(&args.to));
    }
    let fields = record_fields(&args.to, version_id.as_deref(), &manifest);
    if args.json {
        output::print_json(&fields)?;
    } else {
        output::print(&told(&args.to, is_signed, &measurement, &fields))?;
    }
    Ok(Exit::Done)
}

fn read_key(path: &Path) -> Result<SigningKey, PublishError> {
    let text = fs::read_to_string(path)
        .map_err(|source| PublishError::Read { path: path.to_owned(), source })?;
    SigningKey::from_pem(&text)
        .map_err(|source| PublishError::Key { path: path.to_owned(), source })
}

/// What the file measures to, its SHA-384, and its CRC-64, in one pass.
fn measure(file: &Path) -> Result<(Measurement, Pcr, String), PublishError> {
    let source =
        File::open(file).map_err(|source| PublishError::Read { path: file.to_owned(), source })?;
    let mut crc = Crc64::new();
    let measured = bailey_eif::measure_file_with_sha384(Checked { source, crc: &mut crc });
    let (measurement, sha384) =
        measured.map_err(|source| PublishError::Measure { file: file.to_owned(), source })?;
    Ok((measurement, sha384, crc.finish()))
}

/// The builder's manifest when it is about this file, else one of what the file itself says.
fn manifest(file: &Path, measurement: &Measurement, eif_sha384: Pcr) -> Manifest {
    let mut name = file.as_os_str().to_owned();
    name.push(MANIFEST_SUFFIX);
    let built = fs::read(name).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let own = Manifest {
        name: said(measurement, "ImageName"),
        version: said(measurement, "ImageVersion"),
        // Whose kernel it is the file does not say; what nitro-cli builds has AWS's.
        profile: "aws".to_owned(),
        measurements: Measurements {
            pcr0: measurement.pcr0,
            pcr1: measurement.pcr1,
            pcr2: measurement.pcr2,
            pcr8: measurement.pcr8,
        },
        eif_sha384,
        size_bytes: measurement.size_bytes,
    };
    built
        .filter(|built: &Manifest| {
            built.eif_sha384 == own.eif_sha384
                && built.measurements == own.measurements
                && built.size_bytes == own.size_bytes
        })
        .unwrap_or(own)
}

/// A text of the image's metadata, or nothing.
fn said(measurement: &Measurement, name: &str) -> String {
    let metadata = measurement.metadata.as_ref();
    metadata.and_then(|metadata| metadata.get(name)?.as_str()).unwrap_or_default().to_owned()
}

fn manifest_text(manifest: &Manifest) -> Result<Vec<u8>, PublishError> {
    let mut text =
        serde_json::to_vec_pretty(manifest).map_err(|source| PublishError::Encode { source })?;
    text.push(b'\n');
    Ok(text)
}

async fn put_manifests(
    objects: &Objects,
    to: &S3Location,
    text: Vec<u8>,
    envelope: Option<&str>,
) -> Result<(), UploadError> {
    upload::put(objects.client(), &beside(to, MANIFEST_SUFFIX), text).await?;
    if let Some(envelope) = envelope {
        let text = format!("{envelope}\n").into_bytes();
        upload::put(objects.client(), &beside(to, ENVELOPE_SUFFIX), text).await?;
    }
    Ok(())
}

fn beside(image: &S3Location, suffix: &str) -> S3Location {
    S3Location { bucket: image.bucket.clone(), key: format!("{}{suffix}", image.key) }
}

/// What a record has to say to deploy this image and no other.
fn record_fields(to: &S3Location, version_id: Option<&str>, manifest: &Manifest) -> Value {
    let pcrs = manifest.measurements.pcrs();
    let mut fields = Map::from_iter([
        ("eif_path".to_owned(), json!(to)),
        ("eif_sha384".to_owned(), json!(manifest.eif_sha384)),
        ("expected_pcrs".to_owned(), json!(pcrs)),
    ]);
    // A bucket without versions calls the only one `null`.
    if let Some(version_id) = version_id.filter(|id| *id != "null") {
        fields.insert("eif_version_id".to_owned(), version_id.into());
    }
    fields.into()
}

fn told(to: &S3Location, is_signed: bool, measurement: &Measurement, fields: &Value) -> String {
    let manifest = beside(to, MANIFEST_SUFFIX);
    let signed = if is_signed {
        format!("signed manifest: {}\n", beside(to, ENVELOPE_SUFFIX))
    } else {
        String::new()
    };
    let measured = render::measurement(measurement);
    format!(
        "image:           {to}\nmanifest:        {manifest}\n{signed}\n{measured}\n\
         For the record\n{fields:#}\n"
    )
}

fn stale_warning(to: &S3Location) -> String {
    format!(
        "bailey: warning: {} is there and was not renewed; if it is about another file, deploys \
         with it fail\n        publish with --sign-key, or remove it\n",
        beside(to, ENVELOPE_SUFFIX)
    )
}

/// Why an image is not published.
#[derive(Debug, thiserror::Error)]
enum PublishError {
    /// The manifest has no JSON form.
    #[error("cannot write the manifest as JSON")]
    Encode { source: serde_json::Error },
    /// The key cannot be used.
    #[error("the key `{}` cannot be used", path.display())]
    Key { path: PathBuf, source: KeyError },
    /// The file is not a good image, or reading it failed.
    #[error("cannot measure `{}`; nothing was uploaded", file.display())]
    Measure { file: PathBuf, source: ReadError },
    /// A file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// The manifest cannot be signed.
    #[error("cannot sign the manifest")]
    Sign { source: SignError },
}

impl Advise for PublishError {
    fn exit(&self) -> Exit {
        match self {
            Self::Measure { source: ReadError::Eif(_), .. } => Exit::Negative,
            _ => Exit::Unable,
        }
    }

    fn advice(&self) -> Option<String> {
        match self {
            Self::Measure { source: ReadError::Eif(_), .. } => {
                Some("build the image again, or copy it whole".to_owned())
            }
            Self::Key { .. } => Some("`bailey image new-key` makes one that serves".to_owned()),
            _ => None,
        }
    }
}
