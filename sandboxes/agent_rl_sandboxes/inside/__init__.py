"""Programs that run inside a sandbox. Standard library only, Python 3.9: their source is sent in, never installed.

loading.py          what makes modules of the sources that were sent in
preloading.py       what is loaded ahead of all runs
seccomp_filter.py   the filter that every run is under, as BPF
namespaces.py       system calls: namespaces, the read-only view of the system, limits, capabilities
harness.py          what a run's process does: load the program, call it, send what it returned
runs.py             one process per run or command: made, watched, ended
leftovers.py        what a run left behind where no namespace took it along
wakeups.py          a server that its run has stopped goes on, or ends
files.py            an episode's files
slot_server.py      the loop around them, and the protocol with the pool outside
"""
