"""The demonstration: a real Django project is deployed to this machine while requests run, before the user's eyes."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
import urllib.request

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.syntax import Syntax

from djdeploy import Settings

from .load import Summary
from .target import Rehearsal
from .traffic import Traffic
from .waiting import wait_until

RATE = 40
"""Requests a second, half of them by new connections and half by kept ones."""


class Failed(Exception):
    """The demonstration cannot go on; says why."""


class Demo:
    """One demonstration on one server."""

    def __init__(self, server: Rehearsal, console: Console) -> None:
        self.server, self.console = server, console

    # --- the script ---------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """All of it, from an empty server on; returns the exit code."""
        settings = self.server.settings(project="demo", keep_releases=5)
        self.introduce(settings)
        self.heading("An empty server")
        self.fab("Create the directories on the server", "setup")
        self.install_supervisor()

        self.heading("The first deploy")
        self.fab("Code, virtualenv, checks, static files, migrations, links, processes", "deploy")
        first = self.answering()
        self.say(f"{self.server.url} answers: it runs {first}")

        with Traffic(f"{self.server.url}health/", RATE) as users:
            self.under_load(first)

        self.heading("Looking, and cleaning up")
        self.fab("What is on the server", "releases")
        self.fab("Keep the two newest good releases, and what is in use", "cleanup", "--keep=2")
        return self.conclude(*users.summaries)

    def under_load(self, first: str) -> None:
        """What happens to a site in use."""
        repository = self.server.repository
        self.heading(f"A second deploy, while {RATE} requests a second ask the site")
        self.commit("changes the page", repository.change_page("Notes and letters"))
        self.fab("The requirements are the same, so nothing is installed", "deploy")
        second = self.answering(other_than=first)

        self.heading("A rollback, under the same load")
        self.fab("Back to the release before, with its own virtualenv", "rollback")
        self.answering(other_than=second)

        self.heading("A broken commit, under the same load")
        self.commit("imports a module that is not there", repository.break_import())
        self.fab("Refused before anything was switched; exit code 1", "deploy", code=1)

        self.heading("The next good one, under the same load")
        self.commit("repairs it", repository.restore())
        self.fab("Whatever went wrong before, the next deploy needs no help", "deploy")
        third = self.answering(other_than=first)

        self.heading("A new column, under the same load")
        self.commit("adds a column with a default, which the old code does not mind", repository.add_column())
        self.fab("The old release serves on the new schema until its turn comes", "deploy")
        self.answering(other_than=third)

    def introduce(self, settings: Settings) -> None:
        self.server.write_fabfile(settings)
        text = (self.server.directory / "fabfile.py").read_text(encoding="utf-8")
        self.console.print(
            "An SSH server, a Supervisor and a git repository with a Django project now run in "
            f"{self.server.root}, as {self.server.user}.\nThe developer has this fabfile:\n",
            highlight=False,
        )
        self.console.print(Panel(Syntax(text, "python", word_wrap=True), title="fabfile.py", title_align="left"))

    def install_supervisor(self) -> None:
        """What an administrator does once."""
        self.explain("The configuration that root installs, once", "supervisor-conf")
        done = self.server.fab("supervisor-conf", check=False)
        if done.returncode:
            raise Failed(f"fab supervisor-conf: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        kept = [line for line in done.stdout.splitlines() if line and not line.startswith(";")]
        self.console.print(Syntax("\n".join(kept), "ini", word_wrap=True, background_color="default"))
        self.server.install_supervisor(done.stdout)
        self.say("Installed. The processes wait for a first release.")

    # --- its sentences ------------------------------------------------------------------------------------------------

    def commit(self, what: str, commit: str) -> None:
        self.say(f"git commit: {commit[:12]} {what}")

    def fab(self, why: str, *words: str, code: int = 0) -> None:
        """Runs `fab` before the user's eyes, and expects an exit code."""
        self.explain(why, *words)
        began = time.monotonic()
        done = subprocess.run(
            self.server.fab_command(*words),
            cwd=self.server.directory,
            env=self.server.developer,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode != code:
            raise Failed(f"fab {' '.join(words)}: exit code {done.returncode} instead of {code}")
        self.say(f"({time.monotonic() - began:.1f} s)")

    def heading(self, text: str) -> None:
        self.console.print()
        self.console.rule(f"[bold]{escape(text)}", align="left")

    def explain(self, why: str, *words: str) -> None:
        self.console.print(f"\n[dim]# {escape(why)}[/]\n[bold green]$[/] [bold]fab {escape(shlex.join(words))}[/]")
        sys.stdout.flush()  # before the command, which writes past us

    def say(self, text: str) -> None:
        self.console.print(f"[dim]{escape(text)}[/]", highlight=False)

    def answering(self, other_than: str = "") -> str:
        """Waits until the site answers, and tells the release that does."""

        def release() -> str | None:
            try:
                with urllib.request.urlopen(self.server.url, timeout=5) as response:
                    name = str(response.headers["X-Release"])
            except OSError:
                return None
            return name if name != other_than else None

        return wait_until("the site to answer", release)

    def conclude(self, fresh: Summary, kept: Summary) -> int:
        """Says what the users of the site would have noticed."""
        self.heading("What the users noticed")
        for name, summary in (("new connections", fresh), ("kept connections", kept)):
            self.console.print(f"{name:>16}: {summary}", highlight=False, soft_wrap=True)
        releases = {name: fresh.releases.get(name, 0) + kept.releases.get(name, 0) for name in fresh.releases}
        answered = ", ".join(f"{name} ({count})" for name, count in releases.items())
        self.console.print(f"{'answered by':>16}: {answered}", highlight=False, soft_wrap=True)
        failed = fresh.failed + kept.failed
        verdict = "[bold red]Requests were lost.[/]" if failed else "[bold green]No request was lost.[/]"
        self.console.print(f"\n{verdict} The site: {self.server.url}")
        return 1 if failed else 0


def leave_up(server: Rehearsal, console: Console) -> None:
    """Says how to go on, and how to end it."""
    server.keep()
    python, fab = shlex.quote(sys.executable), shlex.join(server.fab_command("deploy"))
    console.print()
    console.rule("[bold]It is left up", align="left")
    lines = {
        "the site": server.url,
        "deploy again": f"cd {server.directory} && {fab}",
        "a new commit": f"cd {server.repository.files} && git --git-dir={server.repository.path} commit -am MESSAGE",
        "log in": f"ssh -F {server.ssh_config} rehearsal",
        "end it": f"{python} -m djdeploy.rehearsal.guard --now {server.root}",
    }
    for name, line in lines.items():
        console.print(f"{name:>16}: {line}", highlight=False, soft_wrap=True)


def demonstrate(server: Rehearsal, console: Console) -> int:
    try:
        return Demo(server, console).run()
    except Failed as failed:
        console.print(f"\n[bold red]{escape(str(failed))}[/]", highlight=False)
        return 1


def rehearse(keep: bool) -> int:
    """Runs it; returns the exit code. With `keep` everything is left up at the end."""
    console = Console()
    console.rule("[bold]djdeploy", align="left")
    try:
        with Rehearsal() as server:
            code = demonstrate(server, console)
            if keep:
                leave_up(server, console)
            return code
    except KeyboardInterrupt:
        console.print("\nInterrupted; everything was ended.")
        return 130
