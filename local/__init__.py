"""AWS and PostgreSQL on one machine, from PyPI and npm packages only: no Docker, no account, loopback only."""
