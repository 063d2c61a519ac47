# With a mocked provider: nothing is asked of AWS. `terraform test` runs it, `make terraform` with the rest.
mock_provider "aws" {
  override_during = plan
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:eu-central-1:123456789012:log-group:mocked" }
  }
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/mocked" }
  }
  mock_resource "aws_iam_openid_connect_provider" {
    defaults = { arn = "arn:aws:iam::123456789012:oidc-provider/mocked" }
  }
  mock_resource "aws_eks_cluster" {
    defaults = { identity = [{ oidc = [{ issuer = "https://oidc.eks.eu-central-1.amazonaws.com/id/ABC" }] }] }
  }
  mock_resource "aws_s3_bucket" {
    defaults = { arn = "arn:aws:s3:::sightline-models-test" }
  }
  mock_resource "aws_ecr_repository" {
    defaults = {
      arn            = "arn:aws:ecr:eu-central-1:123456789012:repository/sightline/mocked"
      repository_url = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/sightline/mocked"
    }
  }
}

variables {
  region          = "eu-central-1"
  zones           = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
  admin_role_arns = ["arn:aws:iam::123456789012:role/admin"]
  model_bucket    = "sightline-models-test"
}

run "api_server_is_private" {
  command = plan
  assert {
    condition     = aws_eks_cluster.this.vpc_config[0].endpoint_private_access && !aws_eks_cluster.this.vpc_config[0].endpoint_public_access
    error_message = "without api_public_cidrs the endpoint must be private"
  }
  assert {
    condition     = aws_eks_cluster.this.access_config[0].authentication_mode == "API" && !aws_eks_cluster.this.access_config[0].bootstrap_cluster_creator_admin_permissions
    error_message = "access is by entries, and nobody has it for having created the cluster"
  }
  assert {
    condition     = contains(aws_eks_cluster.this.enabled_cluster_log_types, "audit")
    error_message = "who asked the API server for what must be logged"
  }
}

run "what_happened_is_kept" {
  command = plan
  assert {
    condition     = aws_flow_log.this.traffic_type == "ALL" && alltrue([for group in [aws_cloudwatch_log_group.cluster, aws_cloudwatch_log_group.flows] : group.retention_in_days >= 365 && group.kms_key_id == aws_kms_key.cluster.arn])
    error_message = "the audit log and the network's flows must be kept for a year, encrypted"
  }
}

run "api_server_for_some" {
  command = plan
  variables {
    api_public_cidrs = ["203.0.113.7/32"]
  }
  assert {
    condition     = aws_eks_cluster.this.vpc_config[0].endpoint_public_access && tolist(aws_eks_cluster.this.vpc_config[0].public_access_cidrs) == tolist(["203.0.113.7/32"])
    error_message = "the endpoint must be open to the given networks and no other"
  }
}

run "everything_is_encrypted" {
  command = plan
  assert {
    condition     = aws_eks_cluster.this.encryption_config[0].resources == toset(["secrets"]) && aws_eks_cluster.this.encryption_config[0].provider[0].key_arn == aws_kms_key.cluster.arn
    error_message = "secrets must be encrypted by the cluster's key"
  }
  assert {
    condition     = alltrue([for disk in aws_launch_template.node.block_device_mappings : disk.ebs[0].encrypted == "true"])
    error_message = "nodes' disks must be encrypted"
  }
  assert {
    condition     = alltrue([for key in [aws_kms_key.cluster, aws_kms_key.store] : key.enable_key_rotation])
    error_message = "keys must rotate"
  }
  assert {
    condition     = one(one(aws_s3_bucket_server_side_encryption_configuration.models.rule).apply_server_side_encryption_by_default).sse_algorithm == "aws:kms" && alltrue([for r in aws_ecr_repository.this : r.encryption_configuration[0].encryption_type == "KMS"])
    error_message = "models and images must be encrypted by the store's key"
  }
}

run "images_stay_what_they_are" {
  command = plan
  assert {
    condition     = alltrue([for r in aws_ecr_repository.this : r.image_tag_mutability == "IMMUTABLE" && r.image_scanning_configuration[0].scan_on_push])
    error_message = "tags must be immutable, and each push scanned"
  }
  assert {
    condition     = toset([for r in aws_ecr_repository.this : r.name]) == toset([for i in ["relay", "relay-rollout", "server-v1", "server-v2", "server-bare", "model-v1", "model-v2", "export", "loadtest", "debug", "aws-cli", "server-gpu"] : "sightline/${i}"])
    error_message = "a repository for each image of `make images`, and for those that are mirrored"
  }
  assert {
    condition     = output.registry == "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
    error_message = "the registry is the repositories' host"
  }
}

