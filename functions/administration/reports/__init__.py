"""The reports to administrators: their figures, how they are stored, and how they look."""
