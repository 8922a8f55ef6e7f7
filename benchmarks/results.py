"""Trainings that take hours in all, each done once: a file of those that are finished, and the command around it."""

import json
from functools import wraps
from pathlib import Path

from bert_tutorial.machine.fetching import FetchError

import click

from .trainings import name_of, run


def command(results):
    """Make a function a command, with the options of both: `results` is where they are kept by default."""

    def decorate(function):
        @wraps(function)
        def shows_errors(imdb, show, **options):
            if not show and imdb is None:
                raise click.UsageError("give the reviews: --imdb PATH, or set BERT_TUTORIAL_IMDB")
            try:
                function(imdb=imdb, show=show, **options)
            except (FetchError, OSError, ValueError) as error:
                raise click.ClickException(str(error)) from None

        for option in (
            click.option("--show", is_flag=True, help="Print what FILE has, and train nothing."),
            click.option(
                "--results",
                type=click.Path(dir_okay=False, path_type=Path),
                default=results,
                metavar="FILE",
                help="What is there is not done again.",
            ),
            click.option("--seeds", type=click.IntRange(1), default=5, help="Repetitions."),
            click.option(
                "--imdb",
                type=click.Path(exists=True),
                envvar="BERT_TUTORIAL_IMDB",
                show_envvar=True,
                metavar="PATH",
                help="IMDB, or a part of it: an archive or folder in the original layout.",
            ),
        ):
            shows_errors = option(shows_errors)
        return click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})(
            shows_errors
        )

    return decorate


class Results:
    """The trainings that are finished, in a JSON Lines file.

    Parameters
    ----------
    path : pathlib.Path

    Raises
    ------
    ValueError
        A line is damaged; the message names it.
    """

    def __init__(self, path):
        self.path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self.rows = [self._row(number, line) for number, line in enumerate(lines, start=1)]

    def _row(self, number, line):
        try:
            row = json.loads(line)
            if {"settings", "accuracy", "count", "seconds"} <= row.keys():
                return row
        except (ValueError, AttributeError):
            pass
        raise ValueError(f"{self.path}, line {number}, is no finished training: remove that line")

    def matching(self, settings):
        """Rows that have all these settings, and perhaps more."""
        return [row for row in self.rows if row["settings"] | settings == row["settings"]]

    def add(self, settings, outcome):
        """Write a line."""
        self.rows.append({"settings": settings, **outcome})
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(self.rows[-1]) + "\n")

    def run(self, plan, labelled, test):
        """Do what is not there yet.

        Parameters
        ----------
        plan : list of dict
            Settings.
        labelled : callable
            From settings to the (text, label) pairs to learn from.
        test : list of (str, int)

        Raises
        ------
        ValueError
            The file has trainings that must not stand in one table with these.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.touch()
        for settings in plan:
            self._refuse_mixture(settings)
        missing = [settings for settings in plan if not self._has(settings)]
        for number, settings in enumerate(missing, start=1):
            click.echo(f"\n{number} of {len(missing)}: {json.dumps(settings)}", err=True)
            if not self._has(settings):  # two cells may be one
                self.add(settings, run(settings, labelled(settings), test))

    def _has(self, settings):
        return any(row["settings"] == settings for row in self.rows)

    def _refuse_mixture(self, settings):
        for there in (row["settings"] for row in self.rows):
            if there["reviews"] != settings["reviews"]:
                raise ValueError(f"{self.path} has trainings on other reviews: give another file, --results FILE")
            if name_of(there) == name_of(settings) and there.get("weights") != settings.get("weights"):
                raise ValueError(
                    f"{self.path} has trainings of another {name_of(settings)}: remove those lines, or give another "
                    "file, --results FILE"
                )
