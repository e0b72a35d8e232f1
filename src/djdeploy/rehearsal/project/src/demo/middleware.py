import os


def name_release(get_response):
    """Says in each response which release, and which process, made it."""

    def respond(request):
        response = get_response(request)
        response["X-Release"] = os.environ.get("DJDEPLOY_RELEASE", "development")
        response["X-Pid"] = str(os.getpid())
        return response

    return respond
