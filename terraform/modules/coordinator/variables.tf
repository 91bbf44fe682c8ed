variable "deployment" {
  description = "Name of the installation: in launch tokens, in the tag `bailey:deployment` of instances, and as dimension of metrics."
  type        = string
}

variable "package" {
  description = "The function's archive in S3: `bucket`, `key`, `version` (of the object), `sha256` (in base64), made by `scripts/build-and-publish`. With the last two exactly what was published is deployed, and a new build is by the next apply."
  type        = object({ bucket = string, key = string, version = optional(string), sha256 = optional(string) })

  validation {
    condition     = var.package.sha256 == null || can(regex("^[A-Za-z0-9+/]{43}=$", var.package.sha256))
    error_message = "package.sha256 has to be a SHA-256 in base64."
  }
}

variable "architecture" {
  description = "Of the function: `arm64` or `x86_64`, as the archive was built."
  type        = string
  default     = "x86_64"

  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "architecture has to be arm64 or x86_64."
  }
}

variable "enclaves_table" {
  description = "The web app's table: `name`, `arn`, `stream_arn`, `has_status_index`."
  type        = object({ name = string, arn = string, stream_arn = string, has_status_index = bool })
}

variable "ledger_table" {
  description = "The coordinator's table: `name`, `arn`."
  type        = object({ name = string, arn = string })
}

variable "hosts_table" {
  description = "The table between coordinator and agents: `name`, `arn`, `stream_arn`."
  type        = object({ name = string, arn = string, stream_arn = string })
}

variable "event_filters" {
  description = "What of the streams the function is invoked with: JSON lists of patterns, as in `coordinator/event-filters`."
  type        = object({ enclaves = string, hosts = string })

  validation {
    condition     = can(length(jsondecode(var.event_filters.enclaves))) && can(length(jsondecode(var.event_filters.hosts)))
    error_message = "event_filters have to be JSON lists of patterns."
  }
}

variable "reports_bucket" {
  description = "The bucket of attestation reports: `name`, `arn`."
  type        = object({ name = string, arn = string })
}

variable "eif_bucket_arns" {
  description = "ARNs of the buckets of images, of which signed manifests are read."
  type        = list(string)
}

variable "launch_template" {
  description = "The parents' launch template: `id`, `arn`, `name`, `version`."
  type        = object({ id = string, arn = string, name = string, version = number })
}

variable "ami_id" {
  description = "The parents' image, which the coordinator may launch."
  type        = string
}

variable "subnets" {
  description = "The parents' zones, best first, with a subnet for each, into which the coordinator may launch: `availability_zone`, `subnet_id`."
  type        = list(object({ availability_zone = string, subnet_id = string }))

  validation {
    condition     = length(var.subnets) > 0
    error_message = "subnets has to name one at least."
  }
  validation {
    condition     = length(distinct([for it in var.subnets : it.availability_zone])) == length(var.subnets)
    error_message = "subnets has to name each zone once."
  }
}

variable "parent_role_arn" {
  description = "The parents' role, the only one that the coordinator may pass on."
  type        = string
}

variable "parent_security_group_arn" {
  description = "The parents' security group."
  type        = string
}

variable "topic_arn" {
  description = "SNS topic on which people are told of enclaves that fail or are degraded; null tells nobody."
  type        = string
  default     = null
}

variable "manifest_public_keys" {
  description = "Public keys, PEM, of those whose signed manifests of images count."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for key in var.manifest_public_keys : startswith(key, "-----BEGIN PUBLIC KEY-----")])
    error_message = "manifest_public_keys have to be PEM texts of public keys."
  }
}

variable "fallback_types" {
  description = "Instance types to fall back to when EC2 has no capacity for the one asked for."
  type        = list(string)
  default     = []
}

variable "spares" {
  description = "Hosts to keep booted, each at the price of an instance."
  type        = list(object({ instance_type = string, count = number, availability_zone = optional(string) }))
  default     = []

  validation {
    condition     = alltrue([for spare in var.spares : spare.count >= 0 && spare.count <= 20])
    error_message = "Each of the spares has to be 0 to 20 hosts."
  }
  validation {
    condition = alltrue([
      for spare in var.spares : spare.availability_zone == null ? true : contains([for it in var.subnets : it.availability_zone], spare.availability_zone)
    ])
    error_message = "The availability_zone of spares has to be one of those that have a subnet."
  }
}

variable "settings" {
  description = "More keys of `coordinator.example.toml`: numbers of seconds, and `strict_instance_types`."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for value in values(var.settings) : can(regex("^([0-9]+|true|false)$", value))])
    error_message = "settings have to be whole numbers, true or false."
  }
}

variable "sweep_schedule" {
  description = "When the coordinator looks for what the streams did not say: a schedule expression."
  type        = string
  default     = "rate(1 minute)"
}

variable "memory_mib" {
  description = "Memory of the function in MiB; its share of a CPU grows with it."
  type        = number
  default     = 512
}

variable "timeout_s" {
  description = "How long one invocation may take, in seconds."
  type        = number
  default     = 60

  validation {
    condition     = var.timeout_s >= 20 && var.timeout_s <= 900
    error_message = "timeout_s has to be from 20 to 900: five seconds before its end an invocation takes up nothing new."
  }
}

variable "most_concurrent" {
  description = "How many invocations may run at a time; bounds what a flood of records costs. -1 for no limit, which new accounts need: they have 10 in all."
  type        = number
  default     = 10
}

variable "log_group_prefix" {
  description = "What the log groups of enclaves are called before the enclave's id: the coordinator makes them for the agents, and writes accepted measurements there. null makes none."
  type        = string
  default     = null
}

variable "log_retention_days" {
  description = "Days for which the function's logs and those of enclaves are kept."
  type        = number
  default     = 90
}
