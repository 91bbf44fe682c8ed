# Who the parents are, and how they are launched. An agent calls DynamoDB and S3 and nothing else.

data "aws_partition" "current" {}
data "aws_region" "current" {}

data "aws_ec2_managed_prefix_list" "gateway" {
  for_each = toset(["dynamodb", "s3"])
  name     = "com.amazonaws.${data.aws_region.current.region}.${each.key}"
}

locals {
  name        = "${var.deployment}-parent"
  eif_objects = [for arn in var.eif_bucket_arns : "${arn}/*"]
  # The instance itself, as IAM knows it. A parent that is taken over can speak for itself alone.
  self = "$${ec2:SourceInstanceARN}"
  # What agents call, by what it is called on: bailey_runtime counts the calls, a test compares.
  table_actions  = ["dynamodb:GetItem", "dynamodb:UpdateItem"]
  object_actions = ["s3:GetObject", "s3:GetObjectVersion"]
}

data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "this" {
  name               = local.name
  description        = "Parents of Nitro Enclaves"
  assume_role_policy = data.aws_iam_policy_document.assume.json
}

data "aws_iam_policy_document" "agent" {
  statement {
    sid       = "ReadWhatItShouldRun"
    actions   = ["dynamodb:GetItem"]
    resources = [var.hosts_table.arn]

    condition {
      test     = "ForAllValues:StringEquals"
      variable = "dynamodb:LeadingKeys"
      values   = ["desired#${local.self}"]
    }
    condition {
      test     = "Null"
      variable = "dynamodb:LeadingKeys"
      values   = ["false"]
    }
  }

  statement {
    sid       = "SayWhatItSees"
    actions   = ["dynamodb:UpdateItem"]
    resources = [var.hosts_table.arn]

    condition {
      test     = "ForAllValues:StringEquals"
      variable = "dynamodb:LeadingKeys"
      values   = ["observed#${local.self}", "beat#${local.self}"]
    }
    condition {
      test     = "Null"
      variable = "dynamodb:LeadingKeys"
      values   = ["false"]
    }
  }

  # GetObjectVersion: every range of a fetch names the version that the first answer had.
  statement {
    sid       = "ReadImages"
    actions   = local.object_actions
    resources = local.eif_objects
  }

  # Credentials that were carried off still bear the instance's ARN. Elsewhere they are of no use:
  # each call has to come from the VPC and from the address of the instance that they were given to.
  statement {
    sid       = "NobodyButInstances"
    effect    = "Deny"
    actions   = concat(local.table_actions, local.object_actions)
    resources = concat([var.hosts_table.arn], local.eif_objects)

    condition {
      test     = "Null"
      variable = "ec2:SourceInstanceARN"
      values   = ["true"]
    }
  }

  statement {
    sid       = "NotFromOutsideOfTheVpc"
    effect    = "Deny"
    actions   = concat(local.table_actions, local.object_actions)
    resources = concat([var.hosts_table.arn], local.eif_objects)

    condition {
      test     = "StringNotEquals"
      variable = "aws:SourceVpc"
      values   = ["$${aws:EC2InstanceSourceVPC}"]
    }
  }

  statement {
    sid       = "NotFromAnotherAddress"
    effect    = "Deny"
    actions   = concat(local.table_actions, local.object_actions)
    resources = concat([var.hosts_table.arn], local.eif_objects)

    condition {
      test     = "StringNotEquals"
      variable = "aws:VpcSourceIp"
      values   = ["$${aws:EC2InstanceSourcePrivateIPv4}"]
    }
  }
}

resource "aws_iam_role_policy" "agent" {
  name   = "agent"
  role   = aws_iam_role.this.id
  policy = data.aws_iam_policy_document.agent.json
}

resource "aws_iam_role_policy_attachment" "session_manager" {
  count = var.allow_session_manager ? 1 : 0

  role       = aws_iam_role.this.name
  policy_arn = "arn:${data.aws_partition.current.partition}:iam::aws:policy/AmazonSSMManagedInstanceCore"
}

resource "aws_iam_instance_profile" "this" {
  name = local.name
  role = aws_iam_role.this.name
}

resource "aws_security_group" "this" {
  name        = local.name
  description = "Parents: nothing comes in; DynamoDB and S3 are reached"
  vpc_id      = var.vpc_id

  tags = { Name = local.name }
}

resource "aws_vpc_security_group_egress_rule" "gateway" {
  for_each = data.aws_ec2_managed_prefix_list.gateway

  security_group_id = aws_security_group.this.id
  description       = "TLS to ${each.key}"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  prefix_list_id    = each.value.id
}

resource "aws_vpc_security_group_egress_rule" "interface" {
  count = var.interface_endpoints_cidr == null ? 0 : 1

  security_group_id = aws_security_group.this.id
  description       = "TLS to interface endpoints"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = var.interface_endpoints_cidr
}

# The coordinator names template and version; it adds the type, the zone, a token, tags.
resource "aws_launch_template" "this" {
  name                                 = local.name
  description                          = "Parents of Nitro Enclaves"
  update_default_version               = true
  image_id                             = var.ami_id
  ebs_optimized                        = "true"
  instance_initiated_shutdown_behavior = "terminate"
  user_data                            = base64encode("hosts_table = ${jsonencode(var.hosts_table.name)}\n")

  iam_instance_profile {
    arn = aws_iam_instance_profile.this.arn
  }

  enclave_options {
    enabled = true
  }

  # One hop: nothing behind a bridge of the parent, and no enclave's proxy, gets credentials.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
    instance_metadata_tags      = "disabled"
  }

  network_interfaces {
    device_index                = 0
    subnet_id                   = var.subnet_id
    security_groups             = [aws_security_group.this.id]
    associate_public_ip_address = "false"
    delete_on_termination       = "true"
  }

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_type           = "gp3"
      volume_size           = var.root_volume_gib
      encrypted             = "true"
      delete_on_termination = "true"
    }
  }
}
