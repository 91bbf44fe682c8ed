"""The scripts for an environment: that each has help and a dry run, and what they do, against the emulator."""

import base64
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import boto3
from emulator import Emulator
from workspace import REPOSITORY

# Arguments with which each can be tried dry.
SCRIPTS = {
    "build-and-publish": ["dev"],
    "connect-table": ["dev", "some-table"],
    "create-backend": [],
    "deploy": ["dev"],
    "destroy": ["dev"],
    "logs": ["dev", "enc_1"],
    "setup-environment": ["dev"],
    "smoke-test": ["dev", "--eif", "s3://images/app.eif"],
    "status": ["dev"],
}
# Of these the dry run looks at AWS.
LOOKS = {"connect-table"}
# The infra environment's own programs come first: `aws` is there.
PATH = f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"


class Checkout:
    """A copy of what the scripts use, so that they may write."""

    def __enter__(self):
        self.directory = tempfile.TemporaryDirectory(prefix="bailey-scripts-")
        self.root = pathlib.Path(self.directory.name)
        for name in ("scripts", "terraform", "tests/aws", "coordinator/event-filters", "coordinator/lambda", "agent/systemd", "ami"):
            shutil.copytree(REPOSITORY / name, self.root / name, ignore=shutil.ignore_patterns(".terraform*", "backend.hcl", "*.auto.tfvars"))
        shutil.copy(REPOSITORY / "LICENSE", self.root)
        return self

    def __exit__(self, *_):
        self.directory.cleanup()

    def take_state(self, workspace, environment):
        """From now on the environment is the one that was applied in a workspace."""
        mine, applied = (root / f"terraform/environments/{environment}" for root in (self.root, workspace.root))
        shutil.copytree(applied, mine, dirs_exist_ok=True)

    def run(self, script, *arguments, variables=None, stdin=""):
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "TF_", "BAILEY_"))}
        environment = {**clean, "PATH": PATH, "HOME": str(self.root), **(variables or {})}
        return subprocess.run(
            [self.root / "scripts" / script, *arguments],
            capture_output=True,
            text=True,
            env=environment,
            input=stdin,
            cwd="/",
        )

    def files(self):
        return {path: path.read_bytes() for path in sorted(self.root.rglob("*")) if path.is_file()}


def without_help_or_dry_run():
    problems = []
    # Nobody answers there: a dry run that called AWS would fail.
    nowhere = {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_MAX_ATTEMPTS": "1",
    }
    with Checkout() as checkout:
        before = checkout.files()
        for script, arguments in SCRIPTS.items():
            helped = checkout.run(script, "--help")
            if helped.returncode or not helped.stdout.startswith(f"usage: {script}"):
                problems.append(f"{script} --help: {helped.stdout}{helped.stderr}")
            text = (REPOSITORY / "scripts" / script).read_text()
            parsed = set(re.findall(r"^    (?:\S+ \| )*(--[a-z-]+)(?: \| --[a-z-]+)*\)", text, re.M))
            unsaid = [flag for flag in parsed if flag not in helped.stdout]
            problems += [f"{script} --help does not say {flag}" for flag in unsaid]
            wrong = checkout.run(script, "--nonsense")
            if wrong.returncode != 2:
                problems.append(f"{script} --nonsense: exit code {wrong.returncode}")
            if script in LOOKS:
                continue
            dry = checkout.run(script, *arguments, "--dry-run", variables=nowhere)
            if dry.returncode or not re.search(r"would ", dry.stdout):
                problems.append(f"{script} --dry-run: {dry.returncode} {dry.stdout}{dry.stderr}")
        changed = [str(path) for path in checkout.files() if before.get(path) != path.read_bytes()]
        problems += [f"a dry run wrote {path}" for path in changed]
    return problems


def unpublished(it):
    """A release is published once: the same again is no work, another one under its name is refused."""
    problems = []

    def expect(what, found, wanted):
        if found != wanted:
            problems.append(f"{what} is {found!r} and should be {wanted!r}")

    with Emulator() as emulator, Checkout() as checkout:
        checkout.take_state(it.workspace, "prod")
        bucket = it.applied.outputs["artifacts_bucket"]
        s3 = client(emulator.url, "s3")
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        # Building takes minutes, and has tests of its own; here its archives are any files.
        built, dist = checkout.root / "built", checkout.root / "scripts/dist"
        archives = {"agent.tar.gz": b"agent", "coordinator-lambda-x86_64.zip": b"coordinator"}
        built.mkdir()
        for name, content in archives.items():
            (built / name).write_bytes(content)
        dist.write_text(f'#!/bin/sh\nset -eu\n[ "$1" = --output ]\ncp {built}/* "$2"\n')
        dist.chmod(0o755)
        variables = {
            **emulator.variables(),
            **it.provider.variables,
            "TF_CLI_CONFIG_FILE": os.devnull,
        }
        publish = lambda: checkout.run("build-and-publish", "prod", "--skip-ami", variables=variables)
        first = publish()
        expect(f"exit code ({first.stdout}{first.stderr})", first.returncode, 0)
        if problems:
            return problems
        values = checkout.root / "terraform/environments/prod/release.auto.tfvars"
        key = "releases/0.1.0/coordinator-lambda-x86_64.zip"
        version = s3.head_object(Bucket=bucket, Key=key)["VersionId"]
        checksum = base64.b64encode(hashlib.sha256(archives["coordinator-lambda-x86_64.zip"]).digest()).decode()
        right = f'coordinator_archive = {{ sha256 = "{checksum}", version = "{version}" }}'
        expect("what is deployed", right in values.read_text(), True)
        # Terraform takes the values, and plans what they say.
        (planned,) = it.workspace.with_values("prod", values).of("aws_lambda_function")
        expect("the function's archive", (planned[1]["source_code_hash"], planned[1]["s3_object_version"]), (checksum, version))
        again = publish()
        expect("a second time", (again.returncode, again.stdout.count("is there already")), (0, 2))
        s3.put_object(Bucket=bucket, Key=key, Body=b"somebody else's", Metadata={"sha256": hashlib.sha256(archives["coordinator-lambda-x86_64.zip"]).hexdigest()})
        replaced = publish()
        expect("an archive that somebody replaced", (replaced.returncode, "is not what was built" in replaced.stderr), (1, True))
        s3.delete_object(Bucket=bucket, Key=key, VersionId=s3.head_object(Bucket=bucket, Key=key)["VersionId"])
        (built / "agent.tar.gz").write_bytes(b"another agent")
        other = publish()
        expect("another one", (other.returncode, "raise `release`" in other.stderr), (1, True))
        (function,) = it.applied.of("aws_lambda_function")
        expect("where the function is taken from", function[1]["s3_key"], "releases/0.1.0/coordinator-lambda-x86_64.zip")
        for name, content in archives.items():
            there = s3.get_object(Bucket=bucket, Key=f"releases/0.1.0/{name}")["Body"].read()
            expect(f"what is published as {name}", there, content)
    return problems


