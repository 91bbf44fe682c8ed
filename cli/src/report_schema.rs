//! The schema in `docs/report.schema.json` describes the reports that are really written.

use crate::judge::tests::{Scene, scene};
use bailey_model::{
    Base64Bytes,
    report::{PcrSource, Report, SCHEMA, SignedManifest, Verdict},
};
use bailey_simulated_nsm::Mode;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

fn schema() -> Value {
    serde_json::from_str(include_str!("../../docs/report.schema.json")).unwrap()
}

/// A report with every field that there can be.
fn full(scene: &Scene) -> Report {
    let mut report = scene.report(Verdict::Verified);
    report.previous = Some("ab".repeat(32));
    report.pcr_source = PcrSource::Manifest;
    report.manifest = Some(SignedManifest {
        location: "s3://images/demo.eif.manifest.dsse.json".parse().unwrap(),
        envelope: Base64Bytes(b"{}".to_vec()),
        key_id: "cd".repeat(32),
    });
    report.software = [("bailey-agent".to_owned(), "0.1.0".to_owned())].into();
    report
}

/// A report of a rejection, without any field that may be absent.
fn bare(scene: &Scene) -> Report {
    let mut report = scene.report(Verdict::Verified);
    report.verdict = None;
    report.rejection = Some("debug".to_owned());
    report.host.role_arn = None;
    for check in &mut report.checks {
        (check.expected, check.found) = (None, None);
    }
    report
}

/// What in `value` the schema does not allow or does not know.
///
/// It reads the keywords that the schema uses, `pattern` and `propertyNames` aside.
fn faults(root: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if let Some(reference) = schema["$ref"].as_str() {
        let target = root.pointer(reference.trim_start_matches('#')).unwrap();
        faults.extend(self::faults(root, target, value, at));
    }
    if let Some(any) = schema["anyOf"].as_array()
        && !any.iter().any(|schema| self::faults(root, schema, value, at).is_empty())
    {
        faults.push(format!("{at}: fits none of anyOf"));
    }
    let types = match &schema["type"] {
        Value::Array(types) => types.clone(),
        Value::Null => Vec::new(),
        one => vec![one.clone()],
    };
    if !types.is_empty() && !types.contains(&json!(type_of(value))) {
        faults.push(format!("{at}: is {}, not {types:?}", type_of(value)));
    }
    if schema["const"] != Value::Null && schema["const"] != *value {
        faults.push(format!("{at}: is not {}", schema["const"]));
    }
    if schema["enum"].as_array().is_some_and(|allowed| !allowed.contains(value)) {
        faults.push(format!("{at}: {value} is not in enum"));
    }
    let too_small = |least: u64| value.as_u64().is_some_and(|number| number < least);
    if schema["minimum"].as_u64().is_some_and(too_small) {
        faults.push(format!("{at}: {value} is less than the minimum"));
    }
    let length = value.as_str().map_or(0, str::len);
    let fits = |limit: &str, fits: fn(&usize, &usize) -> bool| {
        schema[limit].as_u64().is_none_or(|n| fits(&length, &usize::try_from(n).unwrap()))
    };
    if !fits("minLength", usize::ge) || !fits("maxLength", usize::le) {
        faults.push(format!("{at}: has {length} characters"));
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        faults.extend(self::faults(root, &schema["items"], item, &format!("{at}/{index}")));
    }
    if let (Some(object), Some("object")) = (value.as_object(), schema["type"].as_str()) {
        faults.extend(faults_of_members(root, schema, object, at));
    }
    faults
}

fn faults_of_members(
    root: &Value,
    schema: &Value,
    object: &Map<String, Value>,
    at: &str,
) -> Vec<String> {
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let missing = required.filter(|name| !object.contains_key(*name));
    let mut faults: Vec<_> = missing.map(|name| format!("{at}/{name}: is missing")).collect();
    for (name, member) in object {
        let at = format!("{at}/{name}");
        match schema["properties"].get(name).or_else(|| schema.get("additionalProperties")) {
            Some(schema) => faults.extend(self::faults(root, schema, member, &at)),
            None => faults.push(format!("{at}: is not in the schema")),
        }
    }
    faults
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Array(_) => "array",
        Value::Bool(_) => "boolean",
        Value::Null => "null",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::Object(_) => "object",
        Value::String(_) => "string",
    }
}

fn faults_of(report: &Value) -> Vec<String> {
    let schema = schema();
    faults(&schema, &schema, report, "")
}

fn names<'v>(names: impl IntoIterator<Item = &'v str>) -> BTreeSet<&'v str> {
    names.into_iter().collect()
}

fn keys(value: &Value) -> BTreeSet<&str> {
    names(value.as_object().unwrap().keys().map(String::as_str))
}

#[test]
fn reports_of_every_kind_fit_the_schema() {
    let scenes = [scene(Mode::Production), scene(Mode::Debug)];
    for scene in &scenes {
        for report in [full(scene), bare(scene), scene.report(Verdict::Authentic)] {
            assert_eq!(faults_of(&serde_json::to_value(report).unwrap()), Vec::<String>::new());
        }
    }
}

#[test]
fn the_schema_has_every_field_that_is_written_and_no_other() {
    let scene = scene(Mode::Production);
    let (full, bare) = (full(&scene), bare(&scene));
    let (full, bare) = (json!(full), json!(bare));
    for (definition, place) in [
        ("", ""),
        ("/$defs/check", "/checks/0"),
        ("/$defs/certificate", "/certificates/0"),
        ("/$defs/host", "/host"),
    ] {
        let schema = schema();
        let schema = schema.pointer(definition).unwrap();
        assert_eq!(keys(&schema["properties"]), keys(full.pointer(place).unwrap()));
        let required = schema["required"].as_array().unwrap().iter().filter_map(Value::as_str);
        assert_eq!(names(required), keys(bare.pointer(place).unwrap()), "{definition}");
    }
    assert_eq!(schema()["properties"]["schema"]["const"], SCHEMA);
}

#[test]
fn what_is_no_report_does_not_fit() {
    let mut report = json!(full(&scene(Mode::Production)));
    report["schema"] = json!("bailey.report/2");
    report["previous"] = json!("abc");
    report["verdict"] = json!("trusted");
    report["pcrs"]["0"] = json!("00");
    report["certificates"][0]["not_before"] = json!("2025-01-01");
    report["checks"][0]["remark"] = json!("new");
    report.as_object_mut().unwrap().remove("nonce");
    let mut found = faults_of(&report);
    found.sort();
    let expected = [
        "/certificates/0/not_before: is string, not [String(\"integer\")]",
        "/checks/0/remark: is not in the schema",
        "/nonce: is missing",
        "/pcrs/0: has 2 characters",
        "/previous: fits none of anyOf",
        "/schema: is not \"bailey.report/1\"",
        "/verdict: \"trusted\" is not in enum",
    ];
    let starts = found.iter().zip(expected).all(|(found, expected)| found.starts_with(expected));
    assert!(starts && found.len() == expected.len(), "{found:#?}");
}
