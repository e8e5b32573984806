"""Grafana's dashboards as code: `python -m infra.grafana.build` writes the JSON that Grafana reads."""
