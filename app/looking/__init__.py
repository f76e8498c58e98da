"""Images, and what a network makes of them."""
