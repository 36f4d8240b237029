"""Gate: which repositories there are, and what of them is shown for the token that a request has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.hub.refusal import refusal
from tests.hub.repository import OPEN_FILES

if TYPE_CHECKING:
    from tests.faulty_registry import Request
    from tests.hub.repository import Commit, RepoKind, Repository

_VERBS = ("revision", "tree", "paths-info", "refs", "resolve", "xet-read-token")


class Gate:
    """See the module's text.

    Attributes:
        repositories: by kind and id.
        users: tokens that the Hub knows.
        moved: new ids by kind and old id.
    """

    def __init__(self) -> None:
        self.repositories: dict[tuple[RepoKind, str], Repository] = {}
        self.users: set[str] = set()
        self.moved: dict[tuple[RepoKind, str], str] = {}

    def split(self, path: str) -> tuple[str, list[str]]:
        """Divide what follows the kind into the id of a repository and the rest, which begins with a verb."""
        parts = path.strip("/").split("/")
        at = next((i for i, part in enumerate(parts) if i and part in _VERBS), len(parts))
        return "/".join(parts[:at]), parts[at:]

    def find(self, request: Request, kind: RepoKind, repo_id: str) -> Repository:
        """The repository, or what the Hub says to those who may not know of it."""
        token = self._token(request)
        found = self.repositories.get((kind, repo_id))
        if found is None or (found.private and token not in found.readers):
            if token is None:
                raise refusal(401, "Invalid username or password.", WWW_Authenticate=_REALM)
            raise refusal(404, "Repository not found", "RepoNotFound")
        if found.disabled:
            raise refusal(403, "Access to this resource is disabled.")
        return found

    def commit(self, repository: Repository, revision: str) -> Commit:
        """The commit of a revision."""
        found = repository.find(revision)
        if found is None:
            raise refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return found

    def masked(self, request: Request, repository: Repository) -> bool:
        """Whether digests are not shown."""
        return bool(repository.gated) and self._token(request) not in repository.readers

    def content(self, request: Request, repository: Repository, path: str) -> None:
        """Refuse what is behind the gate."""
        if not self.masked(request, repository) or path in OPEN_FILES:
            return
        what = f"Access to {repository.kind[:-1]} {repository.id} is restricted"
        if self._token(request) is None:
            message = f"{what}. You must have access to it and be authenticated to access it. Please log in."
            raise refusal(401, message, "GatedRepo")
        raise refusal(403, f"{what}: your request is awaiting a review from the repo authors.", "GatedRepo")

    def _token(self, request: Request) -> str | None:
        given = request.headers.get("authorization")
        if given is None:
            return None
        token = given.removeprefix("Bearer ")
        if token not in self.users:
            raise refusal(401, "Invalid credentials in Authorization header", WWW_Authenticate=_REALM)
        return token


_REALM = 'Bearer realm="Authentication required", charset="UTF-8"'
