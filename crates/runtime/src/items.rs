//! DynamoDB items as typed values.
//!
//! Both ways lead through JSON, so that an item has exactly the shape of the type's JSON: map keys
//! are texts, absent options are absent attributes.

use aws_sdk_dynamodb::types::AttributeValue;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
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
    serde_json::from_value(Value::Object(to_json(item)?))
        .map_err(|source| ItemError::Decode { source })
}

/// The item as JSON; binary and set attributes become lists.
pub fn to_json(item: Item) -> Result<Map<String, Value>, ItemError> {
    serde_dynamo::from_item(item).map_err(|source| ItemError::Attributes { source })
}

/// Why an item is not a value, or a value no item.
#[derive(Debug, thiserror::Error)]
pub enum ItemError {
    /// The attributes are none that JSON could hold.
    #[error("the item's attributes cannot be read")]
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
        let desired = Desired { version: 7, drain: true, assignments: Vec::new() };
        let item = to_item(&desired).unwrap();
        assert_eq!(item["version"], AttributeValue::N("7".to_owned()));
        assert_eq!(from_item::<Desired>(item).unwrap(), desired);
    }

    #[test]
    fn numbers_as_map_keys_become_text() {
        let pcrs = PcrSet::from([(0, bailey_model::Pcr([1; 48]))]);
        let attribute = to_attribute(&pcrs).unwrap();
        assert!(attribute.as_m().unwrap().contains_key("0"));
    }
}
