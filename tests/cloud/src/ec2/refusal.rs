//! EC2's error answers, in the words of EC2's list of error codes.

use super::xml::{Xml, document};
use axum::http::StatusCode;

/// Why a call is refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: StatusCode,
    /// EC2's error code.
    pub code: String,
    /// EC2's text, for people.
    pub message: String,
}

impl Refusal {
    /// A refusal of the client's doing, with status 400.
    #[must_use]
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code: code.to_owned(), message: message.into() }
    }

    /// A parameter that must be there is not.
    #[must_use]
    pub fn missing(name: &str) -> Self {
        let message = format!("The request must contain the parameter {name}");
        Self::new("MissingParameter", message)
    }

    /// A parameter has a value that it cannot have.
    #[must_use]
    pub fn invalid(name: &str, value: &str) -> Self {
        let message = format!("Value ({value}) for parameter {name} is invalid.");
        Self::new("InvalidParameterValue", message)
    }

    /// The answer's body.
    #[must_use]
    pub fn body(&self, request_id: &str) -> String {
        let error = Xml::element("Error").text("Code", &self.code).text("Message", &self.message);
        let response = Xml::element("Response")
            .child(Xml::element("Errors").child(error))
            .text("RequestID", request_id);
        document(&response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_answer_has_the_form_of_ec2() {
        assert_eq!(
            Refusal::missing("A&B").body("r-1"),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error>\
             <Code>MissingParameter</Code>\
             <Message>The request must contain the parameter A&amp;B</Message>\
             </Error></Errors><RequestID>r-1</RequestID></Response>"
        );
    }
}
