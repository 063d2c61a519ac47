"""Monitoring: the local Prometheus, and Grafana's dashboards."""
