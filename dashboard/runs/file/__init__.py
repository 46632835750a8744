"""The page of one file: what happened to it, what was made of it, and what the catalogues confirmed."""