run "models_are_nobody_elses" {
  command = plan
  assert {
    condition     = alltrue([aws_s3_bucket_public_access_block.models.block_public_acls, aws_s3_bucket_public_access_block.models.block_public_policy, aws_s3_bucket_public_access_block.models.ignore_public_acls, aws_s3_bucket_public_access_block.models.restrict_public_buckets])
    error_message = "the model store must not be public in any way"
  }
  assert {
    condition     = jsondecode(aws_s3_bucket_policy.models.policy).Statement[0].Effect == "Deny" && jsondecode(aws_s3_bucket_policy.models.policy).Statement[0].Condition.Bool["aws:SecureTransport"] == "false"
    error_message = "calls without TLS must be denied"
  }
  assert {
    condition     = aws_s3_bucket_versioning.models.versioning_configuration[0].status == "Enabled"
    error_message = "an overwritten model must be there to be had back"
  }
}

run "roles_can_no_more_than_they_must" {
  command = plan
  variables {
    repository = "example@12/sightline@34"
  }
  assert {
    condition = alltrue(flatten([
      for policy in [aws_iam_role_policy.model_reader.policy, aws_iam_role_policy.release[0].policy, aws_iam_role_policy.signatures.policy, aws_iam_role_policy.flows.policy] : [
        for statement in jsondecode(policy).Statement : [
          for action in statement.Action : !strcontains(action, "*") && (!contains(statement.Resource, "*") || action == "ecr:GetAuthorizationToken")
        ]
      ]
    ]))
    error_message = "policies must name each action and resource"
  }
  assert {
    condition     = toset(flatten([for s in jsondecode(aws_iam_role_policy.model_reader.policy).Statement : s.Action])) == toset(["s3:ListBucket", "s3:GetObject", "kms:Decrypt"])
    error_message = "who serves models reads them, and no more"
  }
  assert {
    condition     = toset(flatten([for s in jsondecode(aws_iam_role_policy.signatures.policy).Statement : s.Action])) == toset(["ecr:GetAuthorizationToken", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"])
    error_message = "who checks signatures reads images, and no more"
  }
  assert {
    condition     = length(jsondecode(aws_iam_role_policy.release[0].policy).Statement[1].Resource) == length(var.images)
    error_message = "the release pushes what it makes, and nothing else"
  }
  assert {
    condition     = jsondecode(aws_iam_role.pod["model-reader"].assume_role_policy).Statement[0].Condition.StringEquals["oidc.eks.eu-central-1.amazonaws.com/id/ABC:sub"] == "system:serviceaccount:object-detection:tf-serving"
    error_message = "only the model servers' account may take the reader's role"
  }
  assert {
    condition     = jsondecode(aws_iam_role.release[0].assume_role_policy).Statement[0].Condition.StringEquals["token.actions.githubusercontent.com:sub"] == "repo:example@12/sightline@34:environment:release"
    error_message = "only that repository's environment `release` may take the release's role"
  }
  assert {
    condition     = jsondecode(aws_iam_role.release[0].assume_role_policy).Statement[0].Condition.StringLike["token.actions.githubusercontent.com:job_workflow_ref"] == "example/sightline/.github/workflows/release.yml@refs/tags/v*"
    error_message = "only the release workflow at a version's tag may take the release's role"
  }
  assert {
    condition     = toset(local.node_policies) == toset(["AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly"])
    error_message = "nodes join and pull; pods have roles of their own"
  }
}

run "nobody_publishes_without_a_repository" {
  command = plan
  assert {
    condition     = length(aws_iam_role.release) == 0 && output.release_role_arn == null
    error_message = "no repository, no role"
  }
}

run "nodes" {
  command = plan
  assert {
    condition     = aws_launch_template.node.metadata_options[0].http_tokens == "required" && aws_launch_template.node.metadata_options[0].http_put_response_hop_limit == 1
    error_message = "pods must not reach the node's credentials"
  }
  assert {
    condition     = keys(aws_eks_node_group.this) == ["cpu"] && aws_eks_node_group.this["cpu"].scaling_config[0].min_size == 3
    error_message = "CPU nodes only, unless GPUs are asked for"
  }
  assert {
    condition     = jsondecode(aws_eks_addon.network.configuration_values).enableNetworkPolicy == "true"
    error_message = "without it NetworkPolicies do nothing"
  }
}

run "gpu_nodes" {
  command = plan
  variables {
    gpu_nodes = { instance_types = ["g6.2xlarge"], min = 0, max = 4 }
  }
  assert {
    condition     = aws_eks_node_group.this["gpu"].ami_type == "BOTTLEROCKET_x86_64_NVIDIA" && one(aws_eks_node_group.this["gpu"].taint).key == "nvidia.com/gpu"
    error_message = "GPU nodes have drivers, and a taint that keeps others away"
  }
  assert {
    condition     = aws_eks_node_group.this["gpu"].labels["nvidia.com/gpu.present"] == "true" && !contains(keys(aws_eks_node_group.this["cpu"].labels), "nvidia.com/gpu.present")
    error_message = "k8s/components/gpu asks for nodes with this label"
  }
}
