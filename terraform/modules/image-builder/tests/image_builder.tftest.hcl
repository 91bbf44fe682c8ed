variables {
  deployment           = "test"
  component            = "name: x\nschemaVersion: 1.0\nphases: []\n"
  component_parameters = { ReleaseSha256 = "a" }
  release              = "0.1.0"
  artifacts_bucket_arn = "arn:aws:s3:::artifacts"
  subnet_id            = "subnet-1"
  security_group_ids   = ["sg-1"]
}

run "makes_a_recipe" {
  assert {
    condition     = aws_imagebuilder_image_recipe.this.name == aws_imagebuilder_component.this.name
    error_message = "Recipe and component should be named alike."
  }
}

run "gives_another_content_another_name" {
  variables {
    component_parameters = { ReleaseSha256 = "b" }
  }

  assert {
    condition     = aws_imagebuilder_image_recipe.this.name != run.makes_a_recipe.recipe_name
    error_message = "AWS refuses another recipe of the same name and version."
  }
}

run "refuses_a_document_that_is_none" {
  command = plan

  variables {
    component = "name: x"
  }

  expect_failures = [var.component]
}
