"""Floor 3: HTTP and nothing else.  Blocking; knows neither registries nor models."""
