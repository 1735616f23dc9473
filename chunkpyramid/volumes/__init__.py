"""What is done to volumes as a whole."""
