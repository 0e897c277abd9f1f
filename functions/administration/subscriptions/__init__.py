"""The life of a subscription: its periods, its events, and every way from one status to the next."""
