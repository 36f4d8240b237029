"""The Hugging Face Hub as a kind of place for the fault matrix: a model whose one file is in the Xet store, proved.

A chunk strikes where a range of a xorb is asked for, the list where a proof is, the manifest where the Hub's API is.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fusefs.artifacts.hubtree import HubFile, HubTree
from fusefs.values.chunks import Blob, ChunkList
from fusefs.values.digest import Digest
from fusefs.values.reference import parse_model
from fusefs.xet.merkle import Node
from tests.faults.matrix_server import FILE, PLACES, PROXIED, Scene
from tests.hub import lies
from tests.hub.origin import Origin, edited, kind_of
from tests.hub.packing import hash_text
from tests.hub.proofs import proof_of
from tests.hub.recipe import Recipe
from tests.hub.scriptedhub import ScriptedHub
from tests.world import some_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusefs.values.chunks import Chunk
    from fusefs.values.names import Name
    from tests.faulty_registry import FaultyRegistry, Request
    from tests.hub.packing import PackedFile
    from tests.hub.repository import Repository
    from tests.wire_faults import Answer

_CHUNK = 1 << 20
"""Bytes of a chunk of a file of the Xet store: it is what one proof is asked for."""

_DATA = some_bytes(9 * _CHUNK + 1234)
_NEWER = some_bytes(len(_DATA), seed=8)
_REPOSITORY = "org/m"
_TOKEN = "hf_secret"
_CAS, _CDN = "cas.invalid", "cdn.invalid"
"""Hosts that only a proxy knows, as `PROXIED`."""


class HubScene(Scene):
    """Three hosts; behind a proxy it is the proxy that answers for all of them."""

    data = _DATA
    newer = _NEWER
    chunk = _CHUNK
    chunks = ChunkList.uniform(len(_DATA), _CHUNK)
    without = frozenset({"tensors"})  # whose header it looks for in the first chunk

    def end(self) -> None:
        """See `Scene.end`."""
        super().end()
        self.hub.cas.to_the_end = self.hub.api.endless = False

    def _start_storage(self) -> FaultyRegistry | None:
        return None

    def _server(self, **options: Any) -> FaultyRegistry:
        self.hub = ScriptedHub()
        self._start(self.hub.store)
        self._start(self.hub.storage)
        self._monkeypatch.delenv("HF_ENDPOINT", raising=False)
        if options.get("token"):
            self._monkeypatch.setenv("HF_ENDPOINT", self.hub.url)
            self._monkeypatch.setenv("HF_TOKEN", _TOKEN)
            self.hub.gate.users.add(_TOKEN)
        if self.proxied:
            self.hub.store.url, self.hub.storage.url = f"http://{_CAS}", f"http://{_CDN}"
            self.hub.endpoint.answering = _by_host(self.hub)
        return self.hub.endpoint

    def _add(self, server: FaultyRegistry, data: bytes = _DATA) -> bytes:
        self._repository: Repository = self.hub.add(_REPOSITORY, {FILE: self.data})
        file = self._repository.commits[self._repository.commit].files[FILE]
        assert file.packed is not None
        self._packed: PackedFile = file.packed
        blob = Blob(Digest.of(self.data), len(self.data))
        return HubTree.of(self._repository.commit, [HubFile(FILE, blob, file.oid, file.packed.hash)]).document()

    def _named(self, host: str) -> Name:
        return parse_model(f"hf+http://{host}/models/{_REPOSITORY}")

    @property
    def _struck(self) -> FaultyRegistry:
        if self.proxied or self._cell.where == "manifest":
            return self.hub.endpoint
        return self.hub.store if self._cell.where == "list" else self.hub.storage

    @property
    def _matches(self) -> list[str]:
        match self._cell.where:
            case "list":
                return ["^proof "]
            case "manifest":
                return ["^(info|tree) "]
        return [rf"^xorb .* bytes=\d+-{self._xorb_end(i)}$" for i in PLACES[self._cell.where]]

    def _window(self, chunk: Chunk) -> tuple[int, int]:
        """From where to where the server proves a chunk."""
        leaves = [Node(raw, size) for raw, size in self._packed.chunks]
        start, stop = proof_of(leaves, [(chunk.start, chunk.stop)])["windows"][0]["dirtyByteRange"]
        return start, stop

    def _xorb_end(self, index: int) -> int:
        """The last byte of the xorb that is asked for to have a chunk."""
        recipe = Recipe(self._packed, self.hub.cdn.xorbs, *self._window(self.chunks[index]))
        (fetches,) = recipe.v1(lambda _name, _spans: "")["fetch_info"].values()
        return int(fetches[-1]["url_range"]["end"])

    @property
    def sent_again(self) -> int:
        """See `Scene.sent_again`: of windows, which overlap a little."""
        stored = sum(len(xorb.data) for xorb in self.hub.cdn.xorbs.values())
        return max(0, sum(server.volume["xorb"] for server in self._origins) - stored)

    def asked(self) -> Counter[tuple[int, int]]:
        """See `Scene.asked`: chunks all of which was asked for, in ranges of the xorb."""
        xorb = self.hub.cdn.xorbs[hash_text(self._packed.terms[0].xorb)]
        found: Counter[tuple[int, int]] = Counter()
        spans = [r.span for server in self._origins for r in server.requests if r.span and kind_of(r.path) == "xorb"]
        for first, last in spans:
            start = sum(size for _, size in xorb.chunks[: xorb.offsets.index(first)])
            stop = sum(size for _, size in xorb.chunks[: xorb.offsets.index(last + 1)])
            found.update((one.start, one.end) for one in self.chunks if start <= one.start <= one.end < stop)
        return found

    @property
    def _origins(self) -> list[Origin]:
        return [server for server in self._servers if isinstance(server, Origin)]

    def _path(self) -> str:
        match self._cell.where:
            case "list":
                return f"/v2/file-chunk-hashes/{self._packed.hash}"
            case "manifest":
                return f"/api/models/{_REPOSITORY}/revision/main"
        return f"/xorbs/default/{next(iter(self.hub.cdn.xorbs))}"

    # Faults that are made otherwise here

    def _change(self, kind: str, how: Callable[[bytes], bytes]) -> None:
        origin = self.hub.endpoint if self.proxied else self.hub.origin_of(kind)
        times = len(PLACES.get(self._cell.where, (0,)))
        origin.change(kind, how, times=times if self._cell.row.form == "once" else None)

    @cached_property
    def elsewhere(self) -> FaultyRegistry:
        """Another host that answers the same to who shows nothing."""
        return self._another()

    def _another(self, **options: Any) -> FaultyRegistry:
        other = Origin(**options)
        other.answering = self._without_credentials
        return self._start(other)

    def _without_credentials(self, request: Request) -> Answer:
        kind = kind_of(request.path)
        headers = dict(request.headers)
        if kind in ("proof", "reconstruction"):
            headers["authorization"] = f"Bearer {self.hub.cas.token()['accessToken']}"
        return self.hub.origin_of(kind).answering(replace(request, headers=headers))

    def _elsewhere(self) -> None:
        self._away(self.elsewhere)

    def _untrusted(self) -> None:
        self._away(self._tls)

    def _away(self, server: FaultyRegistry) -> None:
        """Send each request that is struck to another host, with the path and the query that it has."""
        self._fault("redirect-host", to=server.url)

    def _flipped_bit(self) -> None:
        if self._cell.where == "list":
            self._change("proof", edited(lies.one_digit))
        else:
            super()._flipped_bit()

    def _cut_list(self) -> None:
        self._fault("cut-body", at=40)

    def _other_list(self) -> None:
        self._change("proof", edited(lies.of_another_file))

    def _expired(self) -> None:
        if self._cell.row.form == "once":
            self._fault("act", act=self.hub.cdn.expire)
        else:
            self._fault("status", status=403)

    def _moved_tag(self) -> None:
        self.hub.storage.fault("act", "^xorb ", act=lambda: self._repository.push({FILE: self.newer}))

    # Faults that only a Hub has

    def _cut_recipe(self) -> None:
        self._change("reconstruction", edited(lies.cut_short(self.hub.cdn.xorbs)))

    def _reordered_recipe(self) -> None:
        self._change("reconstruction", edited(lies.reordered(self.hub.cdn.xorbs)))

    def _overlapping_recipe(self) -> None:
        self._change("reconstruction", edited(lies.overlapping(self.hub.cdn.xorbs)))

    def _longer_recipe(self) -> None:
        self._change("reconstruction", edited(lies.longer))

    def _lying_header(self) -> None:
        self._change("xorb", lies.lying_header)

    def _bomb(self) -> None:
        self._change("xorb", lies.bomb)

    def _ended_token(self) -> None:
        self._fault("act", server=self.hub.store, act=self.hub.cas.end_tokens)

    def _no_proof_but_of_all(self) -> None:
        self.hub.cas.to_the_end = True
        self._change("proof", bytes)

    def _masked(self) -> None:
        self._change("tree", edited(lies.masked))

    def _larger_files(self) -> None:
        self._change("tree", edited(lies.larger))

    def _endless_listing(self) -> None:
        self.hub.api.endless = True
        self._change("tree", bytes)


def _by_host(hub: ScriptedHub) -> Callable[[Request], Answer]:
    """What a proxy answers: it is asked for whole URLs."""
    hosts = {PROXIED: hub.endpoint.answering, _CAS: hub.store.answering, _CDN: hub.storage.answering}

    def answer(request: Request) -> Answer:
        return hosts[urlsplit(request.path).hostname or ""](request)

    return answer
