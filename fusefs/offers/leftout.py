"""What a folder holds that is not served, and why; and the one line that says so.  Knows names, not files."""

from __future__ import annotations

import enum
import fnmatch
import logging
import re
import threading
from dataclasses import dataclass

from fusefs.values.selection import EVERYTHING, Selection

log = logging.getLogger(__name__)

_FIRST = 3
"""Names of each reason in the one line; -v has all."""

_LONGEST = 80
"""Characters of a name in the one line."""


class Reason(enum.Enum):
    """Why something is left out: what it is, in the singular and the plural, and what to do about it."""

    HIDDEN = ("hidden", "hidden", "--hidden serves them")
    KEY = ("named like a key or a password", "named like keys or passwords", "--private serves them")
    CLOSED = ("that others may not read", "that others may not read", "--private serves them")
    LEAVING = ("leaving of a tool", "leavings of tools", "rename what belongs to a model")
    OUT = ("link that leads out", "links that lead out", "copy what they lead to")
    NOWHERE = ("link that leads nowhere", "links that lead nowhere", "")
    DATASET = ("data set or space", "data sets or spaces", "")
    BESIDE = ("file beside the models", "files beside the models", "put it into a folder")
    OUTSIDE = ("beside the cache of the Hub", "beside the cache of the Hub", "serve their folders one by one")
    LOOP = ("link to a folder above", "links to folders above", "")
    NAME = ("name that no mount takes", "names that no mount takes", "want UTF-8 without control characters")
    SPECIAL = ("that is no file", "that are no files", "")
    EMPTY = ("empty folder", "empty folders", "")
    MODEL = ("model that cannot be served", "models that cannot be served", "-v says why")

    def __init__(self, one: str, many: str, remedy: str) -> None:
        self.one = one
        self.many = many
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the person said may be served: beyond the default, and of the files of folders.

    Attributes:
        hidden: files and folders whose names begin with a dot.
        private: what is named like keys and passwords, and what others may not read.
        selection: the files that were chosen; those of a store are part of what its manifests name.
    """

    hidden: bool = False
    private: bool = False
    selection: Selection = EVERYTHING

    def objection(self, name: str, above: str = "") -> Reason | None:
        """Why a file or folder is left out for its name; None when it is not.

        Args:
            name: of the file or folder itself.
            above: of the folder that it is in.
        """
        if is_leaving(name, above):
            return Reason.LEAVING
        if is_hidden(name) and not self.hidden:
            return Reason.HIDDEN
        if is_key(name) and not self.private:
            return Reason.KEY
        return None


def is_hidden(name: str) -> bool:
    """As `ls` has it."""
    return name.startswith(".")


def is_leaving(name: str, above: str = "") -> bool:
    """What tools leave beside the files that one works on: never part of a model."""
    return bool(_LEAVINGS.fullmatch(name)) or (name.lower(), above.lower()) == ("huggingface", ".cache")


def is_key(name: str) -> bool:
    """What usually holds a secret: named for what the tools that write such files call them."""
    return bool(_KEYS.fullmatch(name))


def _any_of(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(map(fnmatch.translate, patterns)), re.IGNORECASE)


_LEAVINGS = _any_of(
    # editors: backups, swap files, locks
    *("*~", "*.swp", "*.swo", "*.swx", "#*#", ".#*", "*.bak", "*.orig", "*.rej"),
    # desktops
    *(".DS_Store", "._*", "Thumbs.db", "ehthumbs.db", "desktop.ini"),
    # downloads that are not complete, and locks of whoever downloads
    *("*.incomplete", "*.part", "*.partial", "*.crdownload", "*.aria2", "*.tmp", "*.lock"),
    # Python, notebooks, version control
    *("__pycache__", "*.pyc", ".ipynb_checkpoints", ".git", ".hg", ".svn"),
)

_KEYS = _any_of(
    # keys and certificates with keys, of OpenSSH, OpenSSL, PuTTY, Java, Kerberos, KeePass, WireGuard and OpenVPN
    *("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "ssh_host_*_key*", "*.pem", "*.key", "*.p8", "*.p12", "*.pfx"),
    *("*.pkcs12", "*.ppk", "*.jks", "*.keystore", "*.keytab", "*.kdb", "*.kdbx", "*.ovpn", "*.gpg", "wallet.dat"),
    # passwords and tokens of tools; with a dot as in a home directory, without one as some are copied
    *(".env", ".env.*", "*.env", ".netrc", "_netrc", ".pgpass", "pgpass.conf", ".htpasswd", "htpasswd", ".npmrc"),
    *(".pypirc", ".git-credentials", "credentials", "credentials.json", "credentials.toml", "client_secret*.json"),
    *("service-account*.json", "service_account*.json", "secrets.json", "secrets.toml", "secrets.yaml", "secrets.yml"),
    *("kubeconfig", "*.tfstate", "token", "stored_tokens", ".ssh", ".gnupg", ".aws", ".docker", ".kube", ".azure"),
    # what was typed; without an extension, so that the history.json of a training is none
    *("*_history", ".lesshst", ".viminfo"),
)
"""`tokenizer.model`, `special_tokens_map.json`, `vocab.txt`, `history.json`, `keys.safetensors` match none of them."""


class LeftOut:
    """What was left out so far, each once: folders are looked at again for every manifest.  Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[Reason, dict[str, None]] = {}

    def add(self, reason: Reason, name: str, why: str, *, level: int = logging.INFO) -> None:
        """Note `name`, and log `why` unless that was done before.

        Args:
            reason: for the count.
            name: the path below the served directory.
            why: the whole sentence for the log.
            level: WARNING where a person should look.
        """
        with self._lock:
            names = self._found.setdefault(reason, {})
            if name in names:
                return
            names[name] = None
        log.log(level, "%s", why)

    def has(self, name: str) -> bool:
        """Whether that was noted, for whatever reason."""
        with self._lock:
            return any(name in names for names in self._found.values())

    def count(self) -> int:
        """How many."""
        with self._lock:
            return sum(map(len, self._found.values()))

    def line(self) -> str:
        """All of it in one line, with the first names; empty when nothing was left out."""
        with self._lock:
            found = [(reason, list(self._found[reason])) for reason in Reason if self._found.get(reason)]
        if not found:
            return ""
        total = sum(len(names) for _, names in found)
        parts = "; ".join(_part(reason, names) for reason, names in found)
        return f"left out {total} (-v names all): {parts}"


def _part(reason: Reason, names: list[str]) -> str:
    shown = ", ".join(_shown(name) for name in names[:_FIRST]) + (", …" if len(names) > _FIRST else "")
    remedy = f", {reason.remedy}" if reason.remedy else ""
    return f"{len(names)} {reason.one if len(names) == 1 else reason.many} ({shown}{remedy})"


def _shown(name: str) -> str:
    """Quoted, so that no name can look like our own words or move the cursor."""
    return repr(name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…")
