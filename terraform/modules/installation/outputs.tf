output "deployment" {
  description = "Name of the installation."
  value       = var.deployment
}

output "enclaves_table" {
  description = "The web app's table."
  value       = module.tables.enclaves.name
}

output "ledger_table" {
  description = "The coordinator's table."
  value       = module.tables.ledger.name
}

output "hosts_table" {
  description = "The table between coordinator and agents."
  value       = module.tables.hosts.name
}

output "eif_bucket" {
  description = "The bucket of enclave images."
  value       = module.storage.eif_bucket.name
}

output "reports_bucket" {
  description = "The bucket of attestation reports."
  value       = module.storage.reports_bucket.name
}

output "artifacts_bucket" {
  description = "The bucket of released archives."
  value       = module.storage.artifacts_bucket.name
}

output "subnets" {
  description = "The parents' subnets, best zone first."
  value       = local.subnets
}

output "log_group_prefix" {
  description = "What log groups of enclaves are called before the enclave's id; null when none are made."
  value       = var.log_group_prefix
}

output "image_pipeline_arn" {
  description = "The pipeline that makes the parents' image."
  value       = module.image_builder.pipeline_arn
}

output "web_app_policy_arn" {
  description = "The policy to attach to the web app's role."
  value       = module.web_app_access.policy_arn
}

output "coordinator_function" {
  description = "The coordinator's function; null until there is an image of the parents."
  value       = one(module.coordinator[*].function_name)
}

output "coordinator_log_group" {
  description = "The coordinator's log group; null until there is an image of the parents."
  value       = one(module.coordinator[*].log_group_name)
}

output "launch_template" {
  description = "Name of the parents' launch template; null until there is an image of the parents."
  value       = one(module.parents[*].launch_template.name)
}

output "parent_role_arn" {
  description = "The parents' role; null until there is an image of the parents."
  value       = one(module.parents[*].role_arn)
}

output "topic_arn" {
  description = "The SNS topic of alarms; null until there is an image of the parents."
  value       = one(module.observability[*].topic_arn)
}

output "dashboard" {
  description = "The dashboard; null until there is an image of the parents."
  value       = one(module.observability[*].dashboard_name)
}
