"""What the platform's stack is made of, one part a file. infra/platform_stack.py puts them together."""
