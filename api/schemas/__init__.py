"""The forms of bodies, as pydantic models: requests are checked by them, and the OpenAPI document shows them all."""
