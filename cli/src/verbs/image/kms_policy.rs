//! `bailey image kms-policy`

use crate::{
    exit::{Advise, Exit, Outcome},
    output,
};
use bailey_attestation::pcr3_for_role;
use bailey_model::manifest::{Manifest, Measurements};
use serde_json::{Map, Value, json};
use std::{fs, io, path::PathBuf};

/// Print the key policy statement that lets only this image use a KMS key
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The image's manifest (FILE.manifest.json)
    #[arg(value_name = "MANIFEST")]
    manifest: PathBuf,
    /// The role that calls KMS, as an ARN: the parent's, whose credentials the enclave uses
    #[arg(long, value_name = "ARN")]
    role: String,
    /// The key; in a key's own policy `*`, which means that key
    #[arg(long, value_name = "ARN", default_value = "*")]
    key_arn: String,
    /// By what the enclave is known
    #[arg(long, value_enum, default_value_t = By::Image)]
    by: By,
    /// Let only enclaves on parents with this role (PCR3); usually the same as --role
    #[arg(long, value_name = "ARN")]
    parent_role: Option<String>,
    /// What it may do; may be given several times
    #[arg(long = "action", value_name = "ACTION", value_parser = action, default_values = ACTIONS)]
    actions: Vec<String>,
}

/// By what an enclave is known to KMS.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
enum By {
    /// This image and no other: PCR0 to PCR2, and PCR8 if it is signed
    Image,
    /// Every image that this one's key signed: PCR8 alone, so that a new version needs no new policy
    Signer,
}

/// The operations that take an attestation document and use a key.
const ACTIONS: [&str; 3] = ["kms:Decrypt", "kms:GenerateDataKey", "kms:GenerateDataKeyPair"];
/// All operations for which KMS evaluates the conditions below.
const ATTESTED: [&str; 5] = [
    "kms:Decrypt",
    "kms:DeriveSharedSecret",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyPair",
    "kms:GenerateRandom",
];

const AFTER_HELP: &str = "\
The conditions hold only for requests with an attestation document that KMS has verified (their parameter \
Recipient); what KMS answers then, only that enclave can decrypt. An enclave in debug mode never meets them. \
Another statement of the key's policy, or a grant, may still allow what this one does not: look at those too.

Example:
  bailey image kms-policy demo.eif.manifest.json --role arn:aws:iam::123456789012:role/bailey-parent

Exit codes: 0 printed, 2 the manifest cannot be read or has no such registers.";

pub(super) fn run(args: &Args) -> Outcome {
    let failed = |source| KmsPolicyError::Read { path: args.manifest.clone(), source };
    let text = fs::read(&args.manifest).map_err(failed)?;
    let manifest: Manifest = serde_json::from_slice(&text)
        .map_err(|source| KmsPolicyError::Manifest { path: args.manifest.clone(), source })?;
    output::print_json(&statement(args, &manifest)?)?;
    Ok(Exit::Done)
}

fn action(text: &str) -> Result<String, String> {
    let found = ATTESTED.iter().find(|action| **action == text);
    found
        .map(|action| (*action).to_owned())
        .ok_or_else(|| format!("one of {}", ATTESTED.join(", ")))
}

/// One statement of a key policy (KMS Developer Guide, "Condition keys for Nitro Enclaves").
fn statement(args: &Args, manifest: &Manifest) -> Result<Value, KmsPolicyError> {
    let mut conditions = conditions(args.by, &manifest.measurements)?;
    if let Some(role) = &args.parent_role {
        conditions.insert(register(3), hex::encode(pcr3_for_role(role)).into());
    }
    let name: String = manifest.name.chars().filter(char::is_ascii_alphanumeric).collect();
    Ok(json!({
        "Sid": format!("Enclave{name}"),
        "Effect": "Allow",
        "Principal": {"AWS": args.role},
        "Action": args.actions,
        "Resource": args.key_arn,
        // All of the block have to hold; one that the request does not carry does not.
        "Condition": {"StringEqualsIgnoreCase": conditions}
    }))
}

fn conditions(by: By, measured: &Measurements) -> Result<Map<String, Value>, KmsPolicyError> {
    let signer = measured.pcr8.map(|pcr| (register(8), json!(pcr)));
    match by {
        By::Signer => {
            Ok(signer.map(|one| Map::from_iter([one])).ok_or(KmsPolicyError::Unsigned)?)
        }
        By::Image => {
            // KMS has a name of its own for PCR0.
            let image = ("kms:RecipientAttestation:ImageSha384".to_owned(), json!(measured.pcr0));
            let others = [(register(1), json!(measured.pcr1)), (register(2), json!(measured.pcr2))];
            Ok([image].into_iter().chain(others).chain(signer).collect())
        }
    }
}

fn register(index: u8) -> String {
    format!("kms:RecipientAttestation:PCR{index}")
}

/// Why there is no statement.
#[derive(Debug, thiserror::Error)]
enum KmsPolicyError {
    /// The file is no manifest.
    #[error("`{}` is not the manifest of an image", path.display())]
    Manifest { path: PathBuf, source: serde_json::Error },
    /// The file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// There is no PCR8 to know the signer by.
    #[error("the image is not signed, so no key stands for it; build it with --sign-key")]
    Unsigned,
}

