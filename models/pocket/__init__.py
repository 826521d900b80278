"""The pocket model: a small, really trained Stable Diffusion for machines without a GPU or a model hub.

`world` says what it can draw, `judge` tells from pixels what a picture shows,
`training` made the weights, `evaluate` measures them.
"""
