"""The AWS emulator of the local cloud, for checks of scripts: S3, DynamoDB, STS and the others on loopback."""

import os
import pathlib
import socket
import subprocess
import tempfile
import time
import urllib.request

from workspace import REPOSITORY


class Emulator:
    def __enter__(self):
        self.state = tempfile.TemporaryDirectory(prefix="bailey-emulator-")
        state = pathlib.Path(self.state.name)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        environment = {
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            "LAMBDA_EXECUTOR": "local",
            "LOG_LEVEL": "WARNING",
            "MINISTACK_REGION": "eu-west-1",
            "PATH": os.environ["PATH"],
            "S3_DATA_DIR": str(state / "s3"),
            "STATE_DIR": str(state / "state"),
            "TMPDIR": str(state),
        }
        python = pathlib.Path(os.environ["BAILEY_VENV"]) / "bin/python"
        launcher = REPOSITORY / "tests/cloud/src/emulator.py"
        self.process = subprocess.Popen([python, launcher], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not answers(f"{self.url}/_ministack/health"):
            assert self.process.poll() is None and time.monotonic() < deadline, "the emulator does not answer"
            time.sleep(0.05)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.state.cleanup()

    def variables(self):
        """What makes the AWS command line and our programs call the emulator."""
        return {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": "eu-west-1",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_PAGER": "",
        }


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False
