"""The declare daemon: finds closed files in the buffer and the outbox, verifies them, and registers them in the catalogues."""
