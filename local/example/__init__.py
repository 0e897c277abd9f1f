"""What the example gives to the demonstration: its data, and when its own kind of job has something to do."""

from local.example.loading import load as load
from local.example.occasions import last_due as last_due
