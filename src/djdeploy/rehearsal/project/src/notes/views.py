import os

from django.db import connection
from django.http import JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET

from .models import Note


def notes(request):
    if request.method == "POST":
        Note.objects.create(text=request.POST["text"])
        return redirect("/")
    return render(request, "notes/notes.html", {"notes": Note.objects.all()[:20], "release": release()})


@require_GET
def health(request):
    """Healthy means that the database answers. It needs no table: a new release is asked before its migrations run."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return JsonResponse(release() | {"pid": os.getpid(), "status": "ok"})


def release():
    names = {"release": "DJDEPLOY_RELEASE", "commit": "DJDEPLOY_COMMIT"}
    return {key: os.environ.get(name, "development") for key, name in names.items()}
