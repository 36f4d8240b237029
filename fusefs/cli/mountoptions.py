"""The options of a mount, which `fusefs mount` and `fusefs run` have alike."""

from __future__ import annotations

from typing import Any

import click

from fusefs.cli.parameters import (
    PATH,
    cache_option,
    choice_option,
    fetch_options,
    lists_option,
    lock_option,
    selection_options,
    sha256_option,
    together,
    verbose_option,
)
from fusefs.cli.signature import signature_options

mount_options = together(
    sha256_option,
    cache_option,
    fetch_options,
    selection_options,
    choice_option(
        "--layout",
        ["files", "ollama", "hf"],
        "Show the model's files by name, an OLLAMA_MODELS directory for `ollama serve`, or a cache of the Hugging Face "
        "Hub for HF_HUB_CACHE=MOUNTPOINT HF_HUB_OFFLINE=1.",
    ),
    choice_option(
        "--unproved",
        ["wait", "allow", "refuse"],
        "A read of a blob above 64 MiB that has no chunk list that counts: it waits until the whole blob is proved, "
        "is allowed before that, or is refused.",
    ),
    lists_option,
    lock_option,
    signature_options,
    choice_option(
        "--verify",
        ["boot", "always"],
        "Hash cached data again on its first use in each boot, or in each mount. `always` excludes --sealed symlink: "
        "reads through a link bypass the mount.",
    ),
    click.option(
        "--fill/--no-fill",
        default=False,
        help="After the first open of a file, fetch the rest of it in the background.",
    ),
    choice_option(
        "--sealed",
        ["file", "symlink"],
        "Show models that are complete and proved as files, or as symbolic links into the cache. Links are faster, "
        "and outlive the daemon.",
    ),
    click.option(
        "--no-passthrough",
        is_flag=True,
        help="Answer every read here, so that each is counted and none outlives the daemon, where the kernel could "
        "read proved files by itself (as root, from Linux 6.9 on; never with --verify always).",
    ),
    click.option(
        "--replace",
        is_flag=True,
        help="Take the place of a mount of yours that is there already, whether its daemon has died or is alive, and "
        "then ends; what it had opened by passthrough stays readable.",
    ),
    click.option("--allow-other", is_flag=True, help="Let other users read the mount."),
    click.option("--log-file", type=PATH, metavar="FILE", help="The log of the daemon. [default: see `fusefs status`]"),
    verbose_option,
)


def check_mount_options(options: dict[str, Any]) -> None:
    """See that the options agree with each other.

    Raises:
        click.UsageError: they do not.
    """
    if options["verify"] == "always" and options["sealed"] == "symlink":
        raise click.UsageError(
            "--verify always cannot hash reads through the links of --sealed symlink: leave one of them out"
        )
    if options["layout"] == "ollama" and options["signature"]:
        raise click.UsageError("--layout ollama shows files that no signature names: leave out one of the two")
    if options["layout"] == "ollama" and (options["include"] or options["exclude"]):
        raise click.UsageError(
            "--include and --exclude choose files by name, and --layout ollama shows whole models: leave one out"
        )
