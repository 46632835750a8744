"""Release: which files may leave the buffer, the proof that it is safe, and how they leave."""
