terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.0"
    }
  }

  # Bucket and region come from scripts/create-backend, as backend.hcl. S3 itself keeps the lock.
  backend "s3" {
    key          = "bailey/staging.tfstate"
    encrypt      = true
    use_lockfile = true
  }
}
