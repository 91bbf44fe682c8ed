# How the parents' image is made: the release's own provisioning script, run by EC2 Image Builder.
# A build is started by scripts/build-and-publish, never by itself: an image is a release.

data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  name      = "${var.deployment}-parent"
  partition = data.aws_partition.current.partition
  base_image = coalesce(var.base_image, join(":", [
    "arn", local.partition, "imagebuilder", data.aws_region.current.region, "aws",
    "image/amazon-linux-2023-x86/x.x.x",
  ]))
  # Component and recipe never change: one with another content has another name, and replaces the one before.
  content  = sha256(jsonencode([var.component, var.component_parameters, var.release, local.base_image]))
  contents = "${local.name}-${substr(local.content, 0, 12)}"
}

resource "aws_imagebuilder_component" "this" {
  name        = local.contents
  description = "Agent, nitro-cli and allocator, by the release's provisioning script"
  platform    = "Linux"
  version     = var.release
  data        = var.component

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_imagebuilder_image_recipe" "this" {
  name         = local.contents
  version      = var.release
  parent_image = local.base_image

  component {
    component_arn = aws_imagebuilder_component.this.arn

    dynamic "parameter" {
      for_each = var.component_parameters

      content {
        name  = parameter.key
        value = parameter.value
      }
    }
  }

  block_device_mapping {
    device_name = "/dev/xvda"

    ebs {
      volume_type           = "gp3"
      volume_size           = 10
      encrypted             = "true"
      delete_on_termination = "true"
    }
  }

  lifecycle {
    create_before_destroy = true
  }
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
  name               = "${var.deployment}-image-builder"
  description        = "Instances on which the parents' image is built"
  assume_role_policy = data.aws_iam_policy_document.assume.json
}

# What Image Builder demands of such an instance, as AWS keeps it.
resource "aws_iam_role_policy_attachment" "this" {
  for_each = toset(["AmazonSSMManagedInstanceCore", "EC2InstanceProfileForImageBuilder"])

  role       = aws_iam_role.this.name
  policy_arn = "arn:${local.partition}:iam::aws:policy/${each.key}"
}

data "aws_iam_policy_document" "releases" {
  statement {
    sid       = "ReadReleases"
    actions   = ["s3:GetObject"]
    resources = ["${var.artifacts_bucket_arn}/releases/*"]
  }
}

resource "aws_iam_role_policy" "releases" {
  name   = "releases"
  role   = aws_iam_role.this.id
  policy = data.aws_iam_policy_document.releases.json
}

resource "aws_iam_instance_profile" "this" {
  name = aws_iam_role.this.name
  role = aws_iam_role.this.name
}

resource "aws_imagebuilder_infrastructure_configuration" "this" {
  name                          = local.name
  instance_profile_name         = aws_iam_instance_profile.this.name
  instance_types                = var.instance_types
  subnet_id                     = var.subnet_id
  security_group_ids            = var.security_group_ids
  terminate_instance_on_failure = true

  instance_metadata_options {
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }
}

resource "aws_imagebuilder_distribution_configuration" "this" {
  name = local.name

  distribution {
    region = data.aws_region.current.region

    ami_distribution_configuration {
      name = "${local.name}-{{ imagebuilder:buildDate }}"

      ami_tags = {
        "bailey:deployment" = var.deployment
        "bailey:release"    = var.release
      }
    }
  }
}

resource "aws_imagebuilder_image_pipeline" "this" {
  name                             = local.name
  image_recipe_arn                 = aws_imagebuilder_image_recipe.this.arn
  infrastructure_configuration_arn = aws_imagebuilder_infrastructure_configuration.this.arn
  distribution_configuration_arn   = aws_imagebuilder_distribution_configuration.this.arn
  enhanced_image_metadata_enabled  = true

  image_tests_configuration {
    image_tests_enabled = true
    timeout_minutes     = 60
  }
}
