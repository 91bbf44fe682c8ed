//! `bailey-local status`.

use crate::state::StateDir;
use bailey_local_cloud::{
    ec2::{Control, SimulationView},
    processes,
};
use std::{error::Error, fmt::Write as _, process::ExitCode};

/// Shows the instances and processes of a running cloud.
pub(crate) async fn status(state: &StateDir, json: bool) -> Result<ExitCode, Box<dyn Error>> {
    let Some(pid) = state.running() else {
        eprintln!("no local cloud runs in {}", state.path().display());
        return Ok(ExitCode::FAILURE);
    };
    let simulation = Control::new(&state.variable("AWS_ENDPOINT_URL_EC2")?).state().await?;
    if json {
        println!("{}", serde_json::to_string_pretty(&simulation)?);
        return Ok(ExitCode::SUCCESS);
    }
    println!("the local cloud runs as process {pid} in {}", state.path().display());
    print!("{}", render(&simulation));
    for process in processes::of(&std::fs::canonicalize(state.path())?) {
        println!("process {process}");
    }
    Ok(ExitCode::SUCCESS)
}

fn render(simulation: &SimulationView) -> String {
    let mut text = format!("instances launched: {}\n", simulation.launches);
    for instance in &simulation.instances {
        let agent = match instance.agent_pid {
            Some(pid) => format!("agent {pid}, started {} times", instance.agent_starts),
            None => "no agent".to_owned(),
        };
        let _ = writeln!(
            text,
            "{} {} {}: {agent}, enclaves launched {} times",
            instance.id, instance.instance_type, instance.state, instance.enclave_launches
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use bailey_local_cloud::ec2::{InstanceState, InstanceView};

    #[test]
    fn every_instance_has_a_line() {
        let instance = InstanceView {
            id: "i-1".to_owned(),
            state: InstanceState::ShuttingDown,
            history: Vec::new(),
            client_token: None,
            tags: std::collections::BTreeMap::new(),
            instance_type: "m5.xlarge".to_owned(),
            subnet_id: "subnet-1".to_owned(),
            agent_pid: None,
            agent_starts: 1,
            enclave_launches: 2,
            imds: None,
        };
        let view =
            SimulationView { instances: vec![instance], launches: 1, ..SimulationView::default() };
        assert_eq!(
            render(&view),
            "instances launched: 1\n\
             i-1 m5.xlarge shutting-down: no agent, enclaves launched 2 times\n"
        );
    }
}
