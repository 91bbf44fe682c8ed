//! Requests to AWS that no SDK makes: where they go, and how they are signed.
//!
//! Pure: time and credentials are arguments. The signature itself is the SDK's own crate.

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use std::{error::Error, time::SystemTime};

/// Which service of which region is asked.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The service's name in signatures and endpoints, such as `kms`.
    pub service: &'a str,
    /// The region, such as `eu-west-1`.
    pub region: &'a str,
}

impl Scope<'_> {
    /// AWS's address of the service, by the region's partition.
    #[must_use]
    pub fn endpoint(self) -> String {
        let Self { service, region } = self;
        let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        format!("https://{service}.{region}.{suffix}")
    }
}

/// A request by POST that is to be signed.
#[derive(Clone, Copy, Debug)]
pub struct Post<'a> {
    /// The whole URL.
    pub url: &'a str,
    /// Headers that are signed, beside those that the signature needs.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a [u8],
}

/// All headers of the request: its own, and those of its signature (AWS's Signature Version 4).
pub fn signed(
    scope: Scope<'_>,
    post: Post<'_>,
    credentials: &Credentials,
    now: SystemTime,
) -> Result<Vec<(String, String)>, Box<dyn Error + Send + Sync>> {
    let identity = credentials.clone().into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(scope.region)
        .name(scope.service)
        .time(now)
        .settings(SigningSettings::default())
        .build()?
        .into();
    let own = || post.headers.iter().copied();
    let body = SignableBody::Bytes(post.body);
    let signable = SignableRequest::new("POST", post.url, own(), body)?;
    let (instructions, _) = sign(signable, &parameters)?.into_parts();
    let all = own().chain(instructions.headers());
    Ok(all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_partition_has_its_endpoint() {
        let endpoint = |service, region| Scope { service, region }.endpoint();
        assert_eq!(endpoint("ec2", "eu-west-1"), "https://ec2.eu-west-1.amazonaws.com");
        assert_eq!(endpoint("sns", "cn-north-1"), "https://sns.cn-north-1.amazonaws.com.cn");
    }

    #[test]
    fn a_request_carries_its_own_headers_and_a_signature_over_them_with_the_session() {
        let credentials = Credentials::new("ASIA", "s", Some("token".into()), None, "test");
        let scope = Scope { service: "kms", region: "eu-west-1" };
        let url = &scope.endpoint();
        let headers = [("content-type", "text/plain"), ("x-amz-target", "TrentService.Decrypt")];
        let post = Post { url, headers: &headers, body: b"{}" };
        let headers = signed(scope, post, &credentials, SystemTime::UNIX_EPOCH).unwrap();
        let value = |name: &str| headers.iter().find(|(key, _)| key == name).unwrap().1.clone();
        assert_eq!(value("x-amz-target"), "TrentService.Decrypt");
        assert_eq!(value("x-amz-security-token"), "token");
        assert_eq!(value("x-amz-date"), "19700101T000000Z");
        let signature = value("authorization");
        assert!(signature.contains("/eu-west-1/kms/aws4_request"), "{signature}");
        assert!(signature.contains("x-amz-target"), "{signature}");
    }
}
