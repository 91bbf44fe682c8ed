"""Requests, and whether IAM should let them pass: what a thief, a parent or a coordinator gone mad may not do."""

from iam import is_allowed
from made_up import ACCOUNT, HERE
from policies import role_policies

ME = f"arn:aws:ec2:{HERE}:instance/i-0aaaaaaaaaaaaaaaa"
OTHER = f"arn:aws:ec2:{HERE}:instance/i-0bbbbbbbbbbbbbbbb"
AT_HOME = {
    "ec2:SourceInstanceARN": ME,
    "aws:EC2InstanceSourceVPC": "vpc-1",
    "aws:SourceVpc": "vpc-1",
    "aws:EC2InstanceSourcePrivateIPv4": "10.64.0.7",
    "aws:VpcSourceIp": "10.64.0.7",
}


def wrong(applied):
    """The requests that the policies judge in another way than they should."""
    return [
        f"{who}: {what} should be {'allowed' if right else 'denied'}"
        for who, module, cases in (
            ("agent", "parents", agent(applied)),
            ("coordinator", "coordinator", coordinator(applied)),
            ("web app", None, web_app(applied)),
        )
        for what, right, request in cases
        if is_allowed(of(applied, module), *request) != right
    ]


def of(applied, module):
    if module is None:
        return [applied.one("aws_iam_policy")["policy"]]
    return role_policies(applied, module)


def table(applied, kind):
    return f"arn:aws:dynamodb:{HERE}:table/{applied.outputs[f'{kind}_table']}"


def agent(applied):
    hosts, ledger = table(applied, "hosts"), table(applied, "ledger")
    image = f"arn:aws:s3:::{applied.outputs['eif_bucket']}/app.eif"
    report = f"arn:aws:s3:::{applied.outputs['reports_bucket']}/reports/a/1/0000000001.json"
    group = f"arn:aws:logs:{HERE}:log-group:/aws/ec2/enclave/enc_1"
    function = f"arn:aws:logs:{HERE}:log-group:/aws/lambda/{applied.outputs['coordinator_function']}"

    def item(action, key, **context):
        return (f"dynamodb:{action}", hosts, {**AT_HOME, "dynamodb:LeadingKeys": [key], **context})

    elsewhere = {"aws:SourceVpc": "vpc-2", "aws:VpcSourceIp": "10.64.0.7"}
    neighbour = {"aws:VpcSourceIp": "10.64.0.8"}
    outside = {"aws:SourceVpc": None, "aws:VpcSourceIp": None}
    no_instance = {key: None for key in AT_HOME}
    return [
        ("to read what it should run", True, item("GetItem", f"desired#{ME}")),
        ("to report", True, item("UpdateItem", f"observed#{ME}")),
        ("its heartbeat", True, item("UpdateItem", f"beat#{ME}")),
        ("to read an image", True, ("s3:GetObject", image, AT_HOME)),
        ("to read a version of an image", True, ("s3:GetObjectVersion", image, AT_HOME)),
        ("to read what another should run", False, item("GetItem", f"desired#{OTHER}")),
        ("to read what another says", False, item("GetItem", f"observed#{OTHER}")),
        ("to read what it said", False, item("GetItem", f"observed#{ME}")),
        ("to write what it should run", False, item("UpdateItem", f"desired#{ME}")),
        ("to report for another", False, item("UpdateItem", f"observed#{OTHER}")),
        ("another's heartbeat", False, item("UpdateItem", f"beat#{OTHER}")),
        ("its own item and another's", False, item("GetItem", f"desired#{ME}", **{"dynamodb:LeadingKeys": [f"desired#{ME}", f"desired#{OTHER}"]})),
        ("a key that goes on after its own", False, item("GetItem", f"desired#{ME}x")),
        ("a request without a key", False, item("GetItem", "", **{"dynamodb:LeadingKeys": None})),
        ("to scan", False, item("Scan", f"desired#{ME}")),
        ("to query", False, item("Query", f"desired#{ME}")),
        ("to put its report", False, item("PutItem", f"observed#{ME}")),
        ("to delete its report", False, item("DeleteItem", f"observed#{ME}")),
        ("to read the ledger", False, ("dynamodb:GetItem", ledger, {**AT_HOME, "dynamodb:LeadingKeys": [f"desired#{ME}"]})),
        ("to write an image", False, ("s3:PutObject", image, AT_HOME)),
        ("to write a report", False, ("s3:PutObject", report, AT_HOME)),
        ("to read a report", False, ("s3:GetObject", report, AT_HOME)),
        ("to terminate itself by EC2", False, ("ec2:TerminateInstances", ME, AT_HOME)),
        ("stolen credentials from the internet: the table", False, item("GetItem", f"desired#{ME}", **outside)),
        ("stolen credentials from the internet: an image", False, ("s3:GetObject", image, {**AT_HOME, **outside})),
        ("stolen credentials in another VPC", False, item("GetItem", f"desired#{ME}", **elsewhere)),
        ("stolen credentials on another instance of the VPC", False, item("UpdateItem", f"observed#{ME}", **neighbour)),
        ("somebody who is no instance: the table", False, item("GetItem", "desired#", **no_instance)),
        ("somebody who is no instance: an image", False, ("s3:GetObject", image, no_instance)),
        ("to write what a workload prints", True, ("logs:PutLogEvents", f"{group}:log-stream:application", AT_HOME)),
        ("to write what becomes of a workload", True, ("logs:PutLogEvents", f"{group}:log-stream:system", AT_HOME)),
        ("to make a stream", True, ("logs:CreateLogStream", f"{group}:log-stream:application", AT_HOME)),
        ("to write what was measured", False, ("logs:PutLogEvents", f"{group}:log-stream:attestation", AT_HOME)),
        ("to make the stream of what was measured", False, ("logs:CreateLogStream", f"{group}:log-stream:attestation", AT_HOME)),
        ("to make a group", False, ("logs:CreateLogGroup", f"{group}:log-stream:", AT_HOME)),
        ("to say for how long a group is kept", False, ("logs:PutRetentionPolicy", group, AT_HOME)),
        ("to delete a group", False, ("logs:DeleteLogGroup", group, AT_HOME)),
        ("to read logs", False, ("logs:GetLogEvents", f"{group}:log-stream:application", AT_HOME)),
        ("to write the coordinator's log", False, ("logs:PutLogEvents", f"{function}:log-stream:application", AT_HOME)),
        ("stolen credentials from the internet: logs", False, ("logs:PutLogEvents", f"{group}:log-stream:application", {**AT_HOME, **outside})),
        ("somebody who is no instance: logs", False, ("logs:PutLogEvents", f"{group}:log-stream:application", no_instance)),
        ("stolen credentials and an image's version", False, ("s3:GetObjectVersion", image, {**AT_HOME, **outside})),
    ]  # fmt: skip


