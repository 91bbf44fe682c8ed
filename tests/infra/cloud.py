"""The local cloud on what terraform defines: the real coordinator and agents, behind gates (gate.py)."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading

import iam_cases
import installation
import policies
import scripts
from gate import Gate, Unclear
from made_up import HERE

PROGRAMS = pathlib.Path(os.environ["CARGO_TARGET_DIR"]) / "debug"
# Programs for images, as scripts/build makes them.
STATIC = PROGRAMS.parent / "x86_64-unknown-linux-gnu/release"
PATH = f"{pathlib.Path(sys.executable).parent}:{PROGRAMS}:{os.environ['PATH']}"
# Calls of the shape `run`, with which Lambda's own doing is replaced here: it reads the streams itself.
BY_RUN = ["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"]


class Cloud:
    """The local cloud on what terraform defines, with gates before the emulator and the EC2 simulator."""

    def __init__(self, it, applied=None):
        self.applied, self.workspace = applied or it.applied, it.workspace
        self.stack = contextlib.ExitStack()
        # A short path: Unix sockets below it have at most 107 characters.
        self.state = pathlib.Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="bi-", dir="/tmp")))

    def __enter__(self):
        self.open()
        topic = self.applied.outputs["topic_arn"].rsplit(":", 1)[1]
        self.client("sns").create_topic(Name=topic)
        self.start_coordinator()
        return self

    def open(self):
        """Everything but the coordinator."""
        template = self.applied.one("aws_launch_template")
        role = self.applied.outputs["parent_role_arn"]
        (group,) = template["vpc_security_group_ids"]
        touched = [
            template["arn"],
            f"arn:aws:ec2:eu-west-1::image/{template['image_id']}",
            f"arn:aws:ec2:{HERE}:security-group/{group}",
            f"arn:aws:ec2:{HERE}:volume/*",
        ]
        launch = {"name": template["name"], "arn": template["arn"], "role": role, "resources": touched}
        by_run = [json.dumps({"Statement": [{"Effect": "Allow", "Action": BY_RUN, "Resource": "*"}]}), self.hosts_described()]
        self.agents = Gate(policies.role_policies(self.applied, "parents"), context=self.at_home)
        self.coordinator = Gate([*policies.role_policies(self.applied, "coordinator"), *by_run])
        self.ec2 = Gate(policies.role_policies(self.applied, "coordinator"), tags_of=self.tags_of, launch_template=launch)
        described = self.state / "installation.json"
        described.write_text(json.dumps(installation.of(self.applied, self.agents.url)))
        self.local("up", "--detach", "--without-coordinator", "--installation", str(described))
        self.stack.callback(self.local, "down")
        self.variables = self.environment()
        self.agents.upstream = self.coordinator.upstream = self.variables["AWS_ENDPOINT_URL"]
        self.ec2.upstream = self.variables["AWS_ENDPOINT_URL_EC2"]

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

    def talking_image(self):
        """An image whose workload prints a line and waits."""
        tree = self.state / "tree"
        (tree / "app").mkdir(parents=True)
        shutil.copy(STATIC / "test-workload", tree / "app/workload")
        image = self.state / "talks.eif"
        kernel = ["--profile", "local", "--kernel-dir", os.environ["BAILEY_KERNEL"]]
        content = ["--keep", STATIC / "keep", "--directory", tree, "--name", "talks", "--output", image]
        command = ["bailey", "image", "build", *kernel, *content, "--", "/app/workload", "say", "hello from inside", "wait"]
        self.bailey(*command[1:])
        return image

    def bailey(self, *arguments):
        environment = {**self.variables, "PATH": PATH}
        ran = subprocess.run(["bailey", *arguments], env=environment, capture_output=True, text=True)
        assert ran.returncode == 0, f"bailey {arguments}: {ran.stdout}{ran.stderr}\nrefused: {self.refused()}"
        return ran.stdout

    def logs_of_a_life(self, key):
        """What an enclave's log group holds after a life, {stream: messages}, and for how long it is kept."""
        self.bailey("deploy", "talks", "--eif", f"s3://{self.applied.outputs['eif_bucket']}/{key}", "--wait", "--timeout", "120")
        logs, group = self.client("logs"), "/aws/ec2/enclave/talks"
        waiting = threading.Event()
        for _ in range(200):
            streams = {it["logStreamName"] for it in logs.describe_log_streams(logGroupName=group)["logStreams"]}
            if {"application", "attestation", "system"} <= streams:
                break
            waiting.wait(0.1)
        read = lambda name: logs.get_log_events(logGroupName=group, logStreamName=name, startFromHead=True)["events"]
        messages = {name: [it["message"] for it in read(name)] for name in streams}
        (described,) = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
        self.bailey("destroy", "talks", "--wait", "--timeout", "120")
        return messages, described.get("retentionInDays")

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
