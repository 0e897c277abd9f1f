"""The application that the jobs serve: its tables and its rules. This one is the example."""
