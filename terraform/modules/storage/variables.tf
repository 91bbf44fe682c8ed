variable "deployment" {
  description = "Name of the installation, and prefix of the buckets' names."
  type        = string
}

variable "report_lock_days" {
  description = "Days for which nobody, not even the account's root, can delete a report; null locks none. Cannot be undone."
  type        = number
  default     = null

  validation {
    condition     = var.report_lock_days == null || try(var.report_lock_days >= 1 && floor(var.report_lock_days) == var.report_lock_days, false)
    error_message = "report_lock_days has to be a whole number from 1, or null."
  }
}

variable "old_version_days" {
  description = "Days after which versions that were replaced are removed from the buckets of images and of artifacts."
  type        = number
  default     = 90

  validation {
    condition     = var.old_version_days >= 1
    error_message = "old_version_days has to be at least 1: a deploy under way pins the version that it reads."
  }
}

variable "force_destroy" {
  description = "Whether destroying the installation deletes what is in the buckets. For installations to try things on."
  type        = bool
  default     = false
}
