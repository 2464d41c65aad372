"""Models: immutable versions, movable aliases, and the store that keeps them."""
