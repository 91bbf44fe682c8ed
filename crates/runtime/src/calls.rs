//! How many calls of AWS a program makes: each costs money, and a share of an account's limits.

use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{Intercept, context::BeforeTransmitInterceptorContextRef},
        orchestrator::Metadata,
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::config_bag::ConfigBag;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What is called.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Call {
    /// The service, in the SDK's words: `DynamoDB`, `DynamoDB Streams`, `S3`.
    pub service: String,
    /// The operation, in the service's words.
    pub operation: String,
}

/// Counts calls. Clones share the count.
///
/// As an interceptor of an SDK's client it counts every attempt, for AWS charges each.
#[derive(Clone, Debug, Default)]
pub struct Calls(Arc<Mutex<BTreeMap<Call, u64>>>);

impl Calls {
    /// Notes a call that is about to be sent.
    pub fn note(&self, service: &str, operation: &str) {
        let call = Call { service: service.to_owned(), operation: operation.to_owned() };
        let mut counted = self.lock();
        let times = counted.entry(call).or_default();
        *times = times.saturating_add(1);
    }

    /// How often each operation was called until now.
    #[must_use]
    pub fn counted(&self) -> BTreeMap<Call, u64> {
        self.lock().clone()
    }

    /// The same by names, as `<service>.<operation>`.
    #[must_use]
    pub fn by_name(&self) -> BTreeMap<String, u64> {
        let named =
            |(call, times): (&Call, &u64)| (format!("{}.{}", call.service, call.operation), *times);
        self.lock().iter().map(named).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Call, u64>> {
        // Nothing panics while it holds the lock; if it did, the numbers would still be numbers.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intercept for Calls {
    fn name(&self) -> &'static str {
        "Calls"
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(metadata) = config.load::<Metadata>() {
            self.note(metadata.service(), metadata.name());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws;
    use aws_config::{BehaviorVersion, Region, retry::RetryConfig};
    use aws_sdk_dynamodb::config::Credentials;
    use std::time::Duration;
    use tokio::{io::AsyncWriteExt as _, net::TcpListener};

    #[tokio::test]
    async fn every_attempt_is_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let refusing = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.write_all(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n").await;
            }
        });
        let three = RetryConfig::standard().with_max_attempts(3);
        let config = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new("eu-west-1"))
            .endpoint_url(endpoint)
            .credentials_provider(Credentials::new("a", "b", None, None, "test"))
            .retry_config(three.with_initial_backoff(Duration::from_millis(1)))
            .load()
            .await;
        let calls = Calls::default();
        let answer = aws::dynamodb(&config, &calls).list_tables().send().await;
        refusing.abort();
        assert!(answer.is_err());
        let call = Call { service: "DynamoDB".to_owned(), operation: "ListTables".to_owned() };
        assert_eq!(calls.counted(), BTreeMap::from([(call, 3)]));
    }
}
