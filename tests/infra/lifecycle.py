"""The real programs on what terraform defines: an enclave's life, and the function's start.

Tables, launch template, role and the coordinator's configuration are terraform's; between the programs and
the emulator stand gates that let pass what their roles' policies allow (gate.py).
"""

import contextlib
import http.server
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading

import calls
import iam_cases
import installation
import metrics
import policies
import scripts
from emulator import Emulator
from gate import Gate, Server, Unclear
from made_up import HERE
from workspace import REPOSITORY

PROGRAMS = pathlib.Path(os.environ["CARGO_TARGET_DIR"]) / "debug"
IMAGE = pathlib.Path(os.environ["BAILEY_TEST_EIF"])
PATH = f"{pathlib.Path(sys.executable).parent}:{PROGRAMS}:{os.environ['PATH']}"
# Calls of the shape `run`, with which Lambda's own doing is replaced here: it reads the streams itself.
BY_RUN = ["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"]
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
        lines = invoked(it.applied, emulator, {"sweep": True}, role_policies(it.applied))
    names = {m["Name"] for line in lines for of in line["_aws"]["CloudWatchMetrics"] for m in of["Metrics"]}
    assert {"api_calls", "enclaves", "sweeps"} <= names <= metrics.emitted(), names
    assert names <= metrics.shown(it.applied)
    (swept,) = [line for line in lines if "sweeps" in line]
    assert swept["outcome"] == "done" and swept["Deployment"] == "bailey-prod", swept


def a_policy_that_lacks_a_call_is_noticed_by_the_program_that_makes_it(it):
    lacking = [policy.replace("dynamodb:Query", "dynamodb:Quarry") for policy in role_policies(it.applied)]
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


def role_policies(applied):
    return policies.role_policies(applied, "coordinator")


