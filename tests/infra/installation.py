"""What terraform made, as the local cloud takes it: tables, launch template, names."""

import base64
import tomllib


def of(applied, agents_endpoint=None):
    """The file for `bailey-local up --installation`."""
    outputs = applied.outputs
    return {
        "names": {
            "enclaves_table": outputs["enclaves_table"],
            "ledger_table": outputs["ledger_table"],
            "hosts_table": outputs["hosts_table"],
            "eif_bucket": outputs["eif_bucket"],
            "reports_bucket": outputs["reports_bucket"],
            "launch_template": outputs["launch_template"],
        },
        "tables": [table(values) for _, values in applied.of("aws_dynamodb_table")],
        "launch_template": launch_template(applied.one("aws_launch_template")),
        "subnets": subnets(applied),
        "agents_endpoint": agents_endpoint,
    }


def for_system_tests(applied):
    """The same for the system tests, which know the buckets' usual names; the other names have to be the usual ones."""
    described = of(applied)
    described["names"] |= {"eif_bucket": "your-bucket", "reports_bucket": "bailey-reports"}
    return described


def table(values):
    texts = {it["name"] for it in values["attribute"] if it["type"] == "S"}
    assert texts == {it["name"] for it in values["attribute"]}, "the local cloud knows keys of texts alone"
    key = [one for one in (values["hash_key"], values["range_key"]) if one]
    (index,) = values["global_secondary_index"] or [None]
    return {
        "name": values["name"],
        "key": key,
        "index": index
        and {
            "name": index["name"],
            "key": [one for one in (index["hash_key"], index["range_key"]) if one],
            "projection": index["projection_type"],
        },
        "stream": values["stream_view_type"] if values["stream_enabled"] else None,
    }


def launch_template(values):
    """As parameters of EC2's CreateLaunchTemplate."""
    metadata = values["metadata_options"][0]
    (group,) = values["vpc_security_group_ids"]
    assert not values["network_interfaces"], "EC2 takes a subnet either with an interface or with the request"
    volume = values["block_device_mappings"][0]
    data = {
        "ImageId": values["image_id"],
        "UserData": values["user_data"],
        "InstanceInitiatedShutdownBehavior": values["instance_initiated_shutdown_behavior"],
        "IamInstanceProfile.Arn": values["iam_instance_profile"][0]["arn"],
        "EnclaveOptions.Enabled": str(values["enclave_options"][0]["enabled"]).lower(),
        "MetadataOptions.HttpTokens": metadata["http_tokens"],
        "MetadataOptions.HttpPutResponseHopLimit": str(metadata["http_put_response_hop_limit"]),
        "SecurityGroupId.1": group,
        "BlockDeviceMapping.1.DeviceName": volume["device_name"],
        "BlockDeviceMapping.1.Ebs.Encrypted": volume["ebs"][0]["encrypted"],
    }
    base64.b64decode(values["user_data"], validate=True)
    named = {f"LaunchTemplateData.{name}": value for name, value in data.items()}
    return {"LaunchTemplateName": values["name"], **named}


def subnets(applied):
    """The zones' subnets, as the coordinator gets them."""
    return tomllib.loads(configuration(applied))["subnets"]


def configuration(applied):
    """The coordinator's configuration, as its function gets it."""
    return variables(applied)["BAILEY_COORDINATOR_TOML"]


def variables(applied):
    return applied.one("aws_lambda_function")["environment"][0]["variables"]
