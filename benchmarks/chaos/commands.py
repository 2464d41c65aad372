"""What the second number of a row makes the NumPy engine do; the Keras models ignore it."""

PLAIN, RAISE, HANG, DIE, NAN, LEAK, SLOW = range(7)
