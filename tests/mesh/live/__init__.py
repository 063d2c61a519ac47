"""The real Envoy with istio/ as it stands, on loopback: about 70 s for all on two shared cores (each file says its own)."""
