"""The registry server: a folder of models over HTTP.  Imported by the command line alone."""
