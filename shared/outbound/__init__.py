"""What a request to another server is made of: its target, the addresses it may reach, and a clock that is obeyed."""
