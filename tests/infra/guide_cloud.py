"""What stands in for AWS while the guide is followed: each has its row in docs/deploy.md."""

import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import urllib.parse
import zipfile

import installation
import scripts
from cloud import PATH, Cloud
from function import Loopback, make_tables
from workspace import AMI, Applied, Workspace

# The web app's table, which is there before Bailey.
THEIRS = "treza-enclaves-dev"
STANDS_IN = [
    "what Terraform makes",
    "S3, DynamoDB, STS, SQS, CloudWatch",
    "EC2",
    "Lambda",
    "EC2 Image Builder",
    "the release",
    "Nitro's root of trust",
]


class ImageBuilder(Loopback):
    """A pipeline whose images are there as soon as somebody has asked twice."""

    def __init__(self):
        self.states, self.started = [], []

    def serve(self, path, body):
        if path == "/StartImagePipelineExecution":
            self.started.append(json.loads(body)["imagePipelineArn"])
            self.states = ["BUILDING", "TESTING", "AVAILABLE"]
            answer = {"requestId": "1", "imageBuildVersionArn": "arn:aws:imagebuilder:eu-west-1:123456789012:image/p/1.0.0/1"}
        elif urllib.parse.urlsplit(path).path == "/GetImage":
            amis = [{"image": AMI, "region": "eu-west-1"}]
            answer = {"requestId": "1", "image": {"state": {"status": self.next_state()}, "outputResources": {"amis": amis}}}
        else:
            return 404, {}, b"{}"
        return 200, {"Content-Type": "application/json"}, json.dumps(answer).encode()


    def next_state(self):
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]


class Place:
    """A reader's machine and account: a checkout, and the local cloud for AWS."""

    def __init__(self, it):
        self.it = it

    def __enter__(self):
        # Which names, templates and subnets the guide will come to; that it does is checked.
        with Workspace(self.it.provider) as foreseen:
            applied = foreseen.apply("dev", existing_dynamodb_table_name=THEIRS, existing_table_has_status_index=False)
        self.cloud = Cloud(self.it, applied)
        self.cloud.open()
        self.checkout = scripts.Checkout().__enter__()
        self.root = self.checkout.root
        self.builder = ImageBuilder().__enter__()
        self.directory = self.root / "terraform/environments/dev"
        self.make_backend_local()
        self.make_release()
        shutil.copy(os.environ["BAILEY_TEST_EIF"], self.root / "app.eif")
        scripts.client(self.url, "dynamodb").create_table(
            TableName=THEIRS,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        )
        return self

    def __exit__(self, *_):
        self.builder.__exit__()
        self.checkout.__exit__()
        self.cloud.__exit__()

    @property
    def url(self):
        return self.cloud.variables["AWS_ENDPOINT_URL"]

    def variables(self):
        """A reader's environment."""
        mine = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "TF_", "BAILEY_"))}
        aws = {k: v for k, v in self.cloud.variables.items() if k.startswith("AWS_")}
        return {
            **mine,
            **aws,
            **self.it.provider.variables,
            "AWS_ENDPOINT_URL_IMAGEBUILDER": self.builder.url,
            "AWS_PAGER": "",
            "HOME": str(self.root),
            "PATH": f"{self.root}/stand-ins:{PATH}",
            "TF_CLI_CONFIG_FILE": os.devnull,
        }

    def make_backend_local(self):
        """The backend as it is, but that S3 is reached by a path: the emulator has one name."""
        text = (self.directory / "versions.tf").read_text()
        (backend,) = re.findall(r'^  backend "s3" \{\n.*?^  \}\n', text, re.M | re.S)
        local = backend.replace("  }\n", "    use_path_style = true\n  }\n")
        (self.directory / "backend_override.tf").write_text(f"terraform {{\n{local}}}\n")

    def make_release(self):
        """What scripts/dist would build in minutes; and a `sleep` that does not, for the image is there at once."""
        built, programs = self.root / "built", self.root / "stand-ins"
        built.mkdir()
        programs.mkdir()
        for name in ("agent.tar.gz", "coordinator-lambda-x86_64.zip"):
            (built / name).write_bytes(name.encode())
        dist = self.root / "scripts/dist"
        dist.write_text(f'#!/bin/sh\nset -eu\n[ "$1" = --output ]\ncp {built}/* "$2"\n')
        (programs / "sleep").write_text("#!/bin/sh\n")
        # The first AWS command line calls SQS by an old name, whatever the environment says.
        real = pathlib.Path(sys.executable).with_name("aws")
        (programs / "aws").write_text(f'''#!/bin/sh
[ "$1" = sqs ] || exec {real} "$@"
exec {real} --endpoint-url "$AWS_ENDPOINT_URL" "$@"
''')
        for program in (dist, programs / "aws", programs / "sleep"):
            program.chmod(0o755)

    def applied(self):
        """What Terraform's state says, which lies in the emulator."""
        shown = subprocess.run(
            ["terraform", f"-chdir={self.directory}", "show", "-json"], env=self.variables(), capture_output=True, text=True, check=True
        )
        return Applied(json.loads(shown.stdout))

    def appear(self):
        """Makes what Terraform made, where it is not there yet: the provider makes nothing."""
        applied = self.applied()
        s3, dynamodb = scripts.client(self.url, "s3"), scripts.client(self.url, "dynamodb")
        there = {it["Name"] for it in s3.list_buckets()["Buckets"]}
        for _, values in applied.of("aws_s3_bucket"):
            if values["bucket"] not in there:
                s3.create_bucket(Bucket=values["bucket"], CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
                s3.put_bucket_versioning(Bucket=values["bucket"], VersioningConfiguration={"Status": "Enabled"})
        tables = set(dynamodb.list_tables()["TableNames"])
        described = [installation.table(values) for _, values in applied.of("aws_dynamodb_table")]
        make_tables(self.url, [it for it in described if it["name"] not in tables])
        for _, values in applied.of("aws_sqs_queue"):
            scripts.client(self.url, "sqs").create_queue(QueueName=values["name"])
        for _, values in applied.of("aws_sns_topic"):
            scripts.client(self.url, "sns").create_topic(Name=values["name"])
        for _, values in applied.of("aws_lambda_function"):
            self.make_function(values)

    def make_function(self, values):
        functions = scripts.client(self.url, "lambda")
        if values["function_name"] in {it["FunctionName"] for it in functions.list_functions()["Functions"]}:
            return
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as written:
            written.writestr("bootstrap", "#!/bin/sh\n")
        functions.create_function(
            FunctionName=values["function_name"],
            Runtime="provided.al2023",
            Handler="bootstrap",
            Role=values["role"],
            Code={"ZipFile": archive.getvalue()},
        )
