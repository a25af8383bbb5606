"""Places roles (learner, policy) in processes of this machine and carries calls and weights between them."""
