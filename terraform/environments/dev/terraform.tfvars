# To try things on: one zone, a table of its own, everything can be deleted.
region             = "eu-west-1"
deployment         = "bailey-dev"
release            = "0.1.0"
availability_zones = ["eu-west-1a"]
log_retention_days = 14
keeps_data         = false

# The web app's table, when it exists: scripts/connect-table dev TABLE checks it, and enables its stream.
existing_dynamodb_table_name = null

# scripts/build-and-publish writes release_sha256 and ami_id into release.auto.tfvars.

coordinator_settings = {
  deploy_timeout_s  = 1200
  destroy_timeout_s = 900
}
