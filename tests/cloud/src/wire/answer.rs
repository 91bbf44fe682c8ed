//! The errors with which the services answer when they are in trouble, each in its own form.

use super::{
    call::{Call, Protocol},
    fault::Trouble,
};
use crate::ec2::Refusal;
use axum::http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Bytes;

const MESSAGE: &str = "on demand";

/// The error that the call is answered with.
pub(super) fn error(call: &Call, trouble: Trouble) -> Response<Full<Bytes>> {
    let (status, content_type, body) = match call.protocol {
        Protocol::Json => {
            let (status, code) = match trouble {
                Trouble::InternalError => {
                    (StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError")
                }
                Trouble::Throttling => (StatusCode::BAD_REQUEST, "ThrottlingException"),
            };
            let kind = format!("com.amazonaws.dynamodb.v20120810#{code}");
            let body = serde_json::json!({ "__type": kind, "message": MESSAGE });
            (status, "application/x-amz-json-1.0", body.to_string())
        }
        Protocol::Objects => {
            let (status, code) = match trouble {
                Trouble::InternalError => (StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
                Trouble::Throttling => (StatusCode::SERVICE_UNAVAILABLE, "SlowDown"),
            };
            let body = format!("<Error><Code>{code}</Code><Message>{MESSAGE}</Message></Error>");
            (status, "application/xml", body)
        }
        Protocol::Query => {
            let (status, code) = match trouble {
                Trouble::InternalError => (StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
                Trouble::Throttling => (StatusCode::SERVICE_UNAVAILABLE, "RequestLimitExceeded"),
            };
            let refusal = Refusal { status, ..Refusal::new(code, MESSAGE) };
            (status, "text/xml;charset=UTF-8", refusal.body("wire"))
        }
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