class Cloud:
    """The local cloud on what terraform defines, with gates before the emulator and the EC2 simulator."""

    def __init__(self, it):
        self.applied, self.workspace = it.applied, it.workspace
        self.stack = contextlib.ExitStack()
        # A short path: Unix sockets below it have at most 107 characters.
        self.state = pathlib.Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="bi-", dir="/tmp")))

    def __enter__(self):
        template = self.applied.one("aws_launch_template")
        role = self.applied.outputs["parent_role_arn"]
        subnet = template["network_interfaces"][0]["subnet_id"]
        group = template["network_interfaces"][0]["security_groups"][0]
        touched = [
            template["arn"],
            f"arn:aws:ec2:eu-west-1::image/{template['image_id']}",
            f"arn:aws:ec2:{HERE}:subnet/{subnet}",
            f"arn:aws:ec2:{HERE}:security-group/{group}",
            f"arn:aws:ec2:{HERE}:network-interface/*",
            f"arn:aws:ec2:{HERE}:volume/*",
        ]
        launch = {"name": template["name"], "arn": template["arn"], "role": role, "resources": touched}
        by_run = [json.dumps({"Statement": [{"Effect": "Allow", "Action": BY_RUN, "Resource": "*"}]}), self.hosts_described()]
        self.agents = Gate(policies.role_policies(self.applied, "parents"), context=self.at_home)
        self.coordinator = Gate([*role_policies(self.applied), *by_run])
        self.ec2 = Gate(role_policies(self.applied), tags_of=self.tags_of, launch_template=launch)
        described = self.state / "installation.json"
        described.write_text(json.dumps(installation.of(self.applied, self.agents.url)))
        self.local("up", "--detach", "--without-coordinator", "--installation", str(described))
        self.stack.callback(self.local, "down")
        self.variables = self.environment()
        self.agents.upstream = self.coordinator.upstream = self.variables["AWS_ENDPOINT_URL"]
        self.ec2.upstream = self.variables["AWS_ENDPOINT_URL_EC2"]
        topic = self.applied.outputs["topic_arn"].rsplit(":", 1)[1]
        self.client("sns").create_topic(Name=topic)
        self.start_coordinator()
        return self

    def __exit__(self, *_):
        self.stack.close()
        for gate in (self.agents, self.coordinator, self.ec2):
            gate.end()

    def hosts_described(self):
        """`run` looks for the streams of both tables, Lambda is told of them."""
        arn = f"arn:aws:dynamodb:{HERE}:table/{self.applied.outputs['hosts_table']}"
        allow = {"Effect": "Allow", "Action": "dynamodb:DescribeTable", "Resource": arn}
        return json.dumps({"Statement": [allow]})

    def local(self, *arguments):
        ran = subprocess.run(
            [PROGRAMS / "bailey-local", *arguments],
            env={**os.environ, "BAILEY_LOCAL_STATE": str(self.state / "cloud")},
            capture_output=True,
            text=True,
        )
        assert ran.returncode == 0, f"bailey-local {arguments}: {ran.stdout}{ran.stderr}"
        return ran.stdout

    def environment(self):
        text = (self.state / "cloud/env").read_text()
        return dict(re.findall(r"^export (\w+)='(.*)'$", text, re.M))

    def client(self, service):
        return scripts.client(self.variables["AWS_ENDPOINT_URL"], service)

    def start_coordinator(self):
        config = self.state / "coordinator.toml"
        # Terraform's, and what is of the local cloud: root of trust, key for manifests, a sweep now and then.
        terraforms = installation.configuration(self.applied)
        assert "manifest_keys = []\n" in terraforms
        key = self.variables["BAILEY_MANIFEST_PUBLIC_KEY"]
        config.write_text(
            terraforms.replace("manifest_keys = []", f'manifest_keys = ["{key}"]')
            + f'trusted_root = "{self.variables["BAILEY_TRUSTED_ROOT"]}"\nsweep_interval_s = 2\n'
        )
        log = self.stack.enter_context(open(self.state / "coordinator.log", "w"))
        gates = {"AWS_ENDPOINT_URL": self.coordinator.url, "AWS_ENDPOINT_URL_EC2": self.ec2.url}
        process = subprocess.Popen(
            [PROGRAMS / "bailey-coordinator", "run", "--config", config],
            env={**self.variables, **gates, "PATH": PATH},
            stderr=log,
        )
        self.stack.callback(process.wait)
        self.stack.callback(process.terminate)

    def instances(self):
        return json.loads(self.local("status", "--json"))["instances"]

    def at_home(self):
        """What AWS knows of the agent that calls: here there is one instance at a time."""
        living = self.living()
        if len(living) != 1:
            raise Unclear
        (one,) = living
        return {**iam_cases.AT_HOME, "ec2:SourceInstanceARN": f"arn:aws:ec2:{HERE}:instance/{one}"}

    def living(self):
        return [it["id"] for it in self.instances() if it["state"] != "terminated"]

    def tags_of(self, instance):
        (tags,) = [it["tags"] for it in self.instances() if it["id"] == instance]
        return {f"aws:ResourceTag/{name}": value for name, value in tags.items()}

    def upload(self, file, key):
        self.local("upload", str(file), f"s3://{self.applied.outputs['eif_bucket']}/{key}")

    def try_smoke(self, *arguments):
        """scripts/smoke-test, which finds names in terraform's outputs."""
        its_own = {"TF_CLI_CONFIG_FILE": os.devnull, "PATH": PATH}
        aws = {name: value for name, value in self.variables.items() if name.startswith("AWS_")}
        with scripts.Checkout() as checkout:
            checkout.take_state(self.workspace, "prod")
            root = ["--root", self.variables["BAILEY_TRUSTED_ROOT"], "--timeout", "120"]
            return checkout.run("smoke-test", "prod", *arguments, *root, variables={**aws, **its_own})

    def smoke(self, *arguments):
        ran = self.try_smoke(*arguments)
        log = (self.state / "coordinator.log").read_text()[-3000:]
        assert ran.returncode == 0, f"{ran.stdout}{ran.stderr}\nrefused: {self.refused()}\n{log}"

    def unverified_record(self, key):
        wanted = {"eif_path": f"s3://{self.applied.outputs['eif_bucket']}/{key}", "require_verified": True}
        record = {"id": "unverified", "status": "PENDING_DEPLOY", "configuration": wanted}
        file = self.state / "record.json"
        file.write_text(json.dumps(record))
        environment = {**self.variables, "PATH": PATH}
        subprocess.run(["bailey", "deploy", "--record", file], env=environment, check=True, capture_output=True)
        subprocess.run(["bailey", "watch", "unverified", "--timeout", "60"], env=environment, capture_output=True)
        # The message follows the record.
        waiting = threading.Event()
        for _ in range(200):
            if ("sns:Publish", self.applied.outputs["topic_arn"]) in self.coordinator.allowed:
                return
            waiting.wait(0.05)
        raise AssertionError(f"nobody was told: {self.coordinator.refused}")

    def records(self):
        return self.client("dynamodb").scan(TableName=self.applied.outputs["enclaves_table"])["Items"]

    def refused(self):
        return self.agents.refused + self.coordinator.refused + self.ec2.refused

    def coordinators_calls(self):
        return [(arn, action) for action, arn in self.coordinator.allowed | self.ec2.allowed]

    def agents_calls(self):
        return [(arn, action) for action, arn in self.agents.allowed]


