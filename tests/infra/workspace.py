"""Copies of the deployment on which the real terraform runs, against the provider that knows no AWS."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
REPOSITORY = HERE.parents[1]
AMI = "ami-0123456789abcdef0"
# Stands for a deploy after the first image was built.
WITH_IMAGE = {"ami_id": AMI}
# Everything that is off by default and that rights and rules depend on.
TALKATIVE = {
    "log_group_prefix": "/aws/ec2/enclave/",
    "enclave_bucket_arns": ["arn:aws:s3:::theirs"],
    "parents_ingress": [
        {"from_port": 8443, "security_group_id": "sg-0123456789abcdef0"},
        {"from_port": 9000, "to_port": 9010, "cidr_ipv4": "10.1.0.0/16"},
    ],
    "parents_egress": [{"from_port": 443, "cidr_ipv4": "203.0.113.0/24"}],
}
LOCAL_STATE = 'terraform {\n  backend "local" {}\n}\n'
# Used only while there is no ami/component.yaml, and said aloud.
PLACEHOLDER = "name: placeholder\nschemaVersion: 1.0\nparameters:\n" + "".join(
    f"  - {name}:\n      type: string\n" for name in ("ReleaseUri", "ReleaseSha256", "ReleaseBucketOwner", "Ssm")
) + "phases: []\n"


class Failed(Exception):
    """Terraform said no; the text is what it said."""


class Provider:
    """The provider's process, which serves any number of terraforms."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, HERE / "fake_aws.py", HERE / "aws_schema.json"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        address = self.process.stdout.readline().split("|")[3]
        attach = {
            "Protocol": "grpc",
            "ProtocolVersion": 6,
            "Pid": self.process.pid,
            "Test": True,
            "Addr": {"Network": "tcp", "String": address},
        }
        self.variables = {
            "TF_REATTACH_PROVIDERS": json.dumps({"registry.terraform.io/hashicorp/aws": attach})
        }

    def end(self):
        self.process.stdin.close()
        self.process.wait()


class Workspace:
    """A copy of what terraform reads, in which mistakes may be planted."""

    def __init__(self, provider):
        self.variables = provider.variables
        self.directory = tempfile.TemporaryDirectory(prefix="bailey-infra-")
        self.root = pathlib.Path(self.directory.name)
        ignored = shutil.ignore_patterns(".terraform*", "*.tfstate*", "backend.hcl", "*.auto.tfvars")
        for name in ("terraform", "coordinator/event-filters"):
            shutil.copytree(REPOSITORY / name, self.root / name, ignore=ignored)
        component = self.root / "ami/component.yaml"
        component.parent.mkdir()
        original = REPOSITORY / "ami/component.yaml"
        component.write_text(original.read_text() if original.exists() else PLACEHOLDER)
        for environment in self.root.glob("terraform/environments/*"):
            (environment / "backend_override.tf").write_text(LOCAL_STATE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.directory.cleanup()

    def plant(self, path, old, new):
        """Makes a mistake; fails when what it replaces is not there."""
        file = self.root / path
        text = file.read_text()
        if old not in text:
            raise AssertionError(f"cannot plant a mistake: {path} has no {old!r}")
        file.write_text(text.replace(old, new, 1))

    def terraform(self, directory, *arguments, codes=(0,)):
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("TF_", "AWS_"))},
            **self.variables,
            "TF_CLI_CONFIG_FILE": os.devnull,
            "TF_IN_AUTOMATION": "1",
            "CHECKPOINT_DISABLE": "1",
        }
        ran = subprocess.run(
            ["terraform", f"-chdir={self.root / directory}", *arguments],
            capture_output=True,
            text=True,
            env=environment,
        )
        if ran.returncode not in codes:
            raise Failed(ran.stdout + ran.stderr)
        return ran.stdout

    def init(self, directory):
        self.terraform(directory, "init", "-input=false", "-no-color")

    def apply(self, environment, **variables):
        """Applies an environment and gives what it consists of then."""
        directory = f"terraform/environments/{environment}"
        self.init(directory)
        arguments = arguments_of({**WITH_IMAGE, **variables})
        self.terraform(directory, "apply", "-auto-approve", "-input=false", "-no-color", *arguments)
        return Applied(json.loads(self.terraform(directory, "show", "-json")))

    def with_values(self, environment, values):
        """The environment as it would be with a file of values, in a copy that is thrown away."""
        with Workspace(self) as other:
            # As it is applied here.
            shutil.copytree(self.root, other.root, dirs_exist_ok=True)
            shutil.copy(values, other.root / f"terraform/environments/{environment}")
            return other.apply(environment)

    def changes(self, environment, **variables):
        """What a further apply would change, as terraform says it; nothing when it is empty."""
        directory = f"terraform/environments/{environment}"
        arguments = arguments_of({**WITH_IMAGE, **variables})
        text = self.terraform(
            directory, "plan", "-detailed-exitcode", "-input=false", "-no-color", *arguments, codes=(0, 2)
        )
        return "" if "No changes." in text else text


def arguments_of(variables):
    return [
        f"-var={name}={value if isinstance(value, str) else json.dumps(value)}"
        for name, value in variables.items()
        if value is not None
    ]


class Applied:
    """An installation as terraform's state has it."""

    def __init__(self, state):
        self.outputs = {name: it["value"] for name, it in state["values"].get("outputs", {}).items()}
        self.resources = list(resources(state["values"]["root_module"]))

    def of(self, kind):
        """The resources of a type: (address without `module.installation`, values)."""
        return [
            (it["address"].removeprefix("module.installation."), it["values"])
            for it in self.resources
            if it["type"] == kind and it["mode"] == "managed"
        ]

    def one(self, kind):
        ((_, values),) = self.of(kind)
        return values


def resources(module):
    yield from module.get("resources", [])
    for child in module.get("child_modules", []):
        yield from resources(child)
