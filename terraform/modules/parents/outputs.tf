output "launch_template" {
  description = "The launch template: `id`, `arn`, `name`, `version` (the newest, which is the default)."
  value = {
    id      = aws_launch_template.this.id
    arn     = aws_launch_template.this.arn
    name    = aws_launch_template.this.name
    version = aws_launch_template.this.latest_version
  }
}

output "role_arn" {
  description = "The parents' role, which PCR3 of every attestation document names."
  value       = aws_iam_role.this.arn
}

output "security_group_arn" {
  description = "The parents' security group."
  value       = aws_security_group.this.arn
}

output "security_group_id" {
  description = "The id of the parents' security group."
  value       = aws_security_group.this.id
}
