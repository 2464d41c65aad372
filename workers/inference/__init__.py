"""Computes predictions: input becomes arrays, arrays of many jobs become batches, batches become answers."""
