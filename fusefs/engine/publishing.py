"""Publishing of the lists of a model: beside it, or into a repository that a person named.  Blocking."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from fusefs.errors import InvalidSetting
from fusefs.sources.registry.listpublisher import publish, publish_apart
from fusefs.sources.registry.pusher import Pusher
from fusefs.sources.registry.registry import RegistrySource
from fusefs.values.listplace import ListPlace
from fusefs.values.names import Name

if TYPE_CHECKING:
    from fusefs.engine.indexing import ModelLists
    from fusefs.sources.registry.listpublisher import Published
    from fusefs.values.settings import Settings

_FOUND_BY = {"referrers": "by the registry's referrers", "index": "by the index of what refers to the model"}


def publish_lists(lists: ModelLists, settings: Settings, to: str | None = None) -> list[str]:
    """Put the lists of one model where readers find them.

    Args:
        lists: at least one.
        settings: timeouts.
        to: another repository, as `ListPlace` reads it.

    Returns:
        What was done, in lines for a person.

    Raises:
        InvalidSetting: `to` is no repository.
        SourceError: the registry does not take them, or nobody may write there.
    """
    name = lists.model.reference
    if to is not None:
        place = ListPlace.parse(to)
        if place.kind != "repository":
            raise InvalidSetting(f"--to {to}: want a repository, oci://host/namespace/name")
        name = Name.parse(place.where)
    with closing(RegistrySource(name.scheme, name.host, settings)) as registry:
        pusher = Pusher(registry, name.repository)
        if to is None:
            done = [publish(pusher, lists.model.document, lists.lists)]
        else:
            done = publish_apart(pusher, lists.lists)
    return [_line(pusher.label, one, len(lists.lists) if to is None else 1) for one in done]


def _line(where: str, done: Published, count: int) -> str:
    what = f"{count} chunk list{'' if count == 1 else 's'}"
    found = f"; found {_FOUND_BY[done.by]}, too" if done.by else ""
    state = f"pushed ({done.pushed} objects)" if done.pushed else "there already"
    return f"{where}:{', '.join(done.tags)}  {what} {state}{found}"
