output "pipeline_arn" {
  description = "The pipeline, which `scripts/build-and-publish` starts."
  value       = aws_imagebuilder_image_pipeline.this.arn
}
