"""Webhooks as the service, its workers and its command line know them: signatures, secrets, listeners and trials."""
