# One installation of Bailey: the modules, put together.

data "aws_caller_identity" "current" {}

locals {
  repository = "${path.module}/../../.."

  vpc_id = var.network == null ? one(module.network).vpc_id : var.network.vpc_id
  subnets = var.network == null ? one(module.network).subnets : [
    for id in var.network.subnet_ids :
    { availability_zone = data.aws_subnet.theirs[id].availability_zone, subnet_id = id }
  ]

  # What an instance needs that is ordered about by SSM; building an image needs the others too.
  session_services = ["ec2messages", "ssm", "ssmmessages"]
  build_services   = concat(local.session_services, ["imagebuilder", "logs"])
  interface_services = distinct(concat(
    var.builds_images ? local.build_services : [],
    var.allow_session_manager ? local.session_services : [],
    var.log_group_prefix == null ? [] : ["logs"],
  ))
  endpoints_cidr = var.network == null ? var.cidr : var.network.endpoints_cidr
  # Whether parents themselves call anything through an interface endpoint.
  use_interfaces = var.allow_session_manager || var.log_group_prefix != null

  eif_bucket_arns = concat([module.storage.eif_bucket.arn], var.more_eif_bucket_arns)
  has_image       = var.ami_id != null
}

# A network of one's own: what has to be so of each subnet, for the template cannot say it.
data "aws_subnet" "theirs" {
  for_each = toset(var.network == null ? [] : var.network.subnet_ids)

  id = each.key

  lifecycle {
    postcondition {
      condition     = self.vpc_id == var.network.vpc_id
      error_message = "${each.key} is not in ${var.network.vpc_id}."
    }
    postcondition {
      condition     = !self.map_public_ip_on_launch
      error_message = "${each.key} gives instances public addresses, which parents must not have."
    }
  }
}

module "tables" {
  source = "../tables"

  deployment                      = var.deployment
  existing_enclaves_table_name    = var.existing_dynamodb_table_name
  existing_table_has_status_index = var.existing_table_has_status_index
  deletion_protection             = var.keeps_data
}

module "storage" {
  source = "../storage"

  deployment       = var.deployment
  report_lock_days = var.report_lock_days
  force_destroy    = !var.keeps_data
}

module "network" {
  source = "../network"
  count  = var.network == null ? 1 : 0

  deployment         = var.deployment
  cidr               = var.cidr
  availability_zones = var.availability_zones
  interface_services = local.interface_services

  hosts_table_arn     = module.tables.hosts.arn
  eif_bucket_arns     = local.eif_bucket_arns
  enclave_bucket_arns = var.enclave_bucket_arns
  log_group_prefix    = var.log_group_prefix
  builds              = var.builds_images ? { artifacts_bucket_arn = module.storage.artifacts_bucket.arn } : null
}

module "parents" {
  source = "../parents"
  count  = local.has_image ? 1 : 0

  deployment                  = var.deployment
  ami_id                      = var.ami_id
  vpc_id                      = local.vpc_id
  interface_endpoints_cidr    = local.use_interfaces ? local.endpoints_cidr : null
  hosts_table                 = module.tables.hosts
  eif_bucket_arns             = local.eif_bucket_arns
  log_group_prefix            = var.log_group_prefix
  ingress                     = var.parents_ingress
  allow_ingress_from_anywhere = var.allow_ingress_from_anywhere
  egress                      = var.parents_egress
  allow_session_manager       = var.allow_session_manager
}

module "coordinator" {
  source = "../coordinator"
  count  = local.has_image ? 1 : 0

  deployment   = var.deployment
  architecture = var.architecture
  package = {
    bucket  = module.storage.artifacts_bucket.name
    key     = "releases/${var.release}/coordinator-lambda-${var.architecture}.zip"
    version = try(var.coordinator_archive.version, null)
    sha256  = try(var.coordinator_archive.sha256, null)
  }
  enclaves_table = module.tables.enclaves
  ledger_table   = module.tables.ledger
  hosts_table    = module.tables.hosts
  event_filters = {
    enclaves = file("${local.repository}/coordinator/event-filters/enclaves.json")
    hosts    = file("${local.repository}/coordinator/event-filters/hosts.json")
  }
  reports_bucket            = module.storage.reports_bucket
  eif_bucket_arns           = local.eif_bucket_arns
  ami_id                    = var.ami_id
  subnets                   = local.subnets
  launch_template           = one(module.parents).launch_template
  parent_role_arn           = one(module.parents).role_arn
  parent_security_group_arn = one(module.parents).security_group_arn
  topic_arn                 = one(module.observability).topic_arn
  manifest_public_keys      = var.manifest_public_keys
  fallback_types            = var.fallback_types
  spares                    = var.spares
  settings                  = var.coordinator_settings
  most_concurrent           = var.most_concurrent
  log_group_prefix          = var.log_group_prefix
  log_retention_days        = var.log_retention_days
}

module "observability" {
  source = "../observability"
  count  = local.has_image ? 1 : 0

  deployment = var.deployment
  # By their names, for the coordinator in turn is given the topic.
  function_name       = "${var.deployment}-coordinator"
  failures_queue_name = "${var.deployment}-coordinator-failures"
  alarm_emails        = var.alarm_emails
}

module "web_app_access" {
  source = "../web-app-access"

  deployment         = var.deployment
  enclaves_table_arn = module.tables.enclaves.arn
  reports_bucket_arn = module.storage.reports_bucket.arn
}

resource "aws_security_group" "builder" {
  name        = "${var.deployment}-image-builder"
  description = "Instances on which the parents' image is built: nothing comes in"
  vpc_id      = local.vpc_id
}

# Packages come from S3, orders from SSM: both in this region, through endpoints.
resource "aws_vpc_security_group_egress_rule" "builder" {
  security_group_id = aws_security_group.builder.id
  description       = "TLS to endpoints of AWS"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = "0.0.0.0/0"
}

module "image_builder" {
  source = "../image-builder"

  deployment           = var.deployment
  component            = file("${local.repository}/ami/component.yaml")
  release              = var.release
  artifacts_bucket_arn = module.storage.artifacts_bucket.arn
  subnet_id            = local.subnets[0].subnet_id
  security_group_ids   = [aws_security_group.builder.id]
  component_parameters = {
    ReleaseUri         = "s3://${module.storage.artifacts_bucket.name}/releases/${var.release}/agent.tar.gz"
    ReleaseSha256      = var.release_sha256 == null ? "unknown" : var.release_sha256
    ReleaseBucketOwner = data.aws_caller_identity.current.account_id
    Ssm                = var.allow_session_manager ? "yes" : "no"
  }
}
