"""Engines that generate. Modules here import torch and transformers: only role processes load them."""
