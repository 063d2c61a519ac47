"""What a user would serve detections with instead of Sightline, measured beside it: `make bench-peers`."""
