"""Every check of the deployment: `scripts/test-infra` runs this. Ends with `N passed, N failed`.

Terraform is the real one; AWS is none, but the provider of fake_aws.py. Each check gives its problems as
texts, so that the last tests can plant mistakes and see that the check for each says so.
"""

import concurrent.futures
import sys
import time
import traceback

import calls
import documents
import hygiene
import iam_cases
import installation
import lifecycle
import metrics
import mistakes
import policies
import scripts
import walk
from workspace import REPOSITORY, TALKATIVE, WITH_IMAGE, Failed, Provider, Workspace

EXISTING = {
    "existing_dynamodb_table_name": "treza-enclaves-prod",
    "existing_table_has_status_index": False,
    "network": {
        "vpc_id": "vpc-0123456789abcdef0",
        "subnet_ids": ["subnet-0123456789abcdef1", "subnet-0123456789abcdef0"],
        "endpoints_cidr": "10.9.0.0/16",
    },
}
TESTS = []
# What mostly waits for other programs.
BESIDE = [*lifecycle.TESTS, *walk.TESTS]


def test(function):
    TESTS.append(function)
    return function


def beside(function):
    BESIDE.append(function)
    return function


def none(problems):
    assert not problems, "\n".join(problems)


class Infrastructure:
    """What the tests look at, made once: an installation that is applied."""

    def __init__(self):
        self.provider = Provider()
        self.workspace = Workspace(self.provider)
        self.applied = self.workspace.apply("prod", **TALKATIVE)

    def end(self):
        self.workspace.__exit__()
        self.provider.end()


@test
def everything_is_formatted(it):
    it.workspace.terraform("terraform", "fmt", "-check", "-recursive", "-diff")


@test
def a_further_apply_of_production_changes_nothing(it):
    assert it.workspace.changes("prod", **TALKATIVE) == ""


@test
def development_and_staging_are_applied_too(it):
    for environment in ("dev", "staging"):
        applied = it.workspace.apply(environment)
        assert applied.outputs["deployment"] == f"bailey-{environment}"
        # What is not asked for is not there.
        none(hygiene.traffic(applied, {}))
        texts = " ".join(policies.role_policies(applied, "parents") + policies.role_policies(applied, "coordinator"))
        assert "CreateLogGroup" not in texts and "log-stream" not in texts, texts


@test
def before_there_is_an_image_what_it_is_built_with_is_made_and_nothing_else(it):
    with Workspace(it.provider) as fresh:
        first = fresh.apply("dev", ami_id=None)
        assert first.of("aws_imagebuilder_image_pipeline") and first.of("aws_s3_bucket")
        assert not first.of("aws_lambda_function") and not first.of("aws_launch_template")
        second = fresh.apply("dev", **WITH_IMAGE)
        assert second.of("aws_lambda_function") and second.of("aws_launch_template")


@test
def the_modules_own_tests_pass(it):
    for module in sorted((REPOSITORY / "terraform/modules").glob("*/tests")):
        directory = f"terraform/modules/{module.parent.name}"
        it.workspace.init(directory)
        it.workspace.terraform(directory, "test", "-no-color")


@test
def the_coordinator_may_do_what_it_calls_and_nothing_else(it):
    called = calls.coordinator() - {("enclaves", "dynamodb:Scan")}
    none(policies.compared(it.applied, "coordinator", called))


@test
def a_table_without_the_index_and_a_network_that_exist_are_used_as_they_are(it):
    with Workspace(it.provider) as other:
        applied = other.apply("prod", **EXISTING, **TALKATIVE)
    zones = [(one["availability_zone"], one["subnet_id"]) for one in installation.subnets(applied)]
    first, second = EXISTING["network"]["subnet_ids"]
    assert zones == [("eu-west-1b", first), ("eu-west-1a", second)] and not applied.of("aws_vpc")
    # It scans instead of querying.
    called = calls.coordinator() - {("enclaves", "dynamodb:Query")}
    none(policies.compared(applied, "coordinator", called))
    assert not any("enclaves" in address for address, _ in applied.of("aws_dynamodb_table"))


