"""ScriptedHub: the Hugging Face Hub with its Xet store and its CDN, on three hosts of the loopback address.

Serving:
    with ScriptedHub() as hub:
        model = hub.add("org/m", {"config.json": b"{}", "model.safetensors": data})     # a Repository
        model.commit, model.branches, model.push({"config.json": b"{ }"}, branch="v2")
        hub.add("org/d", {…}, kind="datasets", gated="auto", readers={"hf_reader"})
        hub.url, hub.environment         # of `huggingface_hub` and of fusefs
        hub.endpoint, hub.store, hub.storage        # an `Origin` each: the Hub, the CAS, the CDN
        hub.count("tree"), hub.sent("xorb")         # requests, and bytes of bodies, by `tests.hub.origin.KINDS`
        hub.storage.authorizations       # every Authorization that came there (and was refused)

A large file (by its name: `tests.hub.repository.LARGE`, or by `keeping`) is in the Xet store, or with `xet=False` as
git-lfs has it.  Its xorbs are made by `hf_xet`.  Tokens in some `readers`, or in `hub.gate.users`, are known.

Misbehaving:
    hub.fault("short-body", "xorb", times=2, at=3)     # kinds of `tests.wire_faults` to a kind of request
    hub.change("tree", edited(lambda entries: …))      # another document, or other bytes, in a good answer
    hub.cdn.expire(), hub.cas.end_tokens(), hub.cas.proofs = False, hub.cas.version = 1, hub.cas.to_the_end = True,
    hub.cas.life, hub.cas.whole_terms, hub.cdn.bridge = False, hub.api.page = 2, hub.rates.limit("api", 3, 1.0)
    hub.clear_faults(), hub.release()

Counts, requests, `silent`, `expect` and so on are those of `FaultyRegistry`, for each of the three.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from tests.hub.cas import Cas
from tests.hub.cdn import Cdn
from tests.hub.gate import Gate
from tests.hub.hubapi import HubApi
from tests.hub.origin import Origin, kind_of
from tests.hub.ratelimit import RateLimit
from tests.hub.refusal import refusal
from tests.hub.repository import Repository
from tests.hub.resolving import Resolving

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from tests.faulty_registry import Request
    from tests.hub.repository import Keeping, RepoKind
    from tests.wire_faults import Answer, Kind

_STORE = ("reconstruction", "proof")
_STORAGE = ("xorb", "bridge", "lfs")


class ScriptedHub:
    """See the module's text."""

    def __init__(self) -> None:
        self.endpoint = Origin()
        self.store = Origin(address="localhost")
        self.storage = Origin(address="127.0.0.2")
        self.origins = (self.endpoint, self.store, self.storage)
        self.url = self.endpoint.url
        self.gate = Gate()
        self.rates = RateLimit()
        self.cdn = Cdn(self.storage)
        self.cas = Cas(self.store, self.cdn)
        self.api = HubApi(self.gate, self.cas)
        self.resolving = Resolving(self.gate, self.cdn, self.store.url)
        self.endpoint.answering = self._answer
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for origin in self.origins:
            self._stack.enter_context(origin)
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._stack.__exit__(kind, exc, tb)

    @property
    def environment(self) -> dict[str, str]:
        """What makes a program ask this Hub."""
        return {"HF_ENDPOINT": self.url}

    def add(
        self,
        repo_id: str,
        files: Mapping[str, bytes],
        *,
        kind: RepoKind = "models",
        keeping: Mapping[str, Keeping] | None = None,
        base: tuple[bytes, ...] = (),
        **options: Any,
    ) -> Repository:
        """A new repository with one commit on `main`; `options` are attributes of `Repository`."""
        repository = Repository(kind, repo_id, keep=self.cas.add, **options)
        self.gate.repositories[kind, repo_id] = repository
        self.gate.users |= repository.readers
        repository.push(files, keeping=keeping, base=base)
        return repository

    def count(self, kind: str) -> int:
        """How many requests of a kind were answered."""
        return sum(origin.count[kind] for origin in self.origins)

    def sent(self, kind: str) -> int:
        """How many bytes of bodies went out to requests of a kind."""
        return sum(origin.volume[kind] for origin in self.origins)

    def fault(self, what: Kind, kind: str, *, match: str = "", times: int | None = 1, **options: Any) -> None:
        """Misbehave to the next `times` requests of a kind whose "<path> <Range header>" `match` is found in."""
        self.origin_of(kind).fault(what, f"^{kind} .*{match}", times=times, **options)

    def change(self, kind: str, how: Callable[[bytes], bytes], *, times: int | None = None) -> None:
        """See `Origin.change`."""
        self.origin_of(kind).change(kind, how, times=times)

    def clear_faults(self) -> None:
        """Behave."""
        for origin in self.origins:
            origin.clear_faults()

    def release(self) -> None:
        """End all silences."""
        for origin in self.origins:
            origin.release()

    def origin_of(self, kind: str) -> Origin:
        return self.store if kind in _STORE else self.storage if kind in _STORAGE else self.endpoint

    def _answer(self, request: Request) -> Answer:
        rates = self.rates.take(kind_of(request.path))
        answer = self._routed(request, urlsplit(request.path).path)
        answer.headers.update(rates)
        return answer

    def _routed(self, request: Request, path: str) -> Answer:
        kinds: tuple[RepoKind, ...] = ("models", "datasets", "spaces")
        for kind in kinds:
            if path.startswith(f"/api/resolve-cache/{kind}/"):
                return self.resolving.cached(request, kind, path.removeprefix(f"/api/resolve-cache/{kind}/"))
            if path.startswith(f"/api/{kind}/"):
                return self.api.answer(request, kind, path.removeprefix(f"/api/{kind}/"))
            if kind != "models" and path.startswith(f"/{kind}/"):
                return self.resolving.answer(request, kind, path.removeprefix(f"/{kind}/"))
        if path.startswith("/api/"):
            raise refusal(404, "Not found")
        return self.resolving.answer(request, "models", path.removeprefix("/"))
