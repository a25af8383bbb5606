"""Tier `proxied`: hidden tests run in one process, the program in another, and only plain values cross between them."""
