"""What io workers do in the world outside: deliver webhooks, and fetch inputs that are URLs."""
