"""What the dashboard costs on a large ledger: pages, first load, drawing in a browser, live viewers, uploads."""
