"""Darkroom: self-hosted image-to-image diffusion on Ray Serve.

In a checkout this folder holds the command alone. In a wheel serve_app, deployments and models lie in it: see setup.py.
"""
