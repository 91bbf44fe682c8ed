//! A little of AWS Lambda: the coordinator's function, invoked by what the tables' streams say, by a clock,
//! and by hand.
//!
//! ```text
//! streams --mapping--> filter --> batches --+
//! a clock ----------------------> sweeps ---+--> runtime API <--polls-- bailey-coordinator lambda
//! a test ------------------------> events --+
//! ```
//!
//! The function is the real program behind the real runtime API, so it runs here as it does in the cloud.

mod mapping;
mod runtime_api;
mod wire;

use crate::{
    local::{CloudError, LocalCloud},
    processes::Program,
};
use mapping::Mapping;
use nix::sys::signal::Signal;
pub use runtime_api::Invoked;
use runtime_api::RuntimeApi;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::{process::Child, task::JoinSet};

/// How the function is invoked.
#[derive(Clone, Copy, Debug)]
pub struct LambdaOptions {
    /// How many invocations may be under way at a time: one process each.
    pub concurrency: usize,
    /// From one sweep to the next; never, when absent.
    pub sweep_every: Option<Duration>,
    /// Whether the streams are followed.
    pub follows_streams: bool,
}

/// The coordinator as a function. Dropping it ends everything at once.
#[derive(Debug)]
pub struct Lambda {
    api: Arc<RuntimeApi>,
    processes: Vec<Child>,
    tasks: JoinSet<()>,
}

impl Lambda {
    /// Starts the function beside a cloud whose coordinator does not run.
    pub async fn start(cloud: &LocalCloud, options: LambdaOptions) -> Result<Self, CloudError> {
        let api = RuntimeApi::serve().await.map_err(|source| CloudError::Lambda { source })?;
        let api = Arc::new(api);
        let mut tasks = JoinSet::new();
        if options.follows_streams {
            let names = cloud.names();
            for (table, filters) in
                [(&names.enclaves_table, mapping::RECORDS), (&names.hosts_table, mapping::HOSTS)]
            {
                let mapping = Mapping::at_end(cloud, table, filters).await?;
                tasks.spawn(mapping.follow(Arc::clone(&api)));
            }
        }
        if let Some(period) = options.sweep_every {
            tasks.spawn(sweep_every(Arc::clone(&api), period));
        }
        let program = program(cloud, &api)?;
        let start = |_| program.start().map_err(CloudError::io("start", &program.path));
        let processes = (0..options.concurrency).map(start).collect::<Result<_, _>>()?;
        Ok(Self { api, processes, tasks })
    }

    /// Invokes the function and waits for its answer.
    pub async fn invoke(&self, event: Value) -> Invoked {
        self.api.invoke(event).await
    }

    /// Ends the function as Lambda does, without a word, wherever it is.
    pub async fn end(mut self) {
        self.tasks.shutdown().await;
        for process in &mut self.processes {
            let _ = process.kill().await;
        }
    }
}

/// What EventBridge sends on a schedule.
#[must_use]
pub fn scheduled() -> Value {
    json!({ "source": "aws.events", "detail-type": "Scheduled Event", "detail": {} })
}

async fn sweep_every(api: Arc<RuntimeApi>, period: Duration) {
    let mut ticks = tokio::time::interval(period);
    loop {
        ticks.tick().await;
        // What failed is logged by the function; the next sweep does it over.
        let _ = api.invoke(scheduled()).await;
    }
}

/// The function's program, with what Lambda puts into its environment.
fn program(cloud: &LocalCloud, api: &RuntimeApi) -> Result<Program, CloudError> {
    let mut program = cloud.coordinator_program("lambda")?;
    let lambda = [
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
        ("AWS_LAMBDA_FUNCTION_NAME", "bailey-coordinator"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/bailey-coordinator"),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "local"),
        ("AWS_LAMBDA_RUNTIME_API", api.address()),
    ];
    program.environment.extend(lambda.map(|(name, value)| (name.to_owned(), value.into())));
    program.when_orphaned = Signal::SIGKILL;
    Ok(program)
}
