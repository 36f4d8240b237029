"""Floor 10: the registry server: a folder of models over HTTP.  Imported by the command line alone."""

from fusefs.serve.leftout import Allowed
from fusefs.serve.server import Server, run

__all__ = ["Allowed", "Server", "run"]
