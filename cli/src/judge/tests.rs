use super::*;
use bailey_attestation::{AttestationDocument, RootFingerprint};
use bailey_manifest::SigningKey;
use bailey_model::{Base64Bytes, EnclaveId, Generation, Pcr, PcrSet, binding, report};
use bailey_simulated_nsm::{Attestation, Authority, Enclave, Mode, SimulatedNsm};
use std::collections::BTreeMap;

pub(crate) const NOW: u64 = 1_735_732_800_000;
const HOUR: u64 = 3_600_000;
const ROLE: &str = "arn:aws:iam::123456789012:role/parent";
const NONCE: [u8; 32] = [7; 32];

/// What somebody does to a copy of a report.
type Edit = fn(&mut report::Report);

pub(crate) struct Scene {
    pub(crate) roots: TrustedRoots,
    document: Vec<u8>,
}

pub(crate) fn scene(mode: Mode) -> Scene {
    let authority = Authority::generate().unwrap();
    let parent = authority.instance("i-0123", ROLE, NOW).unwrap();
    let enclave = Enclave {
        module_id: "i-0123-enc0190".to_owned(),
        measurements: BTreeMap::from([(0, [0xa0; 48]), (1, [0xa1; 48]), (2, [0xa2; 48])]),
        mode,
    };
    let asked = Attestation {
        nonce: Some(NONCE.to_vec()),
        user_data: Some(binding::user_data("demo", 3, &NONCE).to_vec()),
        public_key: None,
    };
    let document = SimulatedNsm::new(parent, enclave).attest(&asked, NOW).unwrap();
    let root = RootFingerprint::of_der(authority.certificate_der());
    Scene { roots: TrustedRoots::only(vec![root]), document }
}

impl Scene {
    pub(crate) fn demands(&self) -> Demands {
        Demands {
            roots: self.roots.clone(),
            nonce: None,
            pcrs: Vec::new(),
            max_age_ms: None,
            instance: None,
            manifest_keys: TrustedKeys::default(),
            production: false,
        }
    }

    fn evidence(&self) -> Evidence {
        Evidence::Document(self.document.clone())
    }

    /// The report that a coordinator would write of the document.
    pub(crate) fn report(&self, verdict: report::Verdict) -> report::Report {
        let verification =
            verify(&self.document, &policy(&self.demands(), AsOf::Now(UnixMillis(NOW))));
        let checks = serde_json::to_value(&verification.checks).unwrap();
        let document = verification.result.unwrap();
        let summaries = document.certificates().iter();
        report::Report {
            schema: report::SCHEMA.to_owned(),
            enclave_id: "demo".parse::<EnclaveId>().unwrap(),
            generation: Generation(3),
            sequence: 1,
            previous: None,
            judged_at: UnixMillis(NOW + 500),
            verdict: Some(verdict),
            rejection: None,
            document: Base64Bytes(self.document.clone()),
            nonce: Base64Bytes(NONCE.to_vec()),
            nonce_issued_at: UnixMillis(NOW - 100),
            checks: serde_json::from_value(checks).unwrap(),
            pcrs: document.pcrs().iter().map(|(index, pcr)| (*index, Pcr(*pcr))).collect(),
            expected_pcrs: PcrSet::from([(0, Pcr([0xa0; 48]))]),
            pcr_source: report::PcrSource::Record,
            manifest: None,
            certificates: summaries
                .map(|summary| report::Certificate {
                    subject: summary.subject.clone(),
                    sha256: summary.sha256.clone(),
                    not_before: UnixMillis(summary.not_before_ms),
                    not_after: UnixMillis(summary.not_after_ms),
                })
                .collect(),
            host: report::Host {
                instance_id: "i-0123".to_owned(),
                instance_type: "m5.xlarge".to_owned(),
                availability_zone: "eu-west-1a".to_owned(),
                role_arn: Some(ROLE.to_owned()),
            },
            software: BTreeMap::new(),
        }
    }

    fn judge_report(&self, report: report::Report) -> Judgement {
        let at = AsOf::Report(report.judged_at);
        judge(&Evidence::Report(Box::new(report)), &self.demands(), at)
    }
}

fn now() -> AsOf {
    AsOf::Now(UnixMillis(NOW))
}

fn code(judgement: &Judgement) -> &'static str {
    judgement.rejection.as_ref().unwrap().code
}

