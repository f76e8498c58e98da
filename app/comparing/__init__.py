"""Several runs beside each other: which, their curves, where they differ, and what that says."""
