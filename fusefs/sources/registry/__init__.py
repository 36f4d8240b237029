"""Registries that speak the Docker / OCI protocol, and the ways to log in to them."""
