output "eif_bucket" {
  description = "The bucket of enclave images: `name`, `arn`."
  value       = { name = aws_s3_bucket.this["eif"].id, arn = aws_s3_bucket.this["eif"].arn }
}

output "reports_bucket" {
  description = "The bucket of attestation reports: `name`, `arn`."
  value       = { name = aws_s3_bucket.this["reports"].id, arn = aws_s3_bucket.this["reports"].arn }
}

output "artifacts_bucket" {
  description = "The bucket of released archives: `name`, `arn`."
  value       = { name = aws_s3_bucket.this["artifacts"].id, arn = aws_s3_bucket.this["artifacts"].arn }
}
