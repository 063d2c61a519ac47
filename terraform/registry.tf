# A tag that was pushed stays what it is; each image is scanned when it comes. Signatures and bills of materials lie
# beside an image as OCI referrers (cosign 3), not under tags.
resource "aws_ecr_repository" "this" {
  for_each             = setunion(var.images, var.other_images)
  name                 = "sightline/${each.value}"
  image_tag_mutability = "IMMUTABLE"
  image_scanning_configuration {
    scan_on_push = true
  }
  encryption_configuration {
    encryption_type = "KMS"
    kms_key         = aws_kms_key.store.arn
  }
}
