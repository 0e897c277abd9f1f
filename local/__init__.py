"""AWS and PostgreSQL on one machine, from PyPI and npm packages alone: no Docker, no account, loopback only."""