def coordinator(applied):
    deployment = applied.outputs["deployment"]
    template = applied.one("aws_launch_template")
    role = applied.outputs["parent_role_arn"]
    enclaves, hosts = table(applied, "enclaves"), table(applied, "hosts")
    other_template = f"arn:aws:ec2:{HERE}:launch-template/lt-0cccccccccccccccc"
    new = f"arn:aws:ec2:{HERE}:instance/*"
    tagged = {"aws:RequestTag/bailey:deployment": deployment, "aws:TagKeys": ["Name", "bailey:deployment"]}
    from_ours = {"ec2:LaunchTemplate": template["arn"], "ec2:IsLaunchTemplateResource": "true", **tagged}
    ours = {"aws:ResourceTag/bailey:deployment": deployment}
    image = f"arn:aws:ec2:eu-west-1::image/{template['image_id']}"
    eif = f"arn:aws:s3:::{applied.outputs['eif_bucket']}"
    report = f"arn:aws:s3:::{applied.outputs['reports_bucket']}/reports/a/1/0000000001.json"
    group = f"arn:aws:logs:{HERE}:log-group:/aws/ec2/enclave/enc_1"
    function = f"arn:aws:logs:{HERE}:log-group:/aws/lambda/{applied.outputs['coordinator_function']}"
    subnets = [f"arn:aws:ec2:{HERE}:subnet/{it['subnet_id']}" for it in applied.outputs["subnets"]]
    other_subnet = f"arn:aws:ec2:{HERE}:subnet/subnet-0fffffffffffffff"
    # What the request names besides the template.
    named = {**from_ours, "ec2:IsLaunchTemplateResource": "false"}
    interface = f"arn:aws:ec2:{HERE}:network-interface/*"

    def item(action, key):
        return (f"dynamodb:{action}", hosts, {"dynamodb:LeadingKeys": [key]})

    return [
        ("to launch from our template", True, ("ec2:RunInstances", new, from_ours)),
        *[(f"to launch into {it}", True, ("ec2:RunInstances", it, named)) for it in subnets],
        *[(f"to make an interface in {it}", True, ("ec2:RunInstances", interface, {**named, "ec2:Subnet": it})) for it in subnets],
        ("to launch our image", True, ("ec2:RunInstances", image, from_ours)),
        ("to tag what it launches", True, ("ec2:CreateTags", new, {**tagged, "ec2:CreateAction": "RunInstances"})),
        ("to pass the parents' role to EC2", True, ("iam:PassRole", role, {"iam:PassedToService": "ec2.amazonaws.com"})),
        *[(f"to {verb.lower()} an instance of ours", True, (f"ec2:{verb}Instances", ME, ours)) for verb in ("Terminate", "Stop", "Start")],
        ("to write a record's result", True, ("dynamodb:UpdateItem", enclaves)),
        ("to say what a host should run", True, item("PutItem", f"desired#{ME}")),
        ("to remove a host's items", True, item("DeleteItem", f"observed#{ME}")),
        ("to store a report", True, ("s3:PutObject", report)),
        ("to read a signed manifest", True, ("s3:GetObject", f"{eif}/app.eif.manifest.dsse.json")),
        ("to make an enclave's log group", True, ("logs:CreateLogGroup", f"{group}:log-stream:", {})),
        ("to say for how long it is kept", True, ("logs:PutRetentionPolicy", group, {})),
        ("to write what was measured", True, ("logs:PutLogEvents", f"{group}:log-stream:attestation", {})),
        ("to write what a workload prints", False, ("logs:PutLogEvents", f"{group}:log-stream:application", {})),
        ("to delete an enclave's log group", False, ("logs:DeleteLogGroup", group, {})),
        ("to say for how long its own log is kept", False, ("logs:PutRetentionPolicy", function, {})),
        ("to make any group", False, ("logs:CreateLogGroup", f"arn:aws:logs:{HERE}:log-group:/somewhere/else:log-stream:", {})),
        ("to launch without a template", False, ("ec2:RunInstances", new, {**tagged, "ec2:IsLaunchTemplateResource": "false"})),
        ("to launch from another template", False, ("ec2:RunInstances", new, {**from_ours, "ec2:LaunchTemplate": other_template})),
        ("to use another template", False, ("ec2:RunInstances", other_template, {**from_ours, "ec2:LaunchTemplate": other_template})),
        ("to replace what the template names", False, ("ec2:RunInstances", new, {**from_ours, "ec2:IsLaunchTemplateResource": "false"})),
        ("to launch another image", False, ("ec2:RunInstances", "arn:aws:ec2:eu-west-1::image/ami-0ffffffffffffffff", from_ours)),
        ("to launch into another subnet", False, ("ec2:RunInstances", other_subnet, named)),
        ("to launch into our subnet without our template", False, ("ec2:RunInstances", subnets[0], {**named, "ec2:LaunchTemplate": None})),
        ("to make an interface in another subnet", False, ("ec2:RunInstances", interface, {**named, "ec2:Subnet": other_subnet})),
        ("to give a public address", False, ("ec2:RunInstances", interface, {**named, "ec2:Subnet": subnets[0], "ec2:AssociatePublicIpAddress": "true"})),
        ("to launch with another security group", False, ("ec2:RunInstances", f"arn:aws:ec2:{HERE}:security-group/sg-0fffffffffffffff", named)),
        ("to launch without our tag", False, ("ec2:RunInstances", new, {**from_ours, "aws:RequestTag/bailey:deployment": None})),
        ("to launch with another installation's tag", False, ("ec2:RunInstances", new, {**from_ours, "aws:RequestTag/bailey:deployment": "other"})),
        ("to tag what exists", False, ("ec2:CreateTags", ME, tagged)),
        ("to tag with what it likes", False, ("ec2:CreateTags", new, {"aws:TagKeys": ["owner"], "ec2:CreateAction": "RunInstances"})),
        ("to pass another role", False, ("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/admin", {"iam:PassedToService": "ec2.amazonaws.com"})),
        ("to pass the role to another service", False, ("iam:PassRole", role, {"iam:PassedToService": "lambda.amazonaws.com"})),
        *[(f"to {verb.lower()} an instance without our tag", False, (f"ec2:{verb}Instances", ME, {})) for verb in ("Terminate", "Stop", "Start")],
        ("to terminate another installation's instance", False, ("ec2:TerminateInstances", ME, {"aws:ResourceTag/bailey:deployment": "other"})),
        ("to replace a record", False, ("dynamodb:PutItem", enclaves)),
        ("to delete a record", False, ("dynamodb:DeleteItem", enclaves)),
        ("to write what a host says", False, item("PutItem", f"observed#{ME}")),
        ("to read an image", False, ("s3:GetObject", f"{eif}/app.eif")),
        ("to delete a report", False, ("s3:DeleteObject", report)),
        ("to delete a table", False, ("dynamodb:DeleteTable", enclaves)),
    ]  # fmt: skip


def web_app(applied):
    enclaves, ledger = table(applied, "enclaves"), table(applied, "ledger")

    def update(*attributes, returns="NONE"):
        return ("dynamodb:UpdateItem", enclaves, {"dynamodb:Attributes": list(attributes), "dynamodb:ReturnValues": returns})

    return [
        ("to request an enclave", True, update("id", "status", "configuration")),
        ("to read a record", True, ("dynamodb:GetItem", enclaves)),
        ("to find records by status", True, ("dynamodb:Query", f"{enclaves}/index/status-index")),
        ("to write the verdict", False, update("id", "status", "attestation")),
        ("to write the phase", False, update("id", "phase")),
        ("to be handed out all attributes by an update", False, update("id", "status", returns="ALL_NEW")),
        ("an update that names nothing", False, ("dynamodb:UpdateItem", enclaves, {})),
        ("to replace a record", False, ("dynamodb:PutItem", enclaves, {"dynamodb:Attributes": ["id", "status"]})),
        ("to delete a record", False, ("dynamodb:DeleteItem", enclaves)),
        ("to read the ledger", False, ("dynamodb:GetItem", ledger)),
    ]  # fmt: skip
