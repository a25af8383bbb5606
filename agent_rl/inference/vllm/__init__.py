"""The policy on vLLM: `policy` is the adapter, `server` the child process, `client` its routes.

`plugin` and `receiver` run inside vLLM's own processes, `guard` between ours and theirs. Only `receiver` imports torch.
"""
