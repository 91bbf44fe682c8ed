variable "region" {
  description = "The region of everything but AWS's own global services."
  type        = string
}

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

variable "coordinator_archive" {
  description = "What of the coordinator was published: `sha256` of the archive in base64, and `version` of the object in S3; null takes what is there."
  type        = object({ sha256 = string, version = optional(string) })
  default     = null
}

variable "availability_zones" {
  description = "Zones with a subnet each, best first: parents are launched in the first that has capacity. Not used with a network of one's own."
  type        = list(string)
  default     = []
}

variable "network" {
  description = "A network of one's own instead of a new one: `vpc_id`, `subnet_ids` of the parents (one for each zone, best zone first), `endpoints_cidr` when they use interface endpoints. DynamoDB and S3 have to be reached through gateway endpoints there."
  type        = object({ vpc_id = string, subnet_ids = list(string), endpoints_cidr = optional(string) })
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

variable "enclave_bucket_arns" {
  description = "ARNs of buckets that enclaves read and write themselves, with credentials of their own; the network made here lets nobody else through to S3."
  type        = list(string)
  default     = []
}

variable "parents_ingress" {
  description = "Who may connect to which ports of parents, for enclaves with `ingress`: TCP ports from 1024, `cidr_ipv4` or `security_group_id`."
  type = list(object({
    from_port         = number
    to_port           = optional(number)
    cidr_ipv4         = optional(string)
    security_group_id = optional(string)
    description       = optional(string, "To enclaves")
  }))
  default = []
}

variable "allow_ingress_from_anywhere" {
  description = "Whether `parents_ingress` may name ranges wider than /8, as 0.0.0.0/0 is."
  type        = bool
  default     = false
}

variable "parents_egress" {
  description = "What parents may reach for enclaves with `egress`, besides DynamoDB and S3: TCP ports, `cidr_ipv4`, `cidr_ipv6`, `prefix_list_id` or `security_group_id`."
  type = list(object({
    from_port         = number
    to_port           = optional(number)
    cidr_ipv4         = optional(string)
    cidr_ipv6         = optional(string)
    prefix_list_id    = optional(string)
    security_group_id = optional(string)
    description       = optional(string, "For enclaves")
  }))
  default = []
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

variable "log_group_prefix" {
  description = "What log groups of enclaves are called before the enclave's id, as `/aws/ec2/enclave/`: what workloads print goes there, and accepted measurements for older web apps. null makes none. Parents then use an interface endpoint, at about $8 a month."
  type        = string
  default     = null
}

variable "log_retention_days" {
  description = "Days for which the logs of the coordinator and of enclaves are kept: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731 or more as CloudWatch has it."
  type        = number
  default     = 90

  validation {
    condition = contains(
      [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653],
      var.log_retention_days,
    )
    error_message = "log_retention_days has to be a number of days that CloudWatch Logs knows."
  }
}

variable "builds_images" {
  description = "Whether the network made here has the five interface endpoints that building the parents' image needs, at about $8 a month each. Parents do without, but for `log_group_prefix` and Session Manager; switch it off between two builds."
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
