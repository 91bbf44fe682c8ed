variable "deployment" {
  description = "Name of the installation."
  type        = string
}

variable "ami_id" {
  description = "The image of the parents, with agent, nitro-cli and allocator baked in."
  type        = string

  validation {
    condition     = can(regex("^ami-[0-9a-f]{8,17}$", var.ami_id))
    error_message = "ami_id has to be the id of an AMI, ami-…"
  }
}

variable "vpc_id" {
  description = "The VPC of the parents."
  type        = string
}

variable "subnet_id" {
  description = "The subnet of the parents, which has to reach DynamoDB and S3 through endpoints of the VPC."
  type        = string
}

variable "interface_endpoints_cidr" {
  description = "IPv4 range in which interface endpoints are, when parents may use any; null for none."
  type        = string
  default     = null
}

variable "hosts_table" {
  description = "The table between coordinator and agents: `name`, `arn`."
  type        = object({ name = string, arn = string })
}

variable "eif_bucket_arns" {
  description = "ARNs of the buckets from which agents may read images."
  type        = list(string)

  validation {
    condition     = length(var.eif_bucket_arns) > 0 && alltrue([for arn in var.eif_bucket_arns : can(regex("^arn:[^:*]+:s3:::[^*/]+$", arn))])
    error_message = "eif_bucket_arns has to name buckets by their ARNs, without wildcards."
  }
}

variable "root_volume_gib" {
  description = "Size of the root volume in GiB; it holds the cache of images."
  type        = number
  default     = 30

  validation {
    condition     = var.root_volume_gib >= 10
    error_message = "root_volume_gib has to be at least 10."
  }
}

variable "allow_session_manager" {
  description = "Whether people may open a shell on parents through SSM Session Manager. Whoever can, can lie for a parent, though for no other."
  type        = bool
  default     = false
}
