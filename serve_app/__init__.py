"""What the service does: plain Python, no Ray. Where it runs is the business of `deployments`."""
