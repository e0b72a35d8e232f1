"""`smoke.py`: a release's own server is tried where no user can meet it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from djdeploy import Health, Process
from djdeploy.rehearsal.ports import free_port
from djdeploy.rehearsal.waiting import wait_until
from djdeploy.remote.durations import USUAL
from djdeploy.remote.processes.smoke_test import burden

from .homes import Home, Ran, a_home, web


@pytest.fixture
def home() -> Iterator[Home]:
    with a_home() as made:
        yield made


def tried(home: Home, process: Process | None = None, **release: Any) -> tuple[int, str]:
    home.release("new", process or web(free_port()), **release)
    done = home.run("smoke_test", "new")
    wait_until("the end of all", lambda: home.left() == [])
    assert list((home.path / "run").iterdir()) == []
    return done.status, done.output


def test_a_release_that_answers_passes_and_leaves_nothing_behind(home: Home) -> None:
    status, output = tried(home)
    assert status == 0
    assert output.startswith("web answered / with 200 in ")


def test_a_release_is_tried_behind_whatever_becomes_its_server(home: Home) -> None:
    more = 'assert os.environ["X"] == "1" and len(__import__("sys").argv) > 1'
    process = web(free_port(), command="env X=1 nice gunicorn site_of:application --workers 3")
    assert tried(home, process, more=more)[1].startswith("web answered / with 200 in ")


@pytest.mark.parametrize("command", ["timeout 60 gunicorn site_of:application", "./serve.sh"])
def test_what_waits_for_gunicorn_instead_of_becoming_it_is_refused_at_once(home: Home, command: str) -> None:
    process = web(free_port(), command=command, server="gunicorn")
    script = home.release("new", process) / "repository/serve.sh"
    script.write_text("#!/bin/sh\ngunicorn site_of:application\necho ended\n")
    script.chmod(0o755)
    done = home.run("smoke_test", "new")
    assert done.status == 1
    assert "its command starts Gunicorn as another process, and must become it" in done.output
    wait_until("the end of all", lambda: home.left() == [])


BROKEN = {
    "import missing_module": "No module named 'missing_module'",
    "import os; os._exit(3)": "its server exits",
    "raise SystemExit(1)": "its workers exit soon after their start",
    "threading.Timer(2, os._exit, [1]).start()": "its workers exit soon after their start",
}


@pytest.mark.parametrize(("more", "why"), BROKEN.items())
def test_a_release_that_cannot_start_or_stay_is_refused(home: Home, more: str, why: str) -> None:
    home.durations = USUAL  # one of them dies after two seconds
    status, output = tried(home, more=more)
    assert status == 1
    assert why in output
    assert output.splitlines()[-1].startswith("web of the new release does not serve: ")


WRONG = {
    'start_response("400 Bad Request", []); return [b""]': "answered 400: Django does not accept the Host '127.0.0.1:",
    'start_response("404 Not Found", []); return [b""]': "answered 404: there is no such page",
    'start_response("403 Forbidden", []); return [b""]': "answered 403: the page is forbidden",
    'raise RuntimeError("x")': "answered 500: the page raised an error",
}


@pytest.mark.parametrize(("body", "why"), WRONG.items())
def test_a_wrong_answer_is_explained(home: Home, body: str, why: str) -> None:
    status, output = tried(home, body=body)
    assert status == 1
    assert why in output


DJANGO = """
import django
from django.conf import settings
settings.configure(SECRET_KEY="x", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], LOGGING={logging})
django.setup()
from django.core.handlers.wsgi import WSGIHandler
from django.urls import path

def page(request):
    raise {error}