#[test]
fn an_authentic_document_is_accepted_and_what_was_not_checked_is_listed() {
    let scene = scene(Mode::Production);
    let judgement = judge(&scene.evidence(), &scene.demands(), now());
    assert!(judgement.accepted);
    assert!(!judgement.aws_root);
    let open: Vec<_> = judgement.not_checked.iter().map(|entry| entry.what).collect();
    assert_eq!(open, ["measurements", "nonce", "debug mode", "host"]);
}

#[test]
fn a_document_under_a_local_root_is_rejected_under_awss() {
    let scene = scene(Mode::Production);
    let demands = Demands { roots: TrustedRoots::aws(), ..scene.demands() };
    let judgement = judge(&scene.evidence(), &demands, now());
    assert!(!judgement.accepted);
    assert!(judgement.document.is_none());
}

#[test]
fn when_every_demand_is_met_nothing_is_left_open() {
    let scene = scene(Mode::Production);
    let demands = Demands {
        nonce: Some(NonceArgument(NONCE.to_vec())),
        pcrs: vec![PcrArgument { index: 0, value: Pcr([0xa0; 48]) }],
        max_age_ms: Some(1_000),
        instance: Some(InstanceBinding {
            instance_id: "i-0123".to_owned(),
            role_arn: Some(ROLE.to_owned()),
        }),
        production: true,
        ..scene.demands()
    };
    let judgement = judge(&scene.evidence(), &demands, now());
    assert!(judgement.accepted, "{:?}", judgement.rejection);
    assert_eq!(judgement.not_checked, []);
}

#[test]
fn each_demand_that_is_not_met_rejects_by_its_own_code() {
    let production = scene(Mode::Production);
    let evidence = production.evidence();
    let with = |demands: Demands| judge(&evidence, &demands, now());
    let nonce = Some(NonceArgument(vec![8; 32]));
    assert_eq!(code(&with(Demands { nonce, ..production.demands() })), "nonce_mismatch");
    let pcrs = vec![PcrArgument { index: 0, value: Pcr([1; 48]) }];
    assert_eq!(code(&with(Demands { pcrs, ..production.demands() })), "pcr_mismatch");
    let debug = scene(Mode::Debug);
    let demands = Demands { production: true, ..debug.demands() };
    assert_eq!(code(&judge(&debug.evidence(), &demands, now())), "debug");
}

#[test]
fn an_old_document_is_accepted_at_its_own_time_and_not_today() {
    let scene = scene(Mode::Production);
    let today = AsOf::Now(UnixMillis(NOW + 24 * HOUR * 30));
    assert!(!judge(&scene.evidence(), &scene.demands(), today).accepted);
    let judgement = judge(&scene.evidence(), &scene.demands(), AsOf::DocumentsOwn);
    assert!(judgement.accepted);
    assert!(judgement.not_checked.iter().any(|entry| entry.what == "today's time"));
}

#[test]
fn a_report_that_agrees_with_its_document_is_accepted() {
    let scene = scene(Mode::Production);
    let judgement = scene.judge_report(scene.report(report::Verdict::Verified));
    assert!(judgement.accepted, "{:?}", judgement.report_checks);
    assert!(judgement.report_checks.iter().all(|check| check.outcome == Outcome::Passed));
}

/// A report whose expectations come from a manifest of these measurements, with the signer's key.
fn with_manifest(scene: &Scene, pcr0: &str) -> (report::Report, TrustedKeys) {
    let key = SigningKey::from_pem(&SigningKey::generate_pem().unwrap()).unwrap();
    let manifest = serde_json::json!({
        "name": "demo", "version": "1", "profile": "aws", "size_bytes": 1,
        "eif_sha384": "dd".repeat(48),
        "measurements": {
            "PCR0": pcr0.repeat(48), "PCR1": "a1".repeat(48), "PCR2": "a2".repeat(48),
        },
    });
    let envelope = bailey_manifest::sign(manifest.to_string().as_bytes(), &key).unwrap();
    let mut report = scene.report(report::Verdict::Verified);
    report.pcr_source = report::PcrSource::Manifest;
    report.expected_pcrs = (0..=2).map(|i| (i, Pcr([0xa0 + i; 48]))).collect();
    report.manifest = Some(report::SignedManifest {
        location: "s3://images/demo.eif.manifest.dsse.json".parse().unwrap(),
        envelope: Base64Bytes(envelope.into_bytes()),
        key_id: key.public_key().unwrap().id().to_owned(),
    });
    (report, TrustedKeys::new(vec![key.public_key().unwrap()]))
}

