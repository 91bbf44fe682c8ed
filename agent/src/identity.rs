//! Which instance this is, by its metadata service (IMDSv2).

use aws_config::imds::client::{Client, error::ImdsError};
use serde::Deserialize;
use std::{error::Error, time::Duration};
use tokio::time::sleep;

const DOCUMENT: &str = "/latest/dynamic/instance-identity/document";
const USER_DATA: &str = "/latest/user-data";

/// Shortly after boot the network may not be up; the service itself answers at once.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// An instance.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// `i-…`.
    pub instance_id: String,
    /// The region.
    pub region: String,
    /// The ARN by which the hosts table knows it.
    pub instance_arn: String,
}

/// The instance metadata service.
#[derive(Clone, Debug)]
pub struct Metadata {
    client: Client,
    endpoint: String,
}

impl Metadata {
    /// The service at `endpoint`, `http://169.254.169.254` on EC2.
    pub fn at(endpoint: &str) -> Result<Self, MetadataError> {
        let client = Client::builder()
            .endpoint(endpoint)
            .map_err(|source| MetadataError::Endpoint { endpoint: endpoint.to_owned(), source })?;
        Ok(Self { client: client.build(), endpoint: endpoint.to_owned() })
    }

    /// The instance's identity; waits until the service answers.
    pub async fn identity(&self) -> Identity {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.identity_once().await {
                Ok(identity) => return identity,
                Err(err) => {
                    let reason = bailey_runtime::chain(&err);
                    log::warn!(error = reason.as_str(); "identity unknown, trying again");
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn identity_once(&self) -> Result<Identity, MetadataError> {
        let text =
            self.client.get(DOCUMENT).await.map_err(|source| self.failed(DOCUMENT, source))?;
        parse(text.as_ref())
    }

    /// The instance's user data; `None` when it has none.
    pub async fn user_data(&self) -> Result<Option<String>, MetadataError> {
        self.value(USER_DATA).await
    }

    /// What the service has at a path; `None` when it has nothing there.
    pub(crate) async fn value(&self, path: &'static str) -> Result<Option<String>, MetadataError> {
        match self.client.get(path).await {
            Ok(text) => Ok(Some(text.as_ref().to_owned())),
            Err(ImdsError::ErrorResponse(err)) if err.response().status().as_u16() == 404 => {
                Ok(None)
            }
            Err(source) => Err(self.failed(path, source)),
        }
    }

    fn failed(&self, path: &'static str, source: ImdsError) -> MetadataError {
        MetadataError::Call { endpoint: self.endpoint.clone(), path, source: Box::new(source) }
    }
}

/// Reads an instance identity document (EC2 user guide, version 2017-09-30).
fn parse(text: &str) -> Result<Identity, MetadataError> {
    let document: Document =
        serde_json::from_str(text).map_err(|source| MetadataError::Document { source })?;
    let Document { account_id, region, instance_id } = document;
    let partition = partition(&region);
    let instance_arn = format!("arn:{partition}:ec2:{region}:{account_id}:instance/{instance_id}");
    Ok(Identity { instance_id, region, instance_arn })
}

fn partition(region: &str) -> &'static str {
    match region {
        region if region.starts_with("cn-") => "aws-cn",
        region if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    account_id: String,
    region: String,
    instance_id: String,
}

/// Why the metadata service did not tell.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// It did not answer, or with an error.
    #[error("cannot read {path} from the metadata service at {endpoint}")]
    Call {
        /// The service.
        endpoint: String,
        /// What was asked for.
        path: &'static str,
        /// The client's reason.
        source: Box<ImdsError>,
    },
    /// The identity document is not of the known form.
    #[error("cannot understand the instance identity document")]
    Document {
        /// The parser's reason.
        source: serde_json::Error,
    },
    /// The configured address is none.
    #[error("`{endpoint}` is not the address of a metadata service")]
    Endpoint {
        /// The address.
        endpoint: String,
        /// The client's reason.
        source: Box<dyn Error + Send + Sync>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
        time::timeout,
    };

    #[test]
    fn the_arn_is_that_of_the_partition() {
        let cases = [
            ("eu-west-1", "arn:aws:ec2:eu-west-1:1:instance/i-0a"),
            ("cn-north-1", "arn:aws-cn:ec2:cn-north-1:1:instance/i-0a"),
            ("us-gov-west-1", "arn:aws-us-gov:ec2:us-gov-west-1:1:instance/i-0a"),
        ];
        for (region, arn) in cases {
            let text = format!(
                r#"{{"accountId":"1","region":"{region}","instanceId":"i-0a","version":"x"}}"#
            );
            assert_eq!(parse(&text).unwrap().instance_arn, arn);
        }
    }

    #[test]
    fn a_document_without_an_id_is_refused() {
        let err = parse(r#"{"accountId":"1","region":"eu-west-1"}"#).unwrap_err();
        assert!(matches!(err, MetadataError::Document { .. }), "{err:?}");
    }

    /// A service that takes the first connections and says nothing, and then answers what is asked.
    async fn slow_service(silent: usize) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let mut held = Vec::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                if held.len() < silent {
                    held.push(stream);
                } else {
                    tokio::spawn(serve(stream));
                }
            }
        });
        endpoint
    }

    async fn serve(mut stream: TcpStream) {
        let mut asked = Vec::new();
        while let Ok(byte) = stream.read_u8().await {
            asked.push(byte);
            if !asked.ends_with(b"\r\n\r\n") {
                continue;
            }
            let (headers, body) = if asked.starts_with(b"PUT") {
                ("x-aws-ec2-metadata-token-ttl-seconds: 21600\r\n", "token")
            } else {
                ("", r#"{"accountId":"1","region":"eu-west-1","instanceId":"i-0a"}"#)
            };
            let length = body.len();
            let answer =
                format!("HTTP/1.1 200 OK\r\n{headers}content-length: {length}\r\n\r\n{body}");
            let _ = stream.write_all(answer.as_bytes()).await;
            asked.clear();
        }
    }

    #[tokio::test]
    async fn a_service_that_does_not_answer_for_a_while_is_asked_again() {
        let metadata = Metadata::at(&slow_service(2).await).unwrap();
        let identity = timeout(Duration::from_mins(1), metadata.identity()).await.unwrap();
        assert_eq!(identity.instance_id, "i-0a");
    }
}
