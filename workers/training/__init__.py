"""The engine that trains networks: resumable, cancelable within a step, and the same for the same seed."""
