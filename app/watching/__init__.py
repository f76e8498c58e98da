"""To see what is going on: log, numbers, the machine, checks."""
