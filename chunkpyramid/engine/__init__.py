"""Any operation over the blocks of a volume: layout, memory, tasks, journal, runs."""
