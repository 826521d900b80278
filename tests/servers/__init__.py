"""Real servers that tests start and stop themselves, on free ports, in folders of their own."""