impl Advise for KmsPolicyError {}

#[cfg(test)]
mod tests {
    use super::*;
    use bailey_model::Pcr;
    use clap::Parser;

    const ROLE: &str = "arn:aws:iam::123456789012:role/parent";

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn manifest(signed: bool) -> Manifest {
        Manifest {
            name: "demo app".into(),
            version: "1".into(),
            profile: "aws".into(),
            measurements: Measurements {
                pcr0: Pcr([0xa0; 48]),
                pcr1: Pcr([0xa1; 48]),
                pcr2: Pcr([0xa2; 48]),
                pcr8: signed.then_some(Pcr([0xa8; 48])),
            },
            eif_sha384: Pcr([1; 48]),
            size_bytes: 1,
        }
    }

    fn made(line: &str, signed: bool) -> Result<Value, KmsPolicyError> {
        let line = format!("kms-policy m.json --role {ROLE} {line}");
        statement(&Line::parse_from(line.split_whitespace()).args, &manifest(signed))
    }

    /// Whether KMS would allow an action of a principal with what a verified document states, by the
    /// rules of IAM: every condition has to hold, and one whose key is absent does not.
    fn allows(statement: &Value, action: &str, principal: &str, states: &[(&str, &str)]) -> bool {
        let is_listed = statement["Action"].as_array().unwrap().iter().any(|it| it == action);
        let conditions = statement["Condition"]["StringEqualsIgnoreCase"].as_object().unwrap();
        let hold = conditions.iter().all(|(key, wanted)| {
            let found = states.iter().find(|(name, _)| *name == key);
            found.is_some_and(|(_, value)| value.eq_ignore_ascii_case(wanted.as_str().unwrap()))
        });
        statement["Effect"] == "Allow"
            && statement["Principal"]["AWS"] == principal
            && is_listed
            && hold
    }

    fn document(change: Option<(&str, &str)>) -> Vec<(&'static str, String)> {
        let of = |byte: &str| byte.repeat(48);
        let role = hex::encode(pcr3_for_role(ROLE));
        let mut states = vec![
            ("kms:RecipientAttestation:ImageSha384", of("a0")),
            ("kms:RecipientAttestation:PCR0", of("a0")),
            ("kms:RecipientAttestation:PCR1", of("A1")),
            ("kms:RecipientAttestation:PCR2", of("a2")),
            ("kms:RecipientAttestation:PCR3", role),
            ("kms:RecipientAttestation:PCR8", of("a8")),
        ];
        if let Some((key, byte)) = change {
            states
                .iter_mut()
                .filter(|(name, _)| name.ends_with(key))
                .for_each(|it| it.1 = of(byte));
        }
        states
    }

    fn judged(statement: &Value, document: &[(&'static str, String)]) -> bool {
        let states: Vec<_> = document.iter().map(|(key, value)| (*key, value.as_str())).collect();
        allows(statement, "kms:Decrypt", ROLE, &states)
    }

    #[test]
    fn only_the_image_itself_is_let_and_only_with_a_document() {
        let policy = made(&format!("--parent-role {ROLE}"), true).unwrap();
        assert!(judged(&policy, &document(None)));
        assert!(!judged(&policy, &[]));
        for register in ["ImageSha384", "PCR1", "PCR2", "PCR3", "PCR8"] {
            assert!(!judged(&policy, &document(Some((register, "ff")))), "{register}");
            // As in debug mode.
            assert!(!judged(&policy, &document(Some((register, "00")))), "{register}");
        }
        let made = document(None);
        let states: Vec<_> = made.iter().map(|(key, value)| (*key, value.as_str())).collect();
        assert!(!allows(&policy, "kms:Decrypt", "arn:aws:iam::1:role/other", &states));
        assert!(!allows(&policy, "kms:Encrypt", ROLE, &states));
    }

    #[test]
    fn a_signers_next_image_is_let_when_that_is_asked_for() {
        let policy = made("--by signer", true).unwrap();
        assert!(judged(&policy, &document(Some(("PCR0", "ff")))));
        assert!(!judged(&policy, &document(Some(("PCR8", "ff")))));
        assert!(matches!(made("--by signer", false), Err(KmsPolicyError::Unsigned)));
    }

    #[test]
    fn the_statement_has_the_form_of_a_key_policys() {
        let policy = made("--action kms:Decrypt", false).unwrap();
        assert_eq!(
            policy,
            json!({
                "Sid": "Enclavedemoapp", "Effect": "Allow", "Principal": {"AWS": ROLE},
                "Action": ["kms:Decrypt"], "Resource": "*",
                "Condition": {"StringEqualsIgnoreCase": {
                    "kms:RecipientAttestation:ImageSha384": "a0".repeat(48),
                    "kms:RecipientAttestation:PCR1": "a1".repeat(48),
                    "kms:RecipientAttestation:PCR2": "a2".repeat(48),
                }}
            })
        );
        assert!(
            Line::try_parse_from(["x", "m", "--role", ROLE, "--action", "kms:Encrypt"]).is_err()
        );
    }
}
