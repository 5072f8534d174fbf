"""Triton kernels: the log-probability of target tokens from logits or from hidden states, and means of segments.

Installed as ``dataprophet.kernels``. ``dataprophet.ops`` calls them for tensors on CUDA, by name, so that it imports
without Triton.
"""
