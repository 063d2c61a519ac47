output "cluster" {
  description = "For `aws eks update-kubeconfig --name`."
  value       = aws_eks_cluster.this.name
}

output "registry" {
  description = "For `make publish REGISTRY=`."
  value       = split("/", values(aws_ecr_repository.this)[0].repository_url)[0]
}

output "model_store" {
  description = "Where the init container fetches models."
  value       = "s3://${aws_s3_bucket.models.bucket}"
}

output "model_reader_role_arn" {
  description = "For k8s/components/model/init-container/patch-service-account.yaml."
  value       = aws_iam_role.pod["model-reader"].arn
}

output "signatures_role_arn" {
  description = "For the service account of Sigstore's policy-controller."
  value       = aws_iam_role.pod["signatures"].arn
}

output "release_role_arn" {
  description = "For the repository's variable AWS_ROLE; null without `repository`."
  value       = one(aws_iam_role.release[*].arn)
}
