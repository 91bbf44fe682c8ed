"""What stands between a program and its AWS: lets pass what the program's policies allow, and nothing else.

AWS checks each call against the policies of the role that makes it; an emulator does not. So the local cloud's
coordinator and agents, which are the real programs, call through this, and are refused as AWS would refuse
them. What each of them was allowed is remembered.
"""

import http.client
import http.server
import json
import re
import socketserver
import sys
import threading
import urllib.parse

import iam
from made_up import HERE

REFUSAL = {
    "json": '{"__type":"com.amazonaws.dynamodb#AccessDeniedException","message":"not authorized: %s on %s"}',
    "s3": "<Error><Code>AccessDenied</Code><Message>not authorized: %s on %s</Message></Error>",
    "query": "<Response><Errors><Error><Code>UnauthorizedOperation</Code>"
    "<Message>not authorized: %s on %s</Message></Error></Errors></Response>",
}


class Unclear(Exception):
    """It cannot be said who calls; the caller may try again."""


class Gate:
    """A gate for one role. `context` is what AWS knows of the caller besides what a request
    says, or tells it when it is called."""

    def __init__(self, policies, context=None, tags_of=None, launch_template=None):
        self.policies, self.context = policies, context or {}
        self.tags_of, self.launch_template = tags_of, launch_template
        self.upstream = None
        self.allowed, self.refused = set(), []
        handler = type("Handler", (Handler,), {"gate": self})
        self.server = Server(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def end(self):
        self.server.shutdown()
        self.server.server_close()

    def judge(self, needs):
        """Whether all that a request needs is allowed; notes it."""
        caller = self.context() if callable(self.context) else self.context
        for action, resource, context in needs:
            if not iam.is_allowed(self.policies, action, resource, {**caller, **context}):
                self.refused.append((action, resource))
                return action, resource
        self.allowed |= {(action, resource) for action, resource, _ in needs}
        return None


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        # A program that ends hangs up in the middle of its calls.
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    gate = None

    def log_message(self, *_):
        pass

    def serve(self):
        body = self.body()
        needs, form = needed(self.gate, self.command, self.path, self.headers, body)
        try:
            refused = self.gate.judge(needs)
        except Unclear:
            self.answer(503, {}, b"")
            return
        if refused:
            status = 400 if form == "json" else 403
            self.answer(status, {"Content-Type": "application/x-amz-json-1.0"}, (REFUSAL[form] % refused).encode())
            return
        address = urllib.parse.urlsplit(self.gate.upstream)
        upstream = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
        headers = {k: v for k, v in self.headers.items() if k.lower() not in ("connection", "transfer-encoding")}
        try:
            upstream.request(self.command, self.path, body or None, {**headers, "Content-Length": str(len(body))})
            got = upstream.getresponse()
            self.answer(got.status, dict(got.getheaders()), got.read())
        finally:
            upstream.close()

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = serve

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def answer(self, status, headers, body):
        self.send_response_only(status)
        left_out = ("connection", "transfer-encoding", "content-length")
        for name, value in headers.items():
            if name.lower() not in left_out:
                self.send_header(name, value)
        # The length of what a HEAD is about is not that of its answer.
        length = headers.get("Content-Length", headers.get("content-length"))
        self.send_header("Content-Length", length if self.command == "HEAD" and length else str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def needed(gate, method, path, headers, body):
    """What a request needs, as [(action, resource, context)], and the form of its answers."""
    target = headers.get("X-Amz-Target")
    if target and target.startswith("Logs_"):
        return of_logs(target.split(".")[1], json.loads(body)), "json"
    if target:
        return of_dynamodb(target.split(".")[1], target, json.loads(body)), "json"
    if (headers.get("Content-Type") or "").startswith("application/x-www-form-urlencoded"):
        return of_query(gate, dict(urllib.parse.parse_qsl(body.decode()))), "query"
    address = urllib.parse.urlsplit(path)
    bucket, _, key = urllib.parse.unquote(address.path).lstrip("/").partition("/")
    versioned = "versionId" in urllib.parse.parse_qs(address.query)
    action = {"GET": "GetObject", "HEAD": "GetObject", "PUT": "PutObject", "DELETE": "DeleteObject"}[method]
    return [(f"s3:{action}{'Version' if versioned else ''}", f"arn:aws:s3:::{bucket}/{key}", {})], "s3"


def of_dynamodb(operation, target, request):
    if operation.startswith("Transact"):
        needs = []
        for one in request["TransactItems"]:
            ((kind, item),) = one.items()
            action = "dynamodb:ConditionCheckItem" if kind == "ConditionCheck" else f"dynamodb:{kind}Item"
            needs.append((action, table(item["TableName"]), keys_of(item)))
        return needs
    if target.startswith("DynamoDBStreams"):
        return [(f"dynamodb:{operation}", request.get("StreamArn", "*"), {})]
    resource = table(request["TableName"])
    if "IndexName" in request:
        resource += f"/index/{request['IndexName']}"
    return [(f"dynamodb:{operation}", resource, keys_of(request))]


def table(name):
    return f"arn:aws:dynamodb:{HERE}:table/{name}"


def keys_of(item):
    """The partition's key, as `dynamodb:LeadingKeys` has it."""
    key = item.get("Key") or item.get("Item") or {}
    found = key.get("pk") or key.get("id")
    return {"dynamodb:LeadingKeys": [found["S"]]} if found else {}


def of_logs(operation, request):
    """A call is about a stream where it names one, else about the group."""
    resource = f"arn:aws:logs:{HERE}:log-group:{request['logGroupName']}"
    if "logStreamName" in request:
        resource += f":log-stream:{request['logStreamName']}"
    return [(f"logs:{operation}", resource, {})]


def of_query(gate, form):
    action = form["Action"]
    if action == "Publish":
        return [("sns:Publish", form["TopicArn"], {})]
    instances = [f"arn:aws:ec2:{HERE}:instance/{v}" for k, v in form.items() if re.fullmatch(r"InstanceId\.\d+", k)]
    if action == "RunInstances":
        return of_launch(gate, form)
    if action.startswith("Describe"):
        return [(f"ec2:{action}", "*", {})]
    return [(f"ec2:{action}", it, gate.tags_of(it.rsplit("/", 1)[1])) for it in instances]


def of_launch(gate, form):
    """A launch touches what the template names, and makes an instance with tags and a role."""
    tags = {
        form[f"TagSpecification.1.Tag.{number}.Key"]: form[f"TagSpecification.1.Tag.{number}.Value"]
        for number in range(1, 51)
        if f"TagSpecification.1.Tag.{number}.Key" in form
    }
    template = gate.launch_template
    is_ours = form.get("LaunchTemplate.LaunchTemplateName") == template["name"]
    replaces = [name for name in form if name.startswith(("ImageId", "SecurityGroup", "NetworkInterface", "IamInstanceProfile"))]
    context = {f"aws:RequestTag/{name}": value for name, value in tags.items()}
    context |= {"aws:TagKeys": list(tags), "ec2:CreateAction": "RunInstances"}
    launch = {
        **context,
        "ec2:LaunchTemplate": template["arn"] if is_ours else None,
        "ec2:IsLaunchTemplateResource": "false" if replaces or not is_ours else "true",
    }
    new = f"arn:aws:ec2:{HERE}:instance/*"
    # The template names no subnet: it is the request's, and so is the interface that is made there.
    subnet = f"arn:aws:ec2:{HERE}:subnet/{form['SubnetId']}"
    there = {**launch, "ec2:IsLaunchTemplateResource": "false"}
    return [("ec2:RunInstances", resource, launch) for resource in (new, *template["resources"])] + [
        ("ec2:RunInstances", subnet, there),
        ("ec2:RunInstances", f"arn:aws:ec2:{HERE}:network-interface/*", {**there, "ec2:Subnet": subnet}),
        ("ec2:CreateTags", new, context),
        ("iam:PassRole", template["role"], {"iam:PassedToService": "ec2.amazonaws.com"}),
    ]


