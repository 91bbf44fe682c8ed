output "region" {
  description = "The region."
  value       = var.region
}

output "deployment" {
  description = "Name of the installation."
  value       = module.installation.deployment
}

output "enclaves_table" {
  description = "The web app's table."
  value       = module.installation.enclaves_table
}

output "ledger_table" {
  description = "The coordinator's table."
  value       = module.installation.ledger_table
}

output "hosts_table" {
  description = "The table between coordinator and agents."
  value       = module.installation.hosts_table
}

output "eif_bucket" {
  description = "The bucket of enclave images."
  value       = module.installation.eif_bucket
}

output "reports_bucket" {
  description = "The bucket of attestation reports."
  value       = module.installation.reports_bucket
}

output "artifacts_bucket" {
  description = "The bucket of released archives."
  value       = module.installation.artifacts_bucket
}

output "subnets" {
  description = "The parents' subnets, best zone first."
  value       = module.installation.subnets
}

output "log_group_prefix" {
  description = "What log groups of enclaves are called before the enclave's id; null when none are made."
  value       = module.installation.log_group_prefix
}

output "image_pipeline_arn" {
  description = "The pipeline that makes the parents' image."
  value       = module.installation.image_pipeline_arn
}

output "web_app_policy_arn" {
  description = "The policy to attach to the web app's role."
  value       = module.installation.web_app_policy_arn
}

output "coordinator_function" {
  description = "The coordinator's function; null until there is an image of the parents."
  value       = module.installation.coordinator_function
}

output "coordinator_log_group" {
  description = "The coordinator's log group; null until there is an image of the parents."
  value       = module.installation.coordinator_log_group
}

output "launch_template" {
  description = "Name of the parents' launch template; null until there is an image of the parents."
  value       = module.installation.launch_template
}

output "parent_role_arn" {
  description = "The parents' role; null until there is an image of the parents."
  value       = module.installation.parent_role_arn
}

output "topic_arn" {
  description = "The SNS topic of alarms; null until there is an image of the parents."
  value       = module.installation.topic_arn
}

output "dashboard" {
  description = "The dashboard; null until there is an image of the parents."
  value       = module.installation.dashboard
}
