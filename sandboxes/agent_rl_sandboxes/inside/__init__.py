"""Programs that run inside a sandbox. Standard library only, Python 3.9: their source is sent in, never installed.

loading.py          what makes modules of the sources that were sent in
seccomp_filter.py   the filter that every run is under, as BPF
namespaces.py       system calls: namespaces, users, limits, capabilities
view.py             a worker's own namespaces, with a read-only view of the system
harness.py          what a run's process does: load the program, call it, send what it returned
programs.py         the same for a whole program: execute it once for each input
run_program.py      which of the two a request asks for
roles.py            the same for a pair of runs: the candidate's module, and the hidden tests
leftovers.py        what a run left behind where no namespace took it along
preloading.py       what is loaded ahead of all runs
buffers.py          memory that no run can read
runs.py             one process per run or command: made, watched, ended
talks.py            a run that is talked with
levels.py           which level of isolation can be had
wakeups.py          a server that its run has stopped goes on, or ends
files.py            an episode's files
stream.py           frames from and to the pool outside
traffic.py          whether a network was used
worker_server.py      the loop around them, and the protocol
bare.py             a run's program without a worker server, to compare with

episode_server.py   another program: it serves an agent's commands and files in a container of its own
episode_command.py  one of its commands
"""
