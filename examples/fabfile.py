"""A fabfile to copy: `fab --list`, `fab check`, `fab deploy`."""

from dataclasses import replace

from invoke import task

from djdeploy import DEPLOY, Health, Host, Process, Secret, Settings, collection, once, sh

worker = Process("worker", "celery -A demo worker")

production = Settings(
    project="demo",
    repository="git@example.com:path/to/project.git",
    branch="production",
    home="/srv/www/demo",
    # A host may be just "user@host:port"; or it differs from the others.
    hosts=[
        Host("demo@web1.example.com", labels=["web"]),
        Host("demo@web2.example.com", labels=["web"]),
        Host("demo@queue.example.com", labels=["queue"], processes=[worker], skip=["collectstatic"]),
    ],
    source_dir="src",
    requirements=["requirements/production.txt"],
    build_steps=["npm ci", "npm run build"],
    shared_dirs=["media"],
    secret_files={".env": Secret(command="sops -d production.env")},
    static_dir="src/static",
    env={"DJANGO_SETTINGS_MODULE": "demo.settings.production"},
    processes=[
        Process(
            "web",
            "gunicorn demo.wsgi --workers 4",
            bind="127.0.0.1:8001",
            instances=2,
            health=Health("/health/", headers={"Host": "demo.example.com", "X-Forwarded-Proto": "https"}),
        ),
    ],
)
staging = replace(production, branch="develop", hosts=["demo@staging.example.com"])


def warm_cache(d):
    """Warm the cache"""
    return [d.manage("warm_cache")]


@once
def tell_chat(d):
    """Tell the chat"""
    text = f"failed: {d.failure.what} {d.failure.site}" if d.failure else f"{d.release} is live: {d.subject}"
    return [sh("curl -sS -d {text} https://chat.example.com/hook", text=text)]


# A cache that cannot be warmed stops the deploy before anything is published; a message that cannot be sent does not.
recipe = DEPLOY.after("migrate_database", warm_cache).after("record", tell_chat).if_failed(tell_chat)


@task
def compile_requirements(c):
    """Compile the pinned requirements (on this machine)"""
    c.run("pip-compile --generate-hashes --output-file requirements/production.txt requirements/production.in")


ns = collection(production, recipe=recipe)  # fab deploy
ns.add_collection(collection(staging, "staging", recipe=recipe))  # fab staging.deploy
ns.add_task(compile_requirements)
