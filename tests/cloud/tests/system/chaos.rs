//! A few random schedules; `make chaos` goes through many.

use crate::system::System;
use bailey_local_cloud::chaos::{Findings, schedule};

#[tokio::test(flavor = "multi_thread")]
async fn random_schedules_on_real_processes_leave_nothing_wrong() {
    let mut system = System::start_with(&[("absence_grace_s", 2)], &[]).await;
    let mut findings = Findings::default();
    for seed in [1, 2] {
        schedule(&mut system.cloud, seed, 3, 12, &mut findings).await.unwrap();
    }
    assert_eq!((findings.violations(), findings.schedules), (0, 2), "{findings:#?}");
    system.end().await;
}