def invoked(applied, emulator, event, role):
    """Starts the archive's `bootstrap` with the function's environment, invokes it once, and gives the lines that
    CloudWatch makes metrics of."""
    described = installation.of(applied)
    make_tables(emulator, described["tables"])
    gate, ec2 = Gate(role), Gate(role)
    gate.upstream = emulator.url
    with Runtime(event) as runtime, Templates() as templates, tempfile.TemporaryDirectory() as unpacked:
        ec2.upstream = templates.url
        archive = pathlib.Path(unpacked)
        shutil.copy(REPOSITORY / "coordinator/lambda/bootstrap", archive)
        (archive / "bailey-coordinator").symlink_to(PROGRAMS / "bailey-coordinator")
        environment = {
            **installation.variables(applied),
            **emulator.variables(),
            "AWS_ENDPOINT_URL": gate.url,
            "AWS_ENDPOINT_URL_EC2": ec2.url,
            "BAILEY_CONFIGURATION_DIR": str(archive / "configuration"),
            "PATH": os.environ["PATH"],
            **runtime.variables(),
        }
        process = subprocess.Popen(
            [archive / "bootstrap"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            answer = runtime.answer(process)
        finally:
            process.kill()
            out, err = process.communicate()
    gate.end()
    ec2.end()
    assert answer is not None, f"the function did not answer: {err}"
    return [json.loads(line) for line in out.splitlines() if line.startswith("{") and "_aws" in line]


def make_tables(emulator, tables):
    dynamodb = scripts.client(emulator.url, "dynamodb")
    roles = ("HASH", "RANGE")
    schema = lambda key: [{"AttributeName": name, "KeyType": role} for name, role in zip(key, roles)]
    for it in tables:
        index = it["index"]
        names = sorted({*it["key"], *(index["key"] if index else [])})
        more = {}
        if index:
            projection = {"ProjectionType": index["projection"]}
            more["GlobalSecondaryIndexes"] = [
                {"IndexName": index["name"], "KeySchema": schema(index["key"]), "Projection": projection}
            ]
        dynamodb.create_table(
            TableName=it["name"],
            BillingMode="PAY_PER_REQUEST",
            KeySchema=schema(it["key"]),
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in names],
            **more,
        )


class Loopback:
    """A small HTTP server of one's own, for as long as a block lasts."""

    def __enter__(self):
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def serve(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, headers, text = owner.serve(self.path, body)
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(text))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = serve

        self.server = Server(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        self.url = f"http://{self.address}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


class Runtime(Loopback):
    """Lambda's runtime API, with one event."""

    def __init__(self, event):
        self.events, self.body = [event], None
        self.answered, self.ended = threading.Event(), threading.Event()

    def __exit__(self, *_):
        self.ended.set()
        super().__exit__()

    def variables(self):
        return {
            "AWS_LAMBDA_RUNTIME_API": self.address,
            "AWS_LAMBDA_FUNCTION_NAME": "coordinator",
            "AWS_LAMBDA_FUNCTION_VERSION": "1",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
            "AWS_LAMBDA_LOG_GROUP_NAME": "log",
            "AWS_LAMBDA_LOG_STREAM_NAME": "log",
        }

    def serve(self, path, body):
        if path.endswith("/invocation/next"):
            if not self.events:
                # The function has printed its figures before it asks for more; there is no more.
                self.answered.set()
                self.ended.wait()
                return 410, {}, b""
            headers = {
                "Lambda-Runtime-Aws-Request-Id": "1",
                "Lambda-Runtime-Deadline-Ms": "99999999999999",
                "Lambda-Runtime-Invoked-Function-Arn": f"arn:aws:lambda:{HERE}:function:coordinator",
                "Content-Type": "application/json",
            }
            return 200, headers, json.dumps(self.events.pop()).encode()
        self.body = body
        return 202, {}, b""

    def answer(self, process):
        """What the function answered; none when it ended before."""
        while not self.answered.wait(0.1):
            if process.poll() is not None:
                return None
        return self.body


class Templates(Loopback):
    """As much of EC2 as a sweep of nothing needs."""

    def serve(self, path, body):
        version = (
            b"<DescribeLaunchTemplateVersionsResponse><launchTemplateVersionSet><item><versionNumber>1</versionNumber>"
            b"</item></launchTemplateVersionSet></DescribeLaunchTemplateVersionsResponse>"
        )
        none = b"<DescribeInstancesResponse><reservationSet/></DescribeInstancesResponse>"
        return 200, {"Content-Type": "text/xml"}, version if b"LaunchTemplateVersions" in body else none
