"""The web server and the worker: everything that knows HTTP or the database."""
