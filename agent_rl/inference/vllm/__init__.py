"""The policy on vLLM: `vllm_policy` is the adapter, `server` the child process, `http_client` calls its routes.

`plugin` and `receiver` run inside vLLM's own processes. `route_guard` is a process between ours and theirs. Only
`receiver` imports torch.
"""
