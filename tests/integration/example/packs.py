"""What of functions/ belongs to the example. Jobs of all other packs are a project's own."""

PACKS = ("administration", "community", "identity", "productivity", "tracking")
