"""The command `nightshift doctor`: each probe looks at one thing of the installation, and says what it has found."""
