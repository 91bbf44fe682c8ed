# As production, with fewer hosts and shorter memory.
region             = "eu-west-1"
deployment         = "bailey-staging"
release            = "0.1.0"
availability_zones = ["eu-west-1a", "eu-west-1b"]
log_retention_days = 30

# The web app's table, when it exists: scripts/connect-table staging TABLE checks it, and enables its stream.
existing_dynamodb_table_name = null

# scripts/build-and-publish writes release_sha256 and ami_id into release.auto.tfvars.

fallback_types = ["m6i.xlarge", "m5.xlarge"]

coordinator_settings = {
  deploy_timeout_s  = 1800
  destroy_timeout_s = 1200
}
