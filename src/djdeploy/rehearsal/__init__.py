"""The embedded target: an SSH server, a Supervisor and a sample Django project in a temporary directory.

All of it runs as the current user on this machine, needs neither root nor Docker, and ends with the program that
started it. Linux only: processes are found in `/proc`.

`python -m djdeploy.rehearsal`, with the extra `djdeploy[rehearsal]`, deploys to it while requests run.
"""
