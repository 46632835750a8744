"""Is the detector well? Data-quality records and their pictures: taken in, kept, and handed out."""