urlpatterns = [path("", page)]
application = WSGIHandler()
"""
CONSOLE = {
    "version": 1,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}


PAGE_ERRORS = {
    "LookupError('why')": "page-error",
    "RuntimeError('relation \"shop_note\" does not exist')": "table-missing",
    "RuntimeError('no such table: shop_note')": "table-missing",
    "ValueError('Missing staticfiles manifest entry for a.css')": "static-manifest",
}


@pytest.mark.parametrize(
    ("error", "code", "logging"),
    [
        *((error, code, {}) for error, code in PAGE_ERRORS.items()),
        ("LookupError('why')", "page-error", CONSOLE),
        *(
            pytest.param(error, code, CONSOLE, marks=pytest.mark.slow)
            for error, code in PAGE_ERRORS.items()
            if code != "page-error"
        ),
    ],
)
def test_the_exception_of_a_page_is_shown_whatever_logging_says(
    home: Home, error: str, code: str, logging: dict[str, Any]
) -> None:
    home.release("new", web(free_port()), more=DJANGO.format(error=error, logging=logging))
    done = home.run("smoke_test", "new")
    assert done.status == 1
    assert done.outputs["error"]["code"] == code
    assert error.partition("'")[2][:-2] in done.output


def test_a_release_that_hangs_is_refused_at_its_deadline(home: Home) -> None:
    process = web(free_port(), timeout=5, health=Health("/", timeout=0.5))
    status, output = tried(home, process, body="time.sleep(60)")
    assert status == 1
    assert "not healthy within 5 s: no answer" in output


def tried_in_company(home: Home, then: Callable[[], object]) -> Ran:
    """Tries a release that needs a file, while other steps run; these end when it was asked once and `then` is done."""
    asked, manifest = home.path / "asked", home.path / "manifest"
    body = f'open({str(asked)!r}, "w").close(); assert MANIFEST, "Missing staticfiles manifest entry"'
    home.release("new", web(free_port()), body=body, more=f"MANIFEST = os.path.exists({str(manifest)!r})")
    company, others = os.pipe()
    with ThreadPoolExecutor() as pool:
        running = pool.submit(lambda: home.run("smoke_test", "new", fds=[company], DJDEPLOY_OTHERS_FD=str(company)))
        wait_until("the first question", lambda: asked.exists() or running.done())
        then()
        os.close(others)
        done = running.result()
    os.close(company)
    return done


def test_a_release_that_needs_what_other_steps_make_is_tried_again_after_them(home: Home) -> None:
    done = tried_in_company(home, then=(home.path / "manifest").touch)
    assert done.status == 0, done.output
    assert done.outputs == {"smoke_tested": ["web"]}


def test_a_release_that_is_broken_after_the_other_steps_too_is_refused(home: Home) -> None:
    done = tried_in_company(home, then=lambda: None)
    assert done.status == 1
    assert done.output.count("answered 500: the page raised an error") == 1
    assert "Missing staticfiles manifest entry" in done.output


def test_a_release_that_hangs_while_other_steps_run_is_tried_again_alone(home: Home) -> None:
    """As on a busy server: whoever stands back for all others gets nowhere, and by itself is well."""
    body = f"os.nice(0) > {os.nice(0)} and time.sleep(9)"
    home.release("new", web(free_port(), timeout=5, health=Health("/", timeout=2)), body=body)
    company, others = os.pipe()
    with ThreadPoolExecutor() as pool:
        running = pool.submit(lambda: home.run("smoke_test", "new", fds=[company], DJDEPLOY_OTHERS_FD=str(company)))
        wait_until("the first try", lambda: len(home.left()) >= 2 or running.done())
        wait_until("its end", lambda: len(home.left()) < 2 or running.done())
        os.close(others)
        done = running.result()
    os.close(company)
    assert done.status == 0, done.output
    assert "web is tried again, alone" in done.output


def test_a_try_that_is_the_last_does_not_stand_back(home: Home) -> None:
    assert tried(home, body=f"assert os.nice(0) == {os.nice(0)}")[0] == 0


def test_the_load_is_named_where_there_is_more_of_it_than_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (10.24, 3.0, 1.0))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert burden() == " (the server is busy: load 10.2 on 2 processors)"
    monkeypatch.setattr(os, "getloadavg", lambda: (1.5, 3.0, 1.0))
    assert burden() == ""


def test_the_path_of_the_probe_is_asked_as_well(home: Home) -> None:
    body = 'assert environ["PATH_INFO"] != "/shop/", "no shop today"'
    home.release("new", web(free_port(), health="/"), body=body)
    assert home.run("smoke_test", "new", "--path=/").status == 0
    done = home.run("smoke_test", "new", "--path=/shop/")
    assert done.status == 1
    assert "web of the new release does not serve: /shop/ answered 500" in done.output
    assert "no shop today" in done.output


def test_the_question_is_asked_with_its_headers(home: Home) -> None:
    body = 'assert environ["HTTP_HOST"] == "www.example.com" and environ["HTTP_X_FORWARDED_PROTO"] == "https"'
    headers = {"Host": "www.example.com", "X-Forwarded-Proto": "https"}
    assert tried(home, web(free_port(), health=Health("/", headers=headers)), body=body)[0] == 0


def test_a_page_without_the_expected_text_is_refused(home: Home) -> None:
    status, output = tried(home, web(free_port(), health=Health("/", contains="a shop")))
    assert status == 1
    assert "answered 200, without the text 'a shop'" in output


def test_a_redirect_to_the_login_passes_and_is_said(home: Home) -> None:
    body = 'start_response("302 Found", [("Location", "/accounts/login/?next=/")]); return [b""]'
    status, output = tried(home, body=body)
    assert status == 0
    assert "djdeploy: web: / answered 302: it sends to the login (/accounts/login/?next=/)" in output


def test_the_real_environment_is_there(home: Home) -> None:
    more = 'assert os.environ["SECRET"] == "%s it\'s" and os.environ["DJDEPLOY_COMMIT"] == "c0ffee"'
    assert tried(home, env={"SECRET": "%s it's"}, more=more)[0] == 0


def test_a_server_that_takes_no_sockets_is_left_out_with_a_note(home: Home) -> None:
    status, output = tried(home, web(free_port(), command="uvicorn site_of:asgi", instances=1))
    assert status == 0
    assert output == "djdeploy: web was not smoke-tested: it takes no socket, and binds its address itself\n"


@pytest.mark.parametrize("command", ["uvicorn site_of:asgi --fd 3", "sh -c 'exec uvicorn site_of:asgi --fd=3'"])
@pytest.mark.parametrize("bind", ["127.0.0.1:1", "[::1]:1", "unix:/nowhere/web.sock"])
def test_a_server_that_takes_a_descriptor_is_tried_on_one(home: Home, command: str, bind: str) -> None:
    status, output = tried(home, web(0, command=command, bind=bind))
    assert status == 0
    assert output.startswith("web answered / with 200 in ")


def test_a_server_that_takes_a_descriptor_knows_whom_to_trust_as_behind_its_bind(home: Home) -> None:
    """To uvicorn a client that comes by a file has no address, and what it says of the scheme does not count."""
    more = "def scheme(s): return b'x-scheme', s['scheme'].encode()"
    process = web(1, command="uvicorn site_of:strict --fd 3", health=Health("/", {"X-Forwarded-Proto": "https"}))
    body = (
        "async def strict(scope, receive, send):\n"
        "    assert scope['type'] != 'http' or scope['scheme'] == 'https'\n"
        "    await asgi(scope, receive, send)\n"
    )
    assert tried(home, process, more=f"{more}\n{body}")[0] == 0


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("uvicorn site_of:nothing --fd 3", 'Attribute "nothing" not found'),
        ("uvicorn site_of:asgi --fd 3 --nonsense", "No such option"),
        ("python -m http.server -b 127.0.0.1 {port}", "(it listens on 127.0.0.1:{port}, not on descriptor 3)"),
    ],
)
def test_a_server_that_takes_no_descriptor_after_all_is_refused(home: Home, command: str, why: str) -> None:
    port = free_port()
    process = web(1, command=command.format(port=port), server="descriptor", timeout=5)
    status, output = tried(home, process)
    assert status == 1
    assert why.format(port=port) in output


def test_a_missing_program_is_named(home: Home) -> None:
    home.release("new", web(free_port()))
    (home.path / "new/virtualenv").unlink()
    done = home.run("smoke_test", "new", PATH="/usr/bin:/bin")
    assert done.status == 1
    assert "there is no program 'gunicorn'" in done.output
    assert list((home.path / "run").iterdir()) == []


def test_a_pid_file_in_the_command_is_not_written(home: Home) -> None:
    claimed = home.root / "live.pid"
    claimed.write_text("1\n")
    status, _ = tried(home, web(free_port(), f"--pid {claimed}"))
    assert status == 0
    assert claimed.read_text() == "1\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_stays_behind_when_it_is_ended(home: Home, number: signal.Signals) -> None:
    home.release("new", web(free_port()), more="time.sleep(30)")
    with home.starting("smoke_test", "new") as (process, _):
        wait_until("the server and its worker", lambda: len(home.left()) >= 2)
        process.send_signal(number)
        process.wait(timeout=30)
    wait_until("the end of the server", lambda: home.left() == [])


def test_a_program_that_the_site_has_started_does_not_stay_behind(home: Home) -> None:
    more = 'import subprocess; subprocess.Popen(["sleep", "600"], start_new_session=True)'
    assert tried(home, more=more)[0] == 0
