"""The outside, translated: one folder a technology. Adapters fill the ports of `application`."""