def client(url, service):
    return boto3.client(
        service, endpoint_url=url, region_name="eu-west-1", aws_access_key_id="test", aws_secret_access_key="test"
    )


def against_the_emulator():
    """The backend's bucket, and tables that can be connected or cannot."""
    with Emulator() as emulator, Checkout() as checkout:
        it = Tried(emulator, checkout)
        it.backend()
        it.tables()
        return it.problems


class Tried:
    def __init__(self, emulator, checkout):
        self.variables, self.checkout, self.problems = emulator.variables(), checkout, []

    def expect(self, what, found, wanted):
        if found != wanted:
            self.problems.append(f"{what} is {found!r} and should be {wanted!r}")

    def client(self, service):
        return client(self.variables["AWS_ENDPOINT_URL"], service)

    def script(self, *arguments, code=0):
        ran = self.checkout.run(*arguments, variables=self.variables)
        self.expect(f"exit code of {' '.join(arguments)} ({ran.stdout}{ran.stderr})", ran.returncode, code)
        return ran.stdout + ran.stderr

    def backend(self):
        s3 = self.client("s3")
        account = self.client("sts").get_caller_identity()["Account"]
        bucket = f"bailey-terraform-{account}-eu-west-1"
        self.script("create-backend", "--dry-run")
        self.expect("buckets after a dry run", s3.list_buckets()["Buckets"], [])
        self.script("create-backend")
        self.script("create-backend", "--region", "eu-west-1")
        self.expect("versioning", s3.get_bucket_versioning(Bucket=bucket).get("Status"), "Enabled")
        blocked = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
        self.expect("public access", set(blocked.values()), {True})
        encrypted = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
        self.expect("encryption", encrypted[0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"], "AES256")
        policy = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])
        self.expect("policy", policy["Statement"][0]["Effect"], "Deny")
        for environment in ("dev", "staging", "prod"):
            written = self.checkout.root / f"terraform/environments/{environment}/backend.hcl"
            self.expect("backend.hcl", written.read_text(), f'bucket = "{bucket}"\nregion = "eu-west-1"\n')

    def make_table(self, name, key="id", view=None):
        stream = {"StreamSpecification": {"StreamEnabled": True, "StreamViewType": view}} if view else {}
        self.client("dynamodb").create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
            KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
            **stream,
        )

    def view(self, name):
        table = self.client("dynamodb").describe_table(TableName=name)["Table"]
        return table.get("StreamSpecification", {}).get("StreamViewType")

    def tables(self):
        written = self.checkout.root / "terraform/environments/dev/table.auto.tfvars"
        self.make_table("without-stream")
        self.make_table("ready", view="NEW_AND_OLD_IMAGES")
        self.make_table("keys-only", view="KEYS_ONLY")
        self.make_table("other-key", key="enclaveId")
        self.script("connect-table", "dev", "without-stream", "--dry-run")
        self.expect("stream after a dry run", self.view("without-stream"), None)
        self.expect("values after a dry run", written.exists(), False)
        self.script("connect-table", "dev", "without-stream")
        self.expect("stream", self.view("without-stream"), "NEW_AND_OLD_IMAGES")
        values = 'existing_dynamodb_table_name    = "without-stream"\nexisting_table_has_status_index = false\n'
        self.expect("values", written.read_text().split("\n", 1)[1], values)
        self.script("connect-table", "dev", "without-stream")
        self.script("connect-table", "staging", "ready")
        said = self.script("connect-table", "dev", "keys-only", code=1)
        self.expect("what is said of another view", "has to show NEW_AND_OLD_IMAGES" in said, True)
        self.expect("another view afterwards", self.view("keys-only"), "KEYS_ONLY")
        said = self.script("connect-table", "dev", "other-key", code=1)
        self.expect("what is said of another key", "has to be 'id'" in said, True)
        said = self.script("connect-table", "dev", "nowhere", code=1)
        self.expect("what is said of no table", "there is no table nowhere" in said, True)
