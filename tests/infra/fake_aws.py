"""A Terraform provider that knows hashicorp/aws's schema and no AWS.

The real terraform talks to it as it talks to the real one: by plugin protocol 6. It refuses what the
schema refuses, plans what is not known as unknown, and upon apply makes up ARNs and ids of the form
that AWS gives. So every argument, block, type and reference in terraform/ is checked, and what comes out
is a state in which policies, tables and templates stand as AWS would get them. It does not know
which values AWS takes for an argument, and creates nothing.

usage: fake_aws.py SCHEMA      prints go-plugin's handshake, ends with its standard input
"""

import concurrent.futures
import json
import pathlib
import sys

import grpc
import msgpack
from tf.gen import grpc_controller_pb2 as controller
from tf.gen import grpc_controller_pb2_grpc as controller_rpc
from tf.gen import grpc_stdio_pb2_grpc as stdio_rpc
from tf.gen import tfplugin_pb2 as pb
from tf.gen import tfplugin_pb2_grpc as rpc

import made_up
from policy_document import rendered

UNKNOWN = msgpack.ExtType(0, b"\x00")
NESTING = {"single": 1, "list": 2, "set": 3, "map": 4}


def decode(value):
    if value.msgpack:
        return msgpack.unpackb(value.msgpack, raw=False, strict_map_key=False)
    return json.loads(value.json)


def encode(value):
    return pb.DynamicValue(msgpack=msgpack.packb(value, use_bin_type=True))


def is_unknown(value):
    return isinstance(value, msgpack.ExtType)


def schema_of(it):
    return pb.Schema(version=it["version"], block=block_of(it["block"]))


def block_of(block):
    def attribute(name, it):
        flags = {flag: it.get(flag, False) for flag in ("required", "optional", "computed")}
        kind = json.dumps(it["type"], separators=(",", ":")).encode()
        return pb.Schema.Attribute(name=name, type=kind, **flags)

    def nested(name, it):
        bounds = {}
        if it["nesting_mode"] in ("list", "set"):
            bounds = {key: it.get(key, 0) for key in ("min_items", "max_items")}
        mode = NESTING[it["nesting_mode"]]
        return pb.Schema.NestedBlock(
            type_name=name, block=block_of(it["block"]), nesting=mode, **bounds
        )

    return pb.Schema.Block(
        attributes=[attribute(*item) for item in block["attributes"].items()],
        block_types=[nested(*item) for item in block["block_types"].items()],
    )


def mapped(block, value, change, path=()):
    """`value`, with each attribute replaced by `change(path, attribute, old)`."""
    if not isinstance(value, dict):
        return value
    new = {
        name: change((*path, name), it, value.get(name))
        for name, it in block["attributes"].items()
    }
    for name, it in block["block_types"].items():
        old = value.get(name)
        if isinstance(old, list):
            new[name] = [
                mapped(it["block"], one, change, (*path, name, number))
                for number, one in enumerate(old)
            ]
        elif isinstance(old, dict) and it["nesting_mode"] == "map":
            new[name] = {
                key: mapped(it["block"], one, change, (*path, name, key))
                for key, one in old.items()
            }
        else:
            new[name] = mapped(it["block"], old, change, (*path, name))
    return new


def read_only(block, value):
    """The attributes that only AWS sets, and that the configuration sets all the same."""
    found = []

    def note(path, it, old):
        if old is not None and it.get("computed") and not it.get("optional"):
            found.append(".".join(map(str, path)))
        return old

    mapped(block, value, note)
    return found


