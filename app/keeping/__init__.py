"""That nothing is lost: who holds a home and a run, backups, what may go."""
