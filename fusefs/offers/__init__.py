"""Floor 5: the models that a folder of this machine holds, and the digests of their files.  Blocking; knows no HTTP."""
