"""The page of `nightshift web`: what the command tells and does, in a browser on the same machine."""
