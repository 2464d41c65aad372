"""Breaks a running service on purpose, for a long time, and checks that it kept its promises.

    python -m benchmarks.chaos --minutes 60          a long run, also `make chaos MINUTES=60`
    python -m benchmarks.chaos --minutes 2 --seed 7  the same faults at the same moments again

``fleet`` runs the real processes, each behind a ``relay`` of its own to Redis; ``faults`` breaks them; ``clients`` and
``receivers`` use the service as strangers would and write down all they see in a ``history``; ``checker`` reads that
and says what was broken. The last four share no code with the product. ``stage`` is what runs inside the product's
processes: an engine that obeys its input, a clock and an artifact store that can be wrong, and planted defects.
"""
