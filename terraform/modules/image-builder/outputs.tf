output "pipeline_arn" {
  description = "The pipeline, which `scripts/build-and-publish` starts."
  value       = aws_imagebuilder_image_pipeline.this.arn
}

output "recipe_name" {
  description = "Name of the recipe, another one for each content."
  value       = aws_imagebuilder_image_recipe.this.name
}
