//! What people are told of an enclave that fails, and of one that is degraded.

use crate::system::{LIMIT, System, record};
use bailey_local_cloud::local::{REGION, Record};
use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// The topic's name.
const TOPIC: &str = "told-of-enclaves";

/// A topic, and a queue that subscribes to it.
struct Inbox {
    topic_arn: String,
    queue_url: String,
}

/// Calls a service of the emulator, which believes whatever signature there is.
async fn call(system: &System, service: &str, parameters: &[(&str, &str)]) -> String {
    let address = system.endpoint_url().trim_start_matches("http://");
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(parameters);
    let body = form.finish();
    let length = body.len();
    let scope = format!("test/20250101/{REGION}/{service}/aws4_request");
    let request = format!(
        "POST / HTTP/1.0\r\nHost: {service}.{REGION}.amazonaws.com\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0\r\n\r\n\
         {body}"
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.split_whitespace().nth(1) == Some("200"), "{parameters:?}: {answer}");
    answer
}

impl Inbox {
    async fn open(system: &System) -> Self {
        let queue = [("Action", "CreateQueue"), ("QueueName", "inbox")];
        let answer = call(system, "sqs", &queue).await;
        let queue_url = element(&answer, "QueueUrl").unwrap();
        let topic = [("Action", "CreateTopic"), ("Name", TOPIC)];
        let topic_arn = element(&call(system, "sns", &topic).await, "TopicArn").unwrap();
        // The same account, region and partition.
        let queue_arn = topic_arn.replace(":sns:", ":sqs:").replace(TOPIC, "inbox");
        let subscription = [
            ("Action", "Subscribe"),
            ("TopicArn", topic_arn.as_str()),
            ("Protocol", "sqs"),
            ("Endpoint", queue_arn.as_str()),
        ];
        call(system, "sns", &subscription).await;
        Self { topic_arn, queue_url }
    }

    /// Waits for the next message and takes it.
    async fn next(&self, system: &System) -> Value {
        let receive = [
            ("Action", "ReceiveMessage"),
            ("QueueUrl", self.queue_url.as_str()),
            ("WaitTimeSeconds", "5"),
        ];
        let received = async {
            loop {
                let answer = call(system, "sqs", &receive).await;
                if let Some(body) = element(&answer, "Body") {
                    let receipt = element(&answer, "ReceiptHandle").unwrap();
                    let delete = [
                        ("Action", "DeleteMessage"),
                        ("QueueUrl", self.queue_url.as_str()),
                        ("ReceiptHandle", receipt.as_str()),
                    ];
                    call(system, "sqs", &delete).await;
                    return body;
                }
            }
        };
        let body = tokio::time::timeout(LIMIT, received).await.expect("a message arrives");
        let envelope: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(envelope["TopicArn"], self.topic_arn);
        let message = serde_json::from_str(envelope["Message"].as_str().unwrap()).unwrap();
        println!("{message}");
        message
    }

    async fn is_empty(&self, system: &System) -> bool {
        let receive = [("Action", "ReceiveMessage"), ("QueueUrl", self.queue_url.as_str())];
        element(&call(system, "sqs", &receive).await, "Body").is_none()
    }
}

/// The text of an XML element.
fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(
        text.replace("&quot;", "\"")
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&amp;", "&"),
    )
}

/// A message without the time, which must be one.
fn untimed(mut message: Value) -> Value {
    let at = message.as_object_mut().unwrap().remove("at");
    assert!(at.is_some_and(|at| at.as_str().is_some_and(|at| at.ends_with('Z'))));
    message
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_told_of_a_record_that_fails() {
    let mut system = System::without_coordinator(&[], &[]).await;
    let inbox = Inbox::open(&system).await;
    system.cloud.configure_coordinator("notify_topic_arn", inbox.topic_arn.as_str());
    system.cloud.start_coordinator().unwrap();
    let absent = json!({"eif_path": "s3://your-bucket/absent.eif"});
    system.put_record(&record("fails", &absent)).await.unwrap();
    let failed = system.reaches("fails", "FAILED").await;
    let error = &failed["error"];
    assert_eq!(
        untimed(inbox.next(&system).await),
        json!({
            "deployment": "local", "id": "fails", "generation": 1, "status": "FAILED",
            "phase": "FAILED", "code": "EifNotFound", "message": error["message"],
            "hint": error["hint"],
        })
    );
    // Whoever comes next sees that it was told, once that is written.
    let noted = async {
        while system
            .ledger()
            .await
            .unwrap()
            .iter()
            .any(|entry| entry.get("notified").is_some_and(|it| *it == 0))
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LIMIT, noted).await.expect("what was told is noted");
    system.cloud.restart_coordinator().await.unwrap();
    system.put_record(&record("next", &absent)).await.unwrap();
    assert_eq!(inbox.next(&system).await["id"], "next");
    assert!(inbox.is_empty(&system).await);
    system.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_told_once_of_an_enclave_that_is_degraded() {
    let renewal = [("reattest_interval_s", 1), ("nonce_ttl_s", 2), ("reattest_misses", 100)];
    let mut system = System::without_coordinator(&renewal, &[("attest_timeout_s", 1)]).await;
    let inbox = Inbox::open(&system).await;
    system.cloud.configure_coordinator("notify_topic_arn", inbox.topic_arn.as_str());
    system.cloud.start_coordinator().unwrap();
    system.put_record(&record("silent", &json!({}))).await.unwrap();
    let deployed = system.reaches("silent", "DEPLOYED").await;
    let responder = system.responder_of(&deployed);
    kill(responder, Signal::SIGSTOP).unwrap();
    let message = untimed(inbox.next(&system).await);
    let hint = message["hint"].clone();
    assert_eq!(
        message,
        json!({
            "deployment": "local", "id": "silent", "generation": 1, "status": "DEPLOYED",
            "phase": "DEGRADED", "code": "Degraded",
            "message": "re-attestation: no answer within 2 s", "hint": hint,
        })
    );
    let missed_again =
        |record: &Record| record["deployment"]["warnings"].to_string().contains("3 times in a row");
    system.becomes("silent", "missed three times", missed_again).await;
    assert!(inbox.is_empty(&system).await, "one message, however long it goes on");
    kill(responder, Signal::SIGCONT).unwrap();
    let runs = |record: &Record| record.get("phase").is_some_and(|phase| phase == "RUNNING");
    system.becomes("silent", "RUNNING again", runs).await;
    system.destroy_all(&["silent"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_takes_nothing_delays_nobody_and_is_tried_again() {
    let mut system = System::without_coordinator(&[], &[]).await;
    let missing = Inbox::open(&system).await.topic_arn;
    call(&system, "sns", &[("Action", "DeleteTopic"), ("TopicArn", &missing)]).await;
    system.cloud.configure_coordinator("notify_topic_arn", missing.as_str());
    system.cloud.configure_coordinator("metrics_listen", "127.0.0.1:0");
    system.cloud.start_coordinator().unwrap();
    let absent = json!({"eif_path": "s3://your-bucket/absent.eif"});
    system.put_record(&record("fails", &absent)).await.unwrap();
    system.reaches("fails", "FAILED").await;
    let counted = async {
        while !system.metrics().await.contains("bailey_notices_total{outcome=\"failed\"}") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LIMIT, counted).await.expect("the failure to publish is counted");
    let inbox = Inbox::open(&system).await;
    assert_eq!(inbox.topic_arn, missing);
    assert_eq!(inbox.next(&system).await["id"], "fails");
    system.end().await;
}
