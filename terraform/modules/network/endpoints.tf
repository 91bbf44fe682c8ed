# What passes through endpoints, whoever asks: so that credentials of another account carry nothing out.

locals {
  partition = data.aws_partition.current.partition
  region    = data.aws_region.current.region
  log_group = join(":", [
    "arn", local.partition, "logs", local.region, data.aws_caller_identity.current.account_id, "log-group",
  ])
  gateway_policies = {
    dynamodb = data.aws_iam_policy_document.dynamodb.json
    s3       = data.aws_iam_policy_document.s3.json
  }
  # AWS's own buckets that a build of the parents' image reads: Image Builder's program and components.
  build_objects = var.builds == null ? [] : [
    "${var.builds.artifacts_bucket_arn}/releases/*",
    "arn:${local.partition}:s3:::ec2imagebuilder-toe-${local.region}-prod/*",
    "arn:${local.partition}:s3:::ec2imagebuilder-managed-resources-${local.region}-prod/components/*",
  ]
}

data "aws_iam_policy_document" "dynamodb" {
  statement {
    sid       = "Hosts"
    actions   = ["dynamodb:GetItem", "dynamodb:UpdateItem"]
    resources = [var.hosts_table_arn]

    principals {
      type        = "*"
      identifiers = ["*"]
    }
  }
}

data "aws_iam_policy_document" "s3" {
  statement {
    sid       = "Images"
    actions   = ["s3:GetObject", "s3:GetObjectVersion"]
    resources = [for arn in var.eif_bucket_arns : "${arn}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }
  }

  # Amazon Linux's packages: builds install them, and parents look there for security updates by themselves.
  statement {
    sid       = "Packages"
    actions   = ["s3:GetObject"]
    resources = ["arn:${local.partition}:s3:::al2023-repos-${local.region}-de612dc2/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }
  }

  dynamic "statement" {
    for_each = length(local.build_objects) > 0 ? [local.build_objects] : []

    content {
      sid       = "Builds"
      actions   = ["s3:GetObject"]
      resources = statement.value

      principals {
        type        = "*"
        identifiers = ["*"]
      }
    }
  }

  # What enclaves reach there themselves, through their parents, with credentials of their own.
  dynamic "statement" {
    for_each = length(var.enclave_bucket_arns) > 0 ? [var.enclave_bucket_arns] : []

    content {
      sid       = "Enclaves"
      actions   = ["s3:GetObject", "s3:ListBucket", "s3:PutObject"]
      resources = concat(statement.value, [for arn in statement.value : "${arn}/*"])

      principals {
        type        = "*"
        identifiers = ["*"]
      }
    }
  }
}

data "aws_iam_policy_document" "logs" {
  dynamic "statement" {
    for_each = var.log_group_prefix == null ? [] : [var.log_group_prefix]

    content {
      sid     = "Enclaves"
      actions = ["logs:CreateLogStream", "logs:PutLogEvents"]
      resources = [
        for stream in ["application", "system"] : "${local.log_group}:${statement.value}*:log-stream:${stream}"
      ]

      principals {
        type        = "*"
        identifiers = ["*"]
      }
    }
  }

  dynamic "statement" {
    for_each = var.builds == null ? [] : ["/aws/imagebuilder/"]

    content {
      sid       = "Builds"
      actions   = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"]
      resources = ["${local.log_group}:${statement.value}*"]

      principals {
        type        = "*"
        identifiers = ["*"]
      }
    }
  }
}
