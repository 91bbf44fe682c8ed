//! A stream's record in the form in which events carry it.

use aws_sdk_dynamodbstreams::types::{AttributeValue, Record};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// The record as an event source mapping passes it on.
pub(super) fn event(record: &Record) -> Value {
    let change = record.dynamodb();
    let mut dynamodb = Map::new();
    let parts = [
        ("Keys", change.and_then(|change| change.keys())),
        ("OldImage", change.and_then(|change| change.old_image())),
        ("NewImage", change.and_then(|change| change.new_image())),
    ];
    for (name, item) in parts {
        dynamodb.extend(item.map(|item| (name.to_owned(), map(item))));
    }
    let sequence = change.and_then(|change| change.sequence_number());
    dynamodb.insert("SequenceNumber".to_owned(), sequence.into());
    json!({
        "eventID": record.event_id(),
        "eventName": record.event_name().map(|name| name.as_str().to_owned()),
        "eventSource": "aws:dynamodb",
        "dynamodb": dynamodb,
    })
}

fn map(item: &HashMap<String, AttributeValue>) -> Value {
    item.iter().map(|(name, attribute)| (name.clone(), value(attribute))).collect()
}

fn value(attribute: &AttributeValue) -> Value {
    match attribute {
        AttributeValue::B(blob) => json!({ "B": STANDARD.encode(blob) }),
        AttributeValue::Bool(flag) => json!({ "BOOL": flag }),
        AttributeValue::Bs(blobs) => {
            json!({ "BS": blobs.iter().map(|blob| STANDARD.encode(blob)).collect::<Vec<_>>() })
        }
        AttributeValue::L(list) => json!({ "L": list.iter().map(value).collect::<Vec<_>>() }),
        AttributeValue::M(fields) => json!({ "M": map(fields) }),
        AttributeValue::N(digits) => json!({ "N": digits }),
        AttributeValue::Ns(numbers) => json!({ "NS": numbers }),
        AttributeValue::S(text) => json!({ "S": text }),
        AttributeValue::Ss(texts) => json!({ "SS": texts }),
        _ => json!({ "NULL": true }),
    }
}
