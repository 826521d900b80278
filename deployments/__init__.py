"""Where the service runs: the only room that imports Ray. What it does is the business of `serve_app`."""
