variable "deployment" {
  description = "Name of the installation; two in one account must not share it."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,29}$", var.deployment))
    error_message = "deployment has to be 2 to 30 lower-case letters, digits and dashes, the first a letter."
  }
}

variable "existing_dynamodb_table_name" {
  description = "Name of the web app's table when it exists already, with a stream (`scripts/connect-table`); null makes one."
  type        = string
  default     = null
}

variable "existing_table_has_status_index" {
  description = "Whether the existing table has the index `status-index`; without it each sweep scans the table."
  type        = bool
  default     = true
}

variable "ami_id" {
  description = "The parents' image; null until the first is built, and nothing but buckets, tables, network and the pipeline are made until then."
  type        = string
  default     = null
}

variable "release" {
  description = "Version of the released archives in the bucket of artifacts."
  type        = string
}

variable "architecture" {
  description = "Of the coordinator's function: `arm64` or `x86_64`."
  type        = string
  default     = "x86_64"
}

variable "release_sha256" {
  description = "SHA-256 of the agent's released archive, in hex, which the AMI's build compares; null until the first is published."
  type        = string
  default     = null

  validation {
    condition     = var.release_sha256 == null || can(regex("^[0-9a-f]{64}$", var.release_sha256))
    error_message = "release_sha256 has to be 64 hex digits."
  }
}

variable "availability_zones" {
  description = "Zones with a subnet each; parents run in the first. Not used with a network of one's own."
  type        = list(string)
  default     = []
}

variable "network" {
  description = "A network of one's own instead of a new one: `vpc_id`, `subnet_id` of the parents, `endpoints_cidr` when they use interface endpoints. DynamoDB and S3 have to be reached through gateway endpoints there."
  type        = object({ vpc_id = string, subnet_id = string, endpoints_cidr = optional(string) })
  default     = null
}

variable "cidr" {
  description = "IPv4 range of a new network."
  type        = string
  default     = "10.64.0.0/16"
}

variable "more_eif_bucket_arns" {
  description = "ARNs of further buckets of images, besides the one made here."
  type        = list(string)
  default     = []
}

variable "manifest_public_keys" {
  description = "Public keys, PEM, of those whose signed manifests of images count."
  type        = list(string)
  default     = []
}

variable "report_lock_days" {
  description = "Days for which nobody can delete a report; null locks none. Cannot be undone."
  type        = number
  default     = null
}

variable "alarm_emails" {
  description = "Addresses that are told of alarms and of enclaves that fail."
  type        = set(string)
  default     = []
}

variable "fallback_types" {
  description = "Instance types to fall back to when EC2 has no capacity."
  type        = list(string)
  default     = []
}

variable "spares" {
  description = "Hosts to keep booted, each at the price of an instance."
  type        = list(object({ instance_type = string, count = number, availability_zone = optional(string) }))
  default     = []
}

variable "coordinator_settings" {
  description = "More keys of `coordinator.example.toml`."
  type        = map(string)
  default     = {}
}

variable "most_concurrent" {
  description = "How many invocations of the coordinator may run at a time; bounds what a flood of records costs. -1 for no limit, which new accounts need: they have 10 in all."
  type        = number
  default     = 10
}

variable "log_retention_days" {
  description = "Days for which the coordinator's logs are kept."
  type        = number
  default     = 90
}

variable "builds_images" {
  description = "Whether the network made here has the five interface endpoints that building the parents' image needs, at about $8 a month each. Parents do without; switch it off between two builds."
  type        = bool
  default     = true
}

variable "allow_session_manager" {
  description = "Whether people may open a shell on parents through SSM."
  type        = bool
  default     = false
}

variable "keeps_data" {
  description = "Whether tables refuse to be deleted, and buckets that hold something too. Off only where things are tried."
  type        = bool
  default     = true
}
