"""What-if before the beam: the policies of the engine, run against simulated files, batch systems and a simulated buffer."""
