//! What is in an image file.

use super::{
    layout::{section, table},
    measurement::description,
};
use bailey_eif::ImageMetadata;
use bailey_enclave_image::inspect::{FileEntry, FileKind, Inspection};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// What is in an image, for people.
pub(crate) fn inspection(inspection: &Inspection) -> String {
    let measurement = &inspection.measurement;
    let pcrs: Vec<_> = measurement
        .pcrs()
        .into_iter()
        .map(|(index, pcr)| (format!("PCR{index}"), pcr.to_string()))
        .collect();
    let mut text = section("Measurements", &pcrs);
    text += &section("Image", &about(inspection));
    text += &section("Signature", &signature(inspection));
    text += &section("Workload", &workload(inspection.workload.as_ref()));
    let sections: Vec<_> = measurement
        .sections
        .iter()
        .map(|one| [one.kind.to_string(), one.offset.to_string(), one.size.to_string()])
        .collect();
    text += "\nSections\n";
    text += &table(["  KIND", "OFFSET", "SIZE"], &indented(sections));
    for (index, files) in inspection.ramdisks.iter().enumerate() {
        let _ = write!(text, "\nRamdisk {index}: {} files\n", files.len());
        let rows = files.iter().map(row).collect();
        text += &table(["  MODE", "OWNER", "SIZE", "PATH"], &indented(rows));
    }
    text.trim_start().to_owned()
}

/// The same for programs: the names of `nitro-cli describe-eif`, and more.
pub(crate) fn inspection_json(inspection: &Inspection) -> Value {
    let mut json = description(&inspection.measurement);
    if let Value::Object(map) = &mut json {
        let signature = inspection.signature.as_ref().map(|signature| {
            json!({
                "Subject": signature.subject,
                "Issuer": signature.issuer,
                "NotBefore": signature.not_before,
                "NotAfter": signature.not_after,
            })
        });
        if let Some(signature) = &inspection.signature {
            map.insert("SignatureCheck".to_owned(), signature.verified.into());
        }
        map.insert("SigningCertificate".to_owned(), signature.into());
        map.insert("Architecture".to_owned(), json!(inspection.measurement.architecture));
        map.insert("Cmdline".to_owned(), inspection.cmdline.clone().into());
        map.insert("Profile".to_owned(), inspection.profile.clone().into());
        map.insert("Workload".to_owned(), inspection.workload.clone().into());
        map.insert("Sections".to_owned(), json!(inspection.measurement.sections));
        map.insert("Ramdisks".to_owned(), json!(inspection.ramdisks));
    }
    json
}

fn about(inspection: &Inspection) -> Vec<(&'static str, String)> {
    let measurement = &inspection.measurement;
    let mut pairs = Vec::new();
    let metadata = measurement.metadata.clone();
    if let Some(metadata) =
        metadata.and_then(|json| serde_json::from_value::<ImageMetadata>(json).ok())
    {
        let ImageMetadata { image_name, image_version, build_metadata, .. } = metadata;
        pairs.push(("name", image_name));
        pairs.push(("version", image_version));
        let tool = format!("{} {}", build_metadata.build_tool, build_metadata.build_tool_version);
        pairs.push(("built by", tool));
        pairs.push(("built at", build_metadata.build_time));
        pairs.push(("kernel", build_metadata.kernel_version));
    }
    let profile = match inspection.profile.as_deref() {
        Some("local") => "local: for emulation only".to_owned(),
        Some(other) => other.to_owned(),
        None => "unknown: built by something else".to_owned(),
    };
    pairs.push(("profile", profile));
    pairs.push(("cmdline", inspection.cmdline.clone()));
    pairs.push(("size", format!("{} bytes", measurement.size_bytes)));
    pairs
}

fn signature(inspection: &Inspection) -> Vec<(&'static str, String)> {
    let Some(signature) = &inspection.signature else {
        return vec![("signed", "no".to_owned())];
    };
    let verified = if signature.verified { "yes" } else { "NO: it is not of this image" };
    vec![
        ("signed by", signature.subject.clone()),
        ("verified", verified.to_owned()),
        ("issued by", signature.issuer.clone()),
        ("valid", format!("{} to {}", signature.not_before, signature.not_after)),
    ]
}

/// The manifest's members, each on one line.
fn workload(workload: Option<&Value>) -> Vec<(String, String)> {
    match workload {
        None => vec![("none".to_owned(), "the enclave only attests".to_owned())],
        Some(Value::Object(members)) => {
            members.iter().map(|(name, value)| (name.clone(), value.to_string())).collect()
        }
        Some(other) => vec![("unreadable".to_owned(), other.to_string())],
    }
}

fn row(file: &FileEntry) -> [String; 4] {
    let kind = match file.kind {
        FileKind::Device => 'c',
        FileKind::Directory => 'd',
        FileKind::File => '-',
        FileKind::Link => 'l',
    };
    let target = file.target.as_ref().map(|target| format!(" -> {target}"));
    [
        format!("{kind}{:04o}", file.mode),
        format!("{}:{}", file.uid, file.gid),
        file.size.to_string(),
        format!("{}{}", file.path, target.unwrap_or_default()),
    ]
}

fn indented<const N: usize>(mut rows: Vec<[String; N]>) -> Vec<[String; N]> {
    for row in &mut rows {
        if let Some(first) = row.first_mut() {
            first.insert_str(0, "  ");
        }
    }
    rows
}
