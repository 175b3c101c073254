"""The command line: `workbench ...`, `python -m workbench ...`."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Sequence
from typing import Any

from tyro.extras import subcommand_cli_from_dict

from workbench.commands.exploring import explore
from workbench.commands.looking import analyse, audit, data, figures, gallery, methods, mix
from workbench.commands.measuring import bench
from workbench.commands.mistakes import in_a_line
from workbench.commands.published import published
from workbench.commands.training import resume, runs, site, sweep, tour, train_from
from workbench.commands.words import registry
from workbench.config import RunConfig, RunFailed, UsageError, load_config

ABOUT = "A research workbench for mixup augmentation. Begin with `workbench tour`."


def _default_settings(words: Sequence[str]) -> RunConfig:
    """The settings that a `--file` among the words holds, or the plain defaults."""
    files = [value for option, value in itertools.pairwise(words) if option in ("--file", "-f")]
    files += [word.partition("=")[2] for word in words if word.startswith(("--file=", "-f="))]
    if len(files) > 1:
        raise UsageError(f"one settings file can be given, got {', '.join(files)}")
    return load_config(files[0]) if files else RunConfig()


def main(args: Sequence[str] | None = None) -> None:
    """Entry point of the console script. A mistake: one line, exit code 2. A run that failed: one line, exit code 1."""
    words = list(sys.argv[1:] if args is None else args)
    try:
        train = train_from(_default_settings(words) if words[:1] == ["train"] else RunConfig())
        listed: list[Callable[..., Any]] = [tour, train, resume, runs, sweep, analyse]
        listed += [figures, published, mix, gallery, data, methods, audit, bench, explore, site]
        commands = {command.__name__: command for command in listed}
        with registry, in_a_line(commands, words):
            subcommand_cli_from_dict(commands, prog="workbench", description=ABOUT, args=words)
    except KeyboardInterrupt:
        print("interrupted; `workbench resume RUN` goes on from the last finished epoch", file=sys.stderr)
        sys.exit(130)
    except (UsageError, RunFailed, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)


if __name__ == "__main__":
    main()
