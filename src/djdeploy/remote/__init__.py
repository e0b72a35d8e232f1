"""What runs on the server: shipped as the package `djdeploy_remote`, with the standard library of Python 3.8 alone.

Each module imports its neighbours relatively, since it is `djdeploy.remote` here. `programs` names the programs; the
agent runs them in the steps of a task. `launch` is a program of its own: one file, installed where Supervisor runs it.
"""
