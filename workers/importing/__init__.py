"""Makes versions of model files that come from outside: scan, load in a sandbox, check, publish."""
