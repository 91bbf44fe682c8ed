variables {
  deployment = "test"
}

run "locks_no_reports_unless_asked" {
  assert {
    condition     = alltrue([for bucket in aws_s3_bucket.this : !bucket.object_lock_enabled])
    error_message = "No bucket should have a lock."
  }
}

run "locks_reports_and_nothing_else" {
  variables {
    report_lock_days = 365
  }

  assert {
    condition     = [for kind, bucket in aws_s3_bucket.this : kind if bucket.object_lock_enabled] == ["reports"]
    error_message = "Reports alone should be locked."
  }
  assert {
    condition     = one(aws_s3_bucket_object_lock_configuration.reports).rule[0].default_retention[0].mode == "COMPLIANCE"
    error_message = "Nobody should be able to lift the lock."
  }
}

run "refuses_half_a_day" {
  command = plan

  variables {
    report_lock_days = 0.5
  }

  expect_failures = [var.report_lock_days]
}
