"""Advantage estimators: one small file each, registered under `agent_rl.advantages`."""

from agent_rl.algorithms.advantages.grpo import GRPO, DrGRPO
from agent_rl.algorithms.advantages.maxrl import MaxRL
from agent_rl.algorithms.advantages.pass_at_k_training import PassAtK
from agent_rl.algorithms.advantages.pkpo import PKPO, MaxPO
from agent_rl.algorithms.advantages.reinforce import Reinforce
from agent_rl.algorithms.advantages.reinforce_plus_plus import ReinforcePlusPlus
from agent_rl.algorithms.advantages.rloo import RLOO
from agent_rl.algorithms.advantages.tsallis import Tsallis
from agent_rl.algorithms.advantages.turn_credit import TurnCredit

__all__ = [
    "GRPO",
    "PKPO",
    "RLOO",
    "DrGRPO",
    "MaxPO",
    "MaxRL",
    "PassAtK",
    "Reinforce",
    "ReinforcePlusPlus",
    "Tsallis",
    "TurnCredit",
]
