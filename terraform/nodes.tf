# Bottlerocket: a read-only system with neither SSH nor a package manager. Its NVIDIA variant brings driver and device
# plugin. Nodes pull images and nothing else; pods have roles of their own.
locals {
  node_groups = {
    for name, group in {
      cpu = merge(var.cpu_nodes, { ami_type = "BOTTLEROCKET_x86_64", tainted = false })
      gpu = merge(var.gpu_nodes, { ami_type = "BOTTLEROCKET_x86_64_NVIDIA", tainted = true })
    } : name => group if group.max > 0
  }
  node_policies = ["AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly"]
}

resource "aws_iam_role" "node" {
  name = "${var.name}-node"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Principal = { Service = "ec2.amazonaws.com" }, Action = "sts:AssumeRole" }]
  })
}

resource "aws_iam_role_policy_attachment" "node" {
  for_each   = toset(local.node_policies)
  role       = aws_iam_role.node.name
  policy_arn = "${local.iam_policy}/${each.value}"
}

resource "aws_launch_template" "node" {
  name_prefix = "${var.name}-node-"
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required" # IMDSv2
    http_put_response_hop_limit = 1          # a pod is a hop away: it cannot take the node's role
  }
  dynamic "block_device_mappings" {
    for_each = { "/dev/xvda" = 4, "/dev/xvdb" = 60 } # GiB: Bottlerocket's system, and images, logs and volumes
    content {
      device_name = block_device_mappings.key
      ebs {
        volume_size = block_device_mappings.value
        volume_type = "gp3"
        encrypted   = true
        kms_key_id  = aws_kms_key.cluster.arn
      }
    }
  }
  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_eks_node_group" "this" {
  for_each        = local.node_groups
  cluster_name    = aws_eks_cluster.this.name
  node_group_name = "${var.name}-${each.key}"
  node_role_arn   = aws_iam_role.node.arn
  subnet_ids      = [for subnet in aws_subnet.private : subnet.id]
  ami_type        = each.value.ami_type
  instance_types  = each.value.instance_types
  # k8s/components/gpu asks for the second one, which NVIDIA's feature discovery sets where that is installed.
  labels = merge({ "sightline/nodes" = each.key }, each.value.tainted ? { "nvidia.com/gpu.present" = "true" } : {})

  launch_template {
    id      = aws_launch_template.node.id
    version = aws_launch_template.node.latest_version
  }

  scaling_config {
    min_size     = each.value.min
    max_size     = each.value.max
    desired_size = each.value.min
  }

  update_config {
    max_unavailable = 1 # as the pods' disruption budgets
  }

  # GPUs are for who asks for one.
  dynamic "taint" {
    for_each = each.value.tainted ? [1] : []
    content {
      key    = "nvidia.com/gpu"
      value  = "present"
      effect = "NO_SCHEDULE"
    }
  }

  lifecycle {
    ignore_changes = [scaling_config[0].desired_size] # an autoscaler's business
  }

  depends_on = [aws_iam_role_policy_attachment.node, aws_eks_addon.network, aws_eks_addon.proxy]
}
