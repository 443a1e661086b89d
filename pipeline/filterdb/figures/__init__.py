"""Frames and arrays in, matplotlib figures out."""
