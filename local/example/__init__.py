"""What the example gives to the demonstration: its data, work to be killed in the middle, and when its own kind of job
has something to do."""

from local.example.loading import load as load
from local.example.long_work import long_work as long_work
from local.example.occasions import last_due as last_due
