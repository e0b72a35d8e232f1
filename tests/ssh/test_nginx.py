"""nginx in front, configured by exactly the text that docs/zero-downtime.md shows, while a release takes over."""

from __future__ import annotations

import http.client
import re
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from djdeploy import Process
from djdeploy.rehearsal.load import Load
from djdeploy.rehearsal.traffic import Traffic
from djdeploy.rehearsal.waiting import wait_until
from tests.ssh.site import HOME, Site

DOCUMENT = Path(__file__).parents[2] / "docs/zero-downtime.md"
POSTS = 10
"""Forms a second."""


def documented(language: str) -> list[str]:
    """The blocks of this language in the document."""
    return re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def configuration(*, unix: bool) -> str:
    """The documented configuration; with a unix socket, its upstream is the other one that is documented.

    The sample project lies in a folder of its repository, and the names of its static files change with the contents.
    """
    whole, other = documented("nginx")
    whole = whole.replace("/repository/static/", "/repository/src/static/").replace("# add_header", "add_header")
    return re.sub(r"^upstream .*?^}\n", other, whole, flags=re.DOTALL | re.MULTILINE) if unix else whole


def page(site: Site, path: str) -> http.client.HTTPResponse:
    response: http.client.HTTPResponse = urllib.request.urlopen(
        f"http://127.0.0.1:{site.target.nginx_port}{path}", timeout=10
    )
    return response


def stored_notes(site: Site) -> int:
    query = "select count(*) from notes_note"
    program = f"import sqlite3; print(*sqlite3.connect('{HOME}/shared/data/db').execute('{query}').fetchone())"
    return int(site.target.ssh("python3", "-c", program).stdout)


@pytest.fixture(
    params=[
        pytest.param("127.0.0.1:8001", id="port"),
        pytest.param(f"unix:{HOME}/run/web.sock", id="unix socket", marks=pytest.mark.slow),
    ]
)
def fronted(request: pytest.FixtureRequest, site: Site) -> Site:
    """A site whose first release serves behind the documented nginx."""
    web = Process("web", "gunicorn demo.wsgi", bind=request.param, instances=2, health="/health/", timeout=30)
    site.settings = replace(site.settings, processes=[web])
    site.target.put("/etc/nginx/conf.d/site.conf", configuration(unix=request.param.startswith("unix:")))
    code, said = site.target.root("nginx", "-t")
    assert code == 0, said
    site.target.root("supervisorctl", "restart", "nginx")
    site.install()
    site.deploy()
    wait_until("the first release", lambda: site.answering() == site.link("current"))
    return site


def test_neither_pages_nor_forms_are_lost_behind_the_documented_nginx_which_serves_static_files_itself(
    fronted: Site,
) -> None:
    first = fronted.link("current")
    form = Load(f"http://127.0.0.1:{fronted.target.nginx_port}/", rate=POSTS, form={"text": "Behind nginx"})
    with Traffic(fronted.url, rate=30) as users, form as posts:
        fronted.repository.change_page("Behind nginx")
        fronted.push()
        second = fronted.deploy()
        wait_until("a form that the new release takes", lambda: second in posts.summary().releases)
    for summary in users.summaries:
        assert summary.failed == 0, summary
        assert set(summary.releases) == {first, second}
    assert {answer.status for answer in posts.answers()} == {302}, posts.summary()
    assert set(posts.summary().releases) == {first, second}
    assert stored_notes(fronted) == posts.summary().sent, "each form was taken exactly once"
    sheet = re.search(r"/static/[^\"]+\.css", page(fronted, "/").read().decode())
    assert sheet
    response = page(fronted, sheet[0])
    assert response.status == 200
    assert response.headers["X-Release"] is None
    assert "immutable" in response.headers["Cache-Control"]
