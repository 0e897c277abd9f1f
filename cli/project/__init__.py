"""A project of one's own: made by `init`, extended by `new job`, brought up to date by `upgrade`."""
