"""The application whose jobs these are: its tables and rules. What stands here is the example."""
