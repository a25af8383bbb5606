"""The policy and the learner as processes: how they are started, replaced where they die, and made one of several."""
