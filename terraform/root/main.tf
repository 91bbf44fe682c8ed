# An environment is the installation with values of its own: see terraform.tfvars. The three roots link to
# these files, and differ in their values and in the key of their state.

provider "aws" {
  region = var.region

  default_tags {
    tags = {
      "bailey:deployment" = var.deployment
      "bailey:managed-by" = "terraform"
    }
  }
}

module "installation" {
  source = "../../modules/installation"

  deployment                      = var.deployment
  existing_dynamodb_table_name    = var.existing_dynamodb_table_name
  existing_table_has_status_index = var.existing_table_has_status_index
  ami_id                          = var.ami_id
  release                         = var.release
  architecture                    = var.architecture
  release_sha256                  = var.release_sha256
  coordinator_archive             = var.coordinator_archive
  availability_zones              = var.availability_zones
  network                         = var.network
  cidr                            = var.cidr
  more_eif_bucket_arns            = var.more_eif_bucket_arns
  enclave_bucket_arns             = var.enclave_bucket_arns
  parents_ingress                 = var.parents_ingress
  allow_ingress_from_anywhere     = var.allow_ingress_from_anywhere
  parents_egress                  = var.parents_egress
  manifest_public_keys            = var.manifest_public_keys
  report_lock_days                = var.report_lock_days
  alarm_emails                    = var.alarm_emails
  fallback_types                  = var.fallback_types
  spares                          = var.spares
  coordinator_settings            = var.coordinator_settings
  most_concurrent                 = var.most_concurrent
  log_group_prefix                = var.log_group_prefix
  log_retention_days              = var.log_retention_days
  builds_images                   = var.builds_images
  allow_session_manager           = var.allow_session_manager
  keeps_data                      = var.keeps_data
}
