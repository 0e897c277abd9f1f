"""`python -m cli`, which the command `nightshift` starts."""

from cli.commands import application

if __name__ == "__main__":
    application(prog_name="nightshift")
