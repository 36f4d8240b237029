"""The registry server: a folder of models over HTTP.  Imported by the command line alone.

What speaks HTTP (`fusefs.serve.server` and what that imports) needs the extra `fusefs[serve]`; digests do not.
"""
