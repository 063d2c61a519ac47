"""The real Envoy with istio/ as it stands, on loopback: all of it takes about 70 s on two shared cores."""