class Provider(rpc.ProviderServicer):
    def __init__(self, schema):
        self.schema = schema

    def GetMetadata(self, request, context):
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "the schema says it all")

    def GetProviderSchema(self, request, context):
        each = lambda kind: {name: schema_of(it) for name, it in self.schema[kind].items()}
        return pb.GetProviderSchema.Response(
            provider=schema_of(self.schema["provider"]),
            resource_schemas=each("resource_schemas"),
            data_source_schemas=each("data_source_schemas"),
        )

    def ValidateProviderConfig(self, request, context):
        return pb.ValidateProviderConfig.Response()

    def ValidateResourceConfig(self, request, context):
        wrong = read_only(self.resource(request.type_name), decode(request.config))
        return pb.ValidateResourceConfig.Response(diagnostics=diagnostics(wrong))

    def ValidateDataResourceConfig(self, request, context):
        wrong = read_only(self.data(request.type_name), decode(request.config))
        return pb.ValidateDataResourceConfig.Response(diagnostics=diagnostics(wrong))

    def ConfigureProvider(self, request, context):
        return pb.ConfigureProvider.Response()

    def UpgradeResourceState(self, request, context):
        state = json.loads(request.raw_state.json)
        return pb.UpgradeResourceState.Response(upgraded_state=encode(state))

    def ReadResource(self, request, context):
        return pb.ReadResource.Response(new_state=request.current_state, private=request.private)

    def PlanResourceChange(self, request, context):
        proposed = decode(request.proposed_new_state)
        if proposed is None:
            return pb.PlanResourceChange.Response(planned_state=request.proposed_new_state)
        is_new = decode(request.prior_state) is None

        def planned(path, it, old):
            return UNKNOWN if old is None and it.get("computed") and is_new else old

        state = mapped(self.resource(request.type_name), proposed, planned)
        return pb.PlanResourceChange.Response(planned_state=encode(state))

    def ApplyResourceChange(self, request, context):
        planned = decode(request.planned_state)
        if planned is None:
            return pb.ApplyResourceChange.Response(new_state=request.planned_state)
        known = {k: v for k, v in planned.items() if isinstance(v, (str, int)) and v is not None}
        makes = made_up.Maker(request.type_name, known)
        state = mapped(
            self.resource(request.type_name),
            planned,
            lambda path, it, old: resolved(it["type"], old, path, makes),
        )
        return pb.ApplyResourceChange.Response(new_state=encode(state))

    def ReadDataSource(self, request, context):
        config = decode(request.config)
        makes = made_up.Maker(f"data.{request.type_name}", config)

        def read(path, it, old):
            return makes.value(path, it["type"]) if old is None and it.get("computed") else old

        state = mapped(self.data(request.type_name), config, read)
        if request.type_name == "aws_iam_policy_document":
            state["json"] = json.dumps(rendered(config), indent=2)
            state["minified_json"] = json.dumps(rendered(config), separators=(",", ":"))
        return pb.ReadDataSource.Response(state=encode(state))

    def GetFunctions(self, request, context):
        return pb.GetFunctions.Response()

    def StopProvider(self, request, context):
        return pb.StopProvider.Response()

    def resource(self, name):
        return self.schema["resource_schemas"][name]["block"]

    def data(self, name):
        return self.schema["data_source_schemas"][name]["block"]


def diagnostics(read_only_attributes):
    return [
        pb.Diagnostic(severity=pb.Diagnostic.ERROR, summary=f"{name} is set by AWS alone")
        for name in read_only_attributes
    ]


def resolved(kind, value, path, makes):
    """`value`, with made-up values for what is unknown anywhere in it."""
    if is_unknown(value):
        return makes.value(path, kind)
    if isinstance(kind, list) and value is not None:
        outer, inner = kind
        if outer == "object":
            return {k: resolved(inner[k], v, (*path, k), makes) for k, v in value.items()}
        if outer == "map":
            return {k: resolved(inner, v, (*path, k), makes) for k, v in value.items()}
        return [resolved(inner, v, (*path, n), makes) for n, v in enumerate(value)]
    return value


class Controller(controller_rpc.GRPCControllerServicer):
    """Terraform did not start this provider and does not end it."""

    def Shutdown(self, request, context):
        return controller.Empty()


class Stdio(stdio_rpc.GRPCStdioServicer):
    def StreamStdio(self, request, context):
        return iter([])


def main(path):
    # The bindings do not tell the types of a few attributes that nobody here uses.
    text = pathlib.Path(path).read_text().replace('"dynamic"', '"string"')
    limits = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(16), options=limits)
    rpc.add_ProviderServicer_to_server(Provider(json.loads(text)), server)
    controller_rpc.add_GRPCControllerServicer_to_server(Controller(), server)
    stdio_rpc.add_GRPCStdioServicer_to_server(Stdio(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"1|6|tcp|127.0.0.1:{port}|grpc", flush=True)
    # Whoever started it is gone when nothing can come any more.
    sys.stdin.read()
    server.stop(0.2).wait()


if __name__ == "__main__":
    main(sys.argv[1])
