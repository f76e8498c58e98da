"""What is claimed about speed: each module is a command that measures side by side in one run."""
