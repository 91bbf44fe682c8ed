//! The one call that the coordinator makes to SNS.

use crate::query::{self, ApiError, CallError, Service, XmlError};
use aws_config::SdkConfig;
use bailey_runtime::{calls::Calls, signed::ClientError};
use serde::Deserialize;

static SNS: Service = Service {
    name: "SNS",
    id: "sns",
    version: "2010-03-31",
    endpoint_variable: "AWS_ENDPOINT_URL_SNS",
    error,
};

/// A topic in the coordinator's own region.
#[derive(Debug)]
pub struct Topic {
    client: query::Client,
    arn: String,
}

impl Topic {
    /// The topic with this ARN.
    pub fn new(arn: String, config: &SdkConfig, calls: Calls) -> Result<Self, ClientError> {
        Ok(Self { client: query::Client::new(&SNS, config, calls)?, arn })
    }

    /// Sends a message to whoever subscribed.
    pub async fn publish(&self, message: &str) -> Result<(), CallError> {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let parameters = [pair("TopicArn", &self.arn), pair("Message", message)];
        self.client.call("Publish", &parameters).await.map(drop)
    }
}

#[derive(Debug, Deserialize)]
struct ErrorResponse {
    #[serde(rename = "Error")]
    error: ApiError,
}

fn error(xml: &str) -> Result<ApiError, XmlError> {
    let answer: ErrorResponse = quick_xml::de::from_str(xml)?;
    Ok(answer.error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_read_with_its_code_and_message() {
        let xml = "<ErrorResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><Error>\
            <Type>Sender</Type><Code>NotFound</Code><Message>Topic does not exist</Message>\
            </Error><RequestId>1</RequestId></ErrorResponse>";
        let expected =
            ApiError { code: "NotFound".to_owned(), message: "Topic does not exist".to_owned() };
        assert_eq!(error(xml).unwrap(), expected);
    }
}
