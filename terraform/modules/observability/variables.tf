variable "deployment" {
  description = "Name of the installation: the dimension `Deployment` of its metrics."
  type        = string
}

variable "function_name" {
  description = "The coordinator's function."
  type        = string
}

variable "failures_queue_name" {
  description = "The queue of what the coordinator could not serve."
  type        = string
}

variable "alarm_emails" {
  description = "Addresses that are told of alarms, and of enclaves that fail or are degraded; each has to confirm."
  type        = set(string)
  default     = []
}

variable "thresholds" {
  description = "When alarms go off: failed enclaves in 5 minutes, steps that were tried again in 5 minutes, age of a stream's unread records in seconds."
  type = object({
    failures      = optional(number, 0)
    steps_retried = optional(number, 20)
    stream_age_s  = optional(number, 60)
  })
  default = {}
}