@test
def a_network_that_does_not_fit_is_refused_before_anything_is_changed(it):
    one = EXISTING["network"]["subnet_ids"][0]
    for network, says in [
        ({"vpc_id": "vpc-0fffffffffffffff0", "subnet_ids": [one]}, f"{one} is not in vpc-0fffffffffffffff0"),
        ({"vpc_id": "vpc-0123456789abcdef0", "subnet_ids": []}, "has to name one of subnet_ids"),
        ({"vpc_id": "vpc-0123456789abcdef0", "subnet_ids": [one, one[:-1] + "4"]}, "has to name each zone once"),
    ]:
        with Workspace(it.provider) as other:
            try:
                other.apply("prod", network=network)
            except Failed as refusal:
                assert says in " ".join(str(refusal).replace("│", " ").split()), refusal
            else:
                raise AssertionError(f"{network} is taken")


@test
def an_agent_may_do_what_it_calls_and_nothing_else(it):
    none(policies.compared(it.applied, "parents", calls.agent()))


@test
def no_policy_has_a_wildcard_without_need(it):
    none(policies.wildcards(it.applied))


@test
def every_wildcard_is_listed_with_awss_reason(it):
    none(policies.undocumented(it.applied))


@test
def every_action_condition_and_resource_of_the_policies_exists(it):
    none(policies.lint(it.applied))


@test
def every_policy_is_small_enough_and_every_role_is_for_one_service(it):
    none(policies.sizes(it.applied) + policies.trust(it.applied))


@test
def requests_are_allowed_and_denied_as_they_should_be(it):
    none(iam_cases.wrong(it.applied))


@test
def buckets_are_versioned_encrypted_and_closed(it):
    none(hygiene.buckets(it.applied))


@test
def tables_are_recoverable_protected_and_have_their_streams(it):
    none(hygiene.tables(it.applied))


@test
def parents_are_launched_closed_and_able_to_host_enclaves(it):
    none(hygiene.parents(it.applied))


@test
def nothing_comes_in_and_nothing_leads_to_the_internet(it):
    none(hygiene.network(it.applied))


@test
def parents_are_reached_and_reach_what_is_listed_and_nothing_else(it):
    none(hygiene.traffic(it.applied, TALKATIVE))


@test
def what_the_function_cannot_serve_is_tried_and_then_kept(it):
    none(hygiene.function(it.applied))


@test
def the_image_is_built_with_the_parameters_that_its_component_declares(it):
    none(hygiene.image(it.applied))


@test
def every_alarm_tells_somebody(it):
    none(hygiene.alarms(it.applied))


@test
def dashboard_and_alarms_show_the_metrics_that_the_code_emits(it):
    none(metrics.compared(it.applied))


@test
def the_environments_differ_in_their_values_alone(it):
    none(documents.differing_roots())


@test
def the_readmes_list_every_input_and_output(it):
    none(documents.outdated())


@test
def every_script_has_help_and_a_dry_run_that_changes_nothing(it):
    none(scripts.without_help_or_dry_run())


@beside
def a_backend_is_created_and_a_table_is_connected_once_and_for_all(it):
    none(scripts.against_the_emulator())


@beside
def a_release_is_published_once_and_never_replaced(it):
    none(scripts.unpublished(it))


@test
def mistakes_that_the_schema_forbids_are_refused(it):
    none(mistakes.unnoticed_by_terraform(it.provider))


@test
def mistakes_that_terraform_takes_are_each_noticed(it):
    none(mistakes.unnoticed_by_us(it.provider))


def main(filters):
    started = time.monotonic()
    it = Infrastructure()
    is_chosen = lambda one: not filters or any(part in one.__name__ for part in filters)
    chosen, others = list(filter(is_chosen, TESTS)), list(filter(is_chosen, BESIDE))
    failed = 0
    try:
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            begun = [(one, pool.submit(run, one, it)) for one in others]
            for one in chosen:
                failed += not report(one, run(one, it))
            for one, future in begun:
                failed += not report(one, future.result())
    finally:
        it.end()
    passed = len(chosen) + len(others) - failed
    print(f"\ntook {time.monotonic() - started:.0f} s\n{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


def run(one, it):
    """None, or why the test failed; and how long it took."""
    began = time.monotonic()
    try:
        one(it)
        return None, time.monotonic() - began
    except Exception as error:  # noqa: BLE001 a test may fail in any way
        text = str(error) if isinstance(error, AssertionError) and str(error) else traceback.format_exc()
        return text, time.monotonic() - began


def report(one, outcome):
    why, took = outcome
    print(f"test {one.__name__} ... {'ok' if why is None else 'FAILED'} ({took:.1f} s)", flush=True)
    if why is not None:
        print("\n".join(f"    {line}" for line in why.splitlines()), flush=True)
    return why is None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