#[test]
fn a_report_is_held_against_the_signed_manifest_inside_it() {
    let scene = scene(Mode::Production);
    let (report, keys) = with_manifest(&scene, "a0");
    let (_, other) = with_manifest(&scene, "a0");
    let judged = |report: &report::Report, manifest_keys: &TrustedKeys| {
        let demands = Demands { manifest_keys: manifest_keys.clone(), ..scene.demands() };
        let at = AsOf::Report(report.judged_at);
        judge(&Evidence::Report(Box::new(report.clone())), &demands, at)
    };
    let accepted = judged(&report, &keys);
    assert!(accepted.accepted, "{:?}", accepted.report_checks);
    assert!(accepted.not_checked.iter().all(|entry| entry.what != "measurements"));

    let nobody = judged(&report, &TrustedKeys::default());
    assert!(nobody.accepted);
    assert!(nobody.not_checked.iter().any(|entry| entry.flag == "--manifest-key"));

    let (lying, its_keys) = with_manifest(&scene, "b0");
    let none = report::Report { manifest: None, ..report.clone() };
    for (report, keys) in [(&report, &other), (&lying, &its_keys), (&none, &keys)] {
        let judgement = judged(report, keys);
        let failed = |check: &&Check| check.outcome == Outcome::Failed;
        assert!(!judgement.accepted);
        let names: Vec<_> =
            judgement.report_checks.iter().filter(failed).map(|c| &c.name).collect();
        assert!(names.iter().any(|name| *name == "report_manifest"), "{names:?}");
    }
    assert!(!judged(&none, &TrustedKeys::default()).accepted, "a source that is not shown");
}

#[test]
fn a_bare_document_cannot_meet_the_demand_for_a_signed_manifest() {
    let scene = scene(Mode::Production);
    let (_, manifest_keys) = with_manifest(&scene, "a0");
    let demands = Demands { manifest_keys, ..scene.demands() };
    assert!(!judge(&scene.evidence(), &demands, now()).accepted);
}

#[test]
fn each_edit_of_a_report_shows_in_the_check_of_its_own() {
    let scene = scene(Mode::Production);
    let edits: [(&str, Edit); 10] = [
        ("report_nonce", |report| report.nonce = Base64Bytes(vec![9])),
        ("report_binding", |report| report.generation = Generation(4)),
        ("report_issued_at", |report| report.nonce_issued_at = UnixMillis(NOW + HOUR)),
        ("report_instance", |report| report.host.instance_id = "i-0124".to_owned()),
        ("report_instance_pcr", |report| report.host.instance_id = "i-0124".to_owned()),
        ("report_role_pcr", |report| report.host.role_arn = Some("arn:other".to_owned())),
        ("report_pcrs", |report| _ = report.pcrs.insert(0, Pcr([1; 48]))),
        ("report_pcrs", |report| _ = report.pcrs.remove(&2)),
        ("report_certificates", |report| _ = report.certificates.pop()),
        ("report_verdict", |report| report.pcr_source = report::PcrSource::Agent),
    ];
    for (name, edit) in edits {
        let mut report = scene.report(report::Verdict::Verified);
        edit(&mut report);
        let judgement = scene.judge_report(report);
        assert!(!judgement.accepted, "{name}");
        let failed = |check: &Check| check.name == name && check.outcome == Outcome::Failed;
        assert!(judgement.report_checks.iter().any(failed), "{name}");
    }
}

#[test]
fn a_verdict_stronger_than_its_evidence_is_a_contradiction_and_a_weaker_one_is_not() {
    use report::Verdict::{Authentic, Debug, Verified};
    let accepted = |mode, verdict| {
        let scene = scene(mode);
        scene.judge_report(scene.report(verdict)).accepted
    };
    assert!(accepted(Mode::Production, Authentic));
    assert!(!accepted(Mode::Production, Debug));
    assert!(accepted(Mode::Debug, Debug));
    assert!(!accepted(Mode::Debug, Authentic));
    assert!(!accepted(Mode::Debug, Verified));
}

#[test]
fn a_report_of_a_rejection_is_rejected() {
    let scene = scene(Mode::Production);
    let mut report = scene.report(report::Verdict::Verified);
    report.verdict = None;
    report.rejection = Some("pcr_mismatch".to_owned());
    assert!(!scene.judge_report(report).accepted);
}

#[test]
fn what_is_no_document_is_rejected_and_not_a_failure_to_read() {
    let scene = scene(Mode::Production);
    let judgement = judge(&Evidence::Document(vec![0x84; 40]), &scene.demands(), now());
    assert!(!judgement.accepted);
    assert!(AttestationDocument::parse(&[0x84; 40]).is_err());
}
