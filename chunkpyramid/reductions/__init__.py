"""Arrays in memory to levels: the kernels' Python face, and what every method is."""
