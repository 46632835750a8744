"""Storage: mounted file systems and XRootD servers behind one protocol."""
