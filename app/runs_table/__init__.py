"""The table of runs: its columns and filters, the narrow table it reads, its page, and what is done to its rows."""
