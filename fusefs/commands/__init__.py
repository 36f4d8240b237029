"""Floor 11: the commands.  A command is one file here, and a line in `COMMANDS`.

Heavy imports are made inside the functions, so that `fusefs --help` and `fusefs status` start at once.
"""

from __future__ import annotations

from fusefs.commands.export import export
from fusefs.commands.gc import gc
from fusefs.commands.help import manual
from fusefs.commands.index import index
from fusefs.commands.lock import lock
from fusefs.commands.login import login
from fusefs.commands.logout import logout
from fusefs.commands.ls import ls
from fusefs.commands.mount import mount
from fusefs.commands.pin import pin
from fusefs.commands.publish import publish
from fusefs.commands.pull import pull
from fusefs.commands.rm import rm
from fusefs.commands.run import run
from fusefs.commands.serve import serve
from fusefs.commands.status import status
from fusefs.commands.umount import umount
from fusefs.commands.unpin import unpin
from fusefs.commands.verify import verify

COMMANDS = (
    run,
    mount,
    umount,
    status,
    pull,
    verify,
    ls,
    rm,
    gc,
    pin,
    unpin,
    serve,
    export,
    index,
    publish,
    lock,
    login,
    logout,
    manual,
)
"""In the order in which a newcomer needs them."""
