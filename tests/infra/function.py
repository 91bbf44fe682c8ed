"""The coordinator's function, started as Lambda starts it, with the environment that terraform gives it."""

import http.server
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import threading

import installation
import scripts
from cloud import PROGRAMS
from gate import Gate, Server
from made_up import HERE
from workspace import REPOSITORY


def invoked(applied, emulator, event, role):
    """Starts the archive's `bootstrap` with the function's environment, invokes it once, and gives the lines that
    CloudWatch makes metrics of."""
    described = installation.of(applied)
    make_tables(emulator.url, described["tables"])
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


def make_tables(url, tables):
    dynamodb = scripts.client(url, "dynamodb")
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

            do_GET = do_POST = do_PUT = serve

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
