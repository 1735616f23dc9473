"""Labels of arrays in memory."""
