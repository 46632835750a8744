"""The numbers of the operations page for Prometheus; a board for Grafana that shows them is in docs/grafana-board.json."""
