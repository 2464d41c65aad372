"""Runs jobs: takes them from Redis in batches or one by one, computes, and settles them."""
