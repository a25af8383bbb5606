"""Programs that run inside a sandbox. Standard library only, Python 3.9: their source is sent in, never installed.

source_modules.py   turns the sources that were sent in into modules
seccomp_filter.py   installs the system call filter of every run, a BPF program
namespaces.py       system calls: namespaces, users, limits, capabilities
root_view.py        a worker's own namespaces, with a read-only view of the system
program_files.py    the file of a run's program
program_calls.py    the work of a run's process: load the program, call it, send the results
stdio_programs.py   the same for a whole program: execute it for one input
case_processes.py   a run for many cases: a process for each, forked from the loaded program
lasting_state.py    whether calls can leave anything behind in their process
case_traces.py      what a case can leave behind outside of its process
case_watch.py       the server's side of it: sends the cases, and watches each
run_program.py      chooses between these by the request
proxied_roles.py    the same for a pair of runs: the candidate's module, and the hidden tests
leftovers.py        removes what a run left behind where no namespace removes it
preloading.py       loads modules before all runs
private_buffers.py  memory that no run can read
kernel_kills.py     what the kernel kills when memory runs out
run_processes.py    one process per run or command: makes, watches and ends it
run_relay.py        a run that exchanges messages with the pool
run_usage.py        what a run uses while it runs: memory, processors, and waits for them
isolation_levels.py finds the best level of isolation that works here
server_timer.py     a timer that resumes a server that its run has stopped
frame_stream.py     frames from and to the pool outside
network_traffic.py  whether a network was used
worker_server.py    the loop around them, and the protocol
bare_run.py         a run's program without a worker server, for comparison

episode_server.py   another program: it serves an agent's commands and files in a container of its own
episode_command.py  one of its commands
episode_place.py    makes episode servers in namespaces on this machine
"""
