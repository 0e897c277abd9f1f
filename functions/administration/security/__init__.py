"""The signs of attack and misuse that security-alerts looks for, and what it does to accounts."""
