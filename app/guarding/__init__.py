"""Who is let in, and who did what."""
