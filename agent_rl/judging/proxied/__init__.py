"""Tier `proxied`: hidden tests run in one process, the program in another; only values and references cross."""
