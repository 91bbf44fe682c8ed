//! DynamoDB items as typed values.
//!
//! Both ways lead through JSON, so that an item has exactly the shape of the type's JSON: map keys
//! are texts, absent options are absent attributes.

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Number, Value};
use std::collections::HashMap;

/// One item, as the SDK has it.
pub type Item = HashMap<String, AttributeValue>;

/// The item with the fields of `value`.
pub fn to_item<T: Serialize>(value: &T) -> Result<Item, ItemError> {
    let json = serde_json::to_value(value).map_err(|source| ItemError::Encode { source })?;
    serde_dynamo::to_item(json).map_err(|source| ItemError::Attributes { source })
}

/// One attribute with `value`.
pub fn to_attribute<T: Serialize>(value: &T) -> Result<AttributeValue, ItemError> {
    let json = serde_json::to_value(value).map_err(|source| ItemError::Encode { source })?;
    serde_dynamo::to_attribute_value(json).map_err(|source| ItemError::Attributes { source })
}

/// The value whose fields are in `item`.
pub fn from_item<T: DeserializeOwned>(item: Item) -> Result<T, ItemError> {
    serde_json::from_value(Value::Object(to_json(item)))
        .map_err(|source| ItemError::Decode { source })
}

/// The item as JSON. There is one for every item, whatever its attributes: binaries become base64
/// text, sets become lists, and a number that JSON's cannot hold becomes text.
#[must_use]
pub fn to_json(item: Item) -> Map<String, Value> {
    item.into_iter().map(|(name, attribute)| (name, json(attribute))).collect()
}

fn json(attribute: AttributeValue) -> Value {
    let binary = |blob: Blob| Value::from(STANDARD.encode(blob));
    match attribute {
        AttributeValue::B(blob) => binary(blob),
        AttributeValue::Bool(value) => value.into(),
        AttributeValue::Bs(blobs) => blobs.into_iter().map(binary).collect(),
        AttributeValue::L(list) => list.into_iter().map(json).collect(),
        AttributeValue::M(map) => Value::Object(to_json(map)),
        AttributeValue::N(digits) => number(&digits),
        AttributeValue::Ns(numbers) => numbers.iter().map(|digits| number(digits)).collect(),
        AttributeValue::S(text) => text.into(),
        AttributeValue::Ss(texts) => texts.into_iter().map(Value::from).collect(),
        // A null, or a type that came after this version.
        _ => Value::Null,
    }
}

fn number(digits: &str) -> Value {
    match serde_json::from_str::<Number>(digits) {
        Ok(number) => number.into(),
        Err(_) => digits.into(),
    }
}

/// Why an item is not a value, or a value no item.
#[derive(Debug, thiserror::Error)]
pub enum ItemError {
    /// The value has no attributes.
    #[error("the value cannot be written as attributes")]
    Attributes {
        /// The converter's reason.
        source: serde_dynamo::Error,
    },
    /// The item lacks fields, or they have other types.
    #[error("the item is not of the expected form")]
    Decode {
        /// The decoder's reason.
        source: serde_json::Error,
    },
    /// The value has no JSON form.
    #[error("the value cannot be written as an item")]
    Encode {
        /// The encoder's reason.
        source: serde_json::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use bailey_model::{PcrSet, hosts::Desired};

    #[test]
    fn an_item_reads_back_as_the_value_it_was_made_of() {
        let desired = Desired { version: 7, drain: true, ..Desired::default() };
        let item = to_item(&desired).unwrap();
        assert_eq!(item["version"], AttributeValue::N("7".to_owned()));
        assert_eq!(from_item::<Desired>(item).unwrap(), desired);
    }

    #[test]
    fn every_attribute_has_a_json_form() {
        let blob = || Blob::new([0, 255]);
        let item = Item::from([
            ("b".to_owned(), AttributeValue::B(blob())),
            ("bs".to_owned(), AttributeValue::Bs(vec![blob()])),
            ("n".to_owned(), AttributeValue::N("1.5".to_owned())),
            ("ns".to_owned(), AttributeValue::Ns(vec!["1".to_owned()])),
            ("null".to_owned(), AttributeValue::Null(true)),
            ("ss".to_owned(), AttributeValue::Ss(vec!["s".to_owned()])),
        ]);
        let wanted = serde_json::json!({
            "b": "AP8=", "bs": ["AP8="], "n": 1.5, "ns": [1], "null": null, "ss": ["s"],
        });
        assert_eq!(Value::Object(to_json(item)), wanted);
    }

    #[test]
    fn numbers_as_map_keys_become_text() {
        let pcrs = PcrSet::from([(0, bailey_model::Pcr([1; 48]))]);
        let attribute = to_attribute(&pcrs).unwrap();
        assert!(attribute.as_m().unwrap().contains_key("0"));
    }
}
