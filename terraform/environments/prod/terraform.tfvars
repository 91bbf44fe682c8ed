# Production: data that nobody deletes by accident, reports that nobody deletes at all for a year.
region             = "eu-west-1"
deployment         = "bailey-prod"
release            = "0.1.0"
availability_zones = ["eu-west-1a", "eu-west-1b", "eu-west-1c"]
log_retention_days = 365
report_lock_days   = 365

# The web app's table, when it exists: scripts/connect-table prod TABLE checks it, and enables its stream.
existing_dynamodb_table_name = null

# scripts/build-and-publish writes release_sha256 and ami_id into release.auto.tfvars.

# Whoever is to be told; each address has to confirm.
alarm_emails = []

fallback_types = ["m6i.xlarge", "m5.xlarge", "r5.xlarge"]

# Hosts that are booted before anybody asks cost what instances cost.
spares = []

coordinator_settings = {
  deploy_timeout_s  = 2400
  destroy_timeout_s = 1800
}
