"""What development needs beside the tests: a real server to talk to, a real browser, screenshots."""
