"""Policy losses: one small file each, registered under `agent_rl.losses`.

They call methods of the tensors that they are given and import no torch, since the controller names them.
"""
