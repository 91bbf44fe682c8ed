variable "deployment" {
  description = "Name of the installation."
  type        = string
}

variable "cidr" {
  description = "IPv4 range of the VPC, from /16 to /24."
  type        = string
  default     = "10.64.0.0/16"

  validation {
    condition     = can(cidrnetmask(var.cidr)) && try(tonumber(split("/", var.cidr)[1]) >= 16 && tonumber(split("/", var.cidr)[1]) <= 24, false)
    error_message = "cidr has to be an IPv4 range from /16 to /24."
  }
}

variable "availability_zones" {
  description = "Zones with a subnet each, in order: parents are launched in the first that has capacity."
  type        = list(string)

  validation {
    condition     = length(var.availability_zones) >= 1 && length(var.availability_zones) <= 4
    error_message = "availability_zones has to name one to four zones."
  }
}

variable "hosts_table_arn" {
  description = "ARN of the table between coordinator and agents, the only one that is reached from here."
  type        = string
}

variable "eif_bucket_arns" {
  description = "ARNs of the buckets of images that agents read."
  type        = list(string)
}

variable "enclave_bucket_arns" {
  description = "ARNs of buckets that enclaves read and write themselves, through their parents and with credentials of their own."
  type        = list(string)
  default     = []
}

variable "log_group_prefix" {
  description = "What the log groups of enclaves are called before the enclave's id, when agents write any."
  type        = string
  default     = null
}

variable "builds" {
  description = "What builds of the parents' image read here: `artifacts_bucket_arn`; null when none is built."
  type        = object({ artifacts_bucket_arn = string })
  default     = null
}

variable "interface_services" {
  description = "AWS services that are reached by interface endpoints, in the words of `com.amazonaws.<region>.<service>`. DynamoDB and S3 have gateways always."
  type        = set(string)
  default     = []

  validation {
    condition     = length(setintersection(var.interface_services, ["dynamodb", "s3"])) == 0
    error_message = "DynamoDB and S3 are reached by gateway endpoints, which cost nothing."
  }
}
