"""The real programs on what terraform defines: an enclave's life, and the function's start.

Tables, launch template, role and the coordinator's configuration are terraform's; between the programs and
the emulator stand gates that let pass what their roles' policies allow.
"""

import os
import pathlib

import calls
import metrics
import policies
from cloud import BY_RUN, Cloud
from emulator import Emulator
from function import invoked

IMAGE = pathlib.Path(os.environ["BAILEY_TEST_EIF"])
# What the code calls and one good life does not need. Together with what was recorded it has to be
# what the code calls: nothing missing, nothing extra.
NOT_IN_ONE_LIFE = {
    ("ec2", "ec2:StartInstances"),  # pausing
    ("ec2", "ec2:StopInstances"),
    ("enclaves", "dynamodb:Scan"),  # tables without the index
    ("ledger", "dynamodb:DeleteItem"),  # a note of what could not be served
    ("reports", "s3:GetObject"),  # a report that was stored already
}


def an_enclave_lives_and_ends_on_what_terraform_defines_and_its_policies_allow(it):
    with Cloud(it) as cloud:
        cloud.upload(IMAGE, "test.eif")
        cloud.smoke("--eif", f"s3://{it.applied.outputs['eif_bucket']}/test.eif", "--instance-type", "m6i.xlarge")
        # One whose workload prints something, which goes where its parent may write and nowhere else.
        cloud.upload(cloud.talking_image(), "talks.eif")
        messages, days = cloud.logs_of_a_life("talks.eif")
        assert days == 365, f"logs are kept for {days} days"
        assert messages["application"] == ["hello from inside"], messages
        assert messages["attestation"][0].startswith("[PCR] PCR0: "), messages
        # One that nobody vouches for: its manifest is looked for, and people are told.
        cloud.unverified_record("test.eif")
        refused = cloud.refused()
        assert not refused, f"the policies refuse what the programs call: {refused}"
        kind = policies.kinds(it.applied)
        recorded = {(kind(arn, action), action) for arn, action in cloud.coordinators_calls() if action not in BY_RUN}
        recorded = {("ec2" if action.startswith("ec2:") else what, action) for what, action in recorded}
        recorded -= {("hosts", "dynamodb:DescribeTable")}  # of `run`, which looks for the stream
        called = calls.coordinator() - calls.BY_LAMBDA
        assert recorded - called == set(), f"recorded, and not found in the code: {recorded - called}"
        missing = called - recorded - NOT_IN_ONE_LIFE
        assert not missing, f"in the code, and never recorded: {missing}"
        agents = {(kind(arn, action), action) for arn, action in cloud.agents_calls()}
        assert agents == calls.agent(), f"recorded {agents}, in the code {calls.agent()}"


def a_smoke_test_that_fails_leaves_nothing(it):
    with Cloud(it) as cloud:
        ran = cloud.try_smoke("--eif", f"s3://{it.applied.outputs['eif_bucket']}/missing.eif")
        assert ran.returncode == 1, ran.stdout + ran.stderr
        assert "EifNotFound" in ran.stdout + ran.stderr, ran.stdout + ran.stderr
        assert cloud.records() == []
        assert cloud.living() == []


def the_function_starts_as_terraform_configures_it_and_prints_the_metrics_that_are_shown(it):
    with Emulator() as emulator:
        lines = invoked(it.applied, emulator, {"sweep": True}, policies.role_policies(it.applied, "coordinator"))
    names = {m["Name"] for line in lines for of in line["_aws"]["CloudWatchMetrics"] for m in of["Metrics"]}
    assert {"api_calls", "enclaves", "sweeps"} <= names <= metrics.emitted(), names
    assert names <= metrics.shown(it.applied)
    (swept,) = [line for line in lines if "sweeps" in line]
    assert swept["outcome"] == "done" and swept["Deployment"] == "bailey-prod", swept


def a_policy_that_lacks_a_call_is_noticed_by_the_program_that_makes_it(it):
    lacking = [policy.replace("dynamodb:Query", "dynamodb:Quarry") for policy in policies.role_policies(it.applied, "coordinator")]
    with Emulator() as emulator:
        lines = invoked(it.applied, emulator, {"sweep": True}, lacking)
    (swept,) = [line for line in lines if "sweeps" in line]
    assert swept["outcome"] == "incomplete", swept


TESTS = [
    an_enclave_lives_and_ends_on_what_terraform_defines_and_its_policies_allow,
    a_smoke_test_that_fails_leaves_nothing,
    the_function_starts_as_terraform_configures_it_and_prints_the_metrics_that_are_shown,
    a_policy_that_lacks_a_call_is_noticed_by_the_program_that_makes_it,
]
