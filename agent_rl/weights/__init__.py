"""Transfer of weights from the learner to the engines: memory shared by processes, with senders and receivers."""
